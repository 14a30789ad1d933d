"""What becomes of older runs once a later one has published."""

from pathlib import Path

from infra import runs, staging
from infra.runs import State
from infra.store import Store
from infra.tables import write_part
from pipelines.publish import make_visible
from pipelines.record import tidy
from tests.pipelines.waiting import waiting_store
from tests.rows import staged_rows, store_tables

LATER = "20270101T000000000Z-bbbbbb"


def published(store: Store, videos: int) -> None:
    """Make so many of the waiting run's videos live, by a later run."""
    rows = store_tables(run_id=LATER)["videos"].slice(0, videos)
    make_visible(store, LATER, write_part(store.root, "videos", rows, LATER, {}), {"videos": []})


def test_a_run_whose_videos_later_ones_published_is_ended(tmp_path: Path) -> None:
    store = waiting_store(tmp_path / "store", staged_rows())
    published(store, videos=2)
    assert tidy(store, LATER) == len(staged_rows())
    assert [record.state for record in runs.list_runs(store.root)] == [State.SUPERSEDED]
    assert staging.staged_runs(store.root) == []


def test_a_run_with_a_video_that_nobody_published_waits_on(tmp_path: Path) -> None:
    store = waiting_store(tmp_path / "store", staged_rows())
    published(store, videos=1)
    assert tidy(store, LATER) == 0
    record = runs.list_runs(store.root)[0]
    assert record.state is State.RUNNING
    assert len(staging.staged_segments(store.root, record.run_id)) == len(staged_rows())
