"""`mien expire`: rows go when they were kept for as long as their run said, and no earlier."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra import runs, tombstones
from infra.runs import RunRecord
from infra.store import Store
from infra.tables import table_rows, write_part
from pipelines.erase import Ask, Erased, erase
from pipelines.expire import expired
from pipelines.publish import SCORE_TABLES, make_visible
from schemas.tables import TABLES
from tests.infra.places import KEY
from tests.rows import store_tables, video_ids

NOW = datetime(2026, 6, 30, tzinfo=UTC)
AGES_DAYS = {0: 40.0, 1: 29.9, 2: 400.0}
RETENTION_DAYS: dict[int, int | None] = {0: 30, 1: 30, 2: None}


def run_id(age_days: float) -> str:
    return f"{NOW - timedelta(days=age_days):%Y%m%dT%H%M%S}000Z-abcdef"


def publish(store: Store, seed: int, age_days: float, retention: int | None) -> None:
    name = run_id(age_days)
    files = [
        file
        for table, rows in store_tables(2, 4, seed=seed, run_id=name).items()
        for file in write_part(store.root, table, rows, name, {"mien.run_id": name})
    ]
    make_visible(store, name, files, {table: [] for table in TABLES})
    text = "{}" if retention is None else f"governance: {{retention_days: {retention}}}"
    started = NOW - timedelta(days=age_days)
    runs.save(store.root, RunRecord(run_id=name, started=started, config_yaml=text))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Rows that are due, rows that are due tomorrow, old ones of a run that stated nothing."""
    monkeypatch.setenv("MIEN_KEY", KEY)
    made = Store.open(str(tmp_path / "store"), create=True)
    for seed, age in AGES_DAYS.items():
        publish(made, seed, age, RETENTION_DAYS[seed])
    return made


def do(store: Store, days: float | None = None, now: datetime = NOW) -> Erased:
    ask = Ask("expire", {"days": days or "retention_days"}, 0)
    return erase(store.root.url, ask, expired(days, now), lambda seen: True, print)


def left(store: Store) -> set[str]:
    return set(table_rows(store.root, store.latest(), "faces")["video_id"].to_pylist())


def test_each_runs_rows_go_after_its_own_days(store: Store) -> None:
    assert do(store).videos == 2
    assert left(store) == {*video_ids(2, 1), *video_ids(2, 2)}
    assert do(store).videos == 0
    do(store, now=NOW + timedelta(days=0.2))
    assert left(store) == set(video_ids(2, 2))


def test_days_given_count_for_all(store: Store) -> None:
    do(store, days=365)
    assert left(store) == {*video_ids(2, 0), *video_ids(2, 1)}


def test_scores_that_came_later_do_not_make_the_faces_younger(store: Store) -> None:
    rows = store_tables(2, 4, ["other"], seed=0, run_id=run_id(1))
    name, videos = run_id(1), video_ids(2, 0)
    added = {table: rows[table] for table in ("videos", *SCORE_TABLES)}
    files = [
        file
        for table, new in added.items()
        for file in write_part(store.root, table, new, name, {})
    ]
    gone: dict[str, Any] = {table: [] for table in TABLES}
    gone["videos"] = [(video, None) for video in videos]
    make_visible(store, name, files, gone)
    do(store)
    assert not left(store) & set(videos)


def test_the_same_file_stays_away_and_its_place_may_hold_another(store: Store) -> None:
    do(store)
    erased = tombstones.load(store.root)
    for video in video_ids(2, 0):
        assert erased.expired(video)
        assert not erased.holds_source(video[::-1])
