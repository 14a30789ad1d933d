"""Publishing what is staged: all that passes the audit, or nothing."""

from io import StringIO
from pathlib import Path

import pyarrow as pa
import pytest
import ray
from rich.console import Console

from infra import runs, staging
from infra.errors import AuditFailed, Resumable
from infra.runs import State
from pipelines import summary
from pipelines.publish import _gathered
from pipelines.score import publish_staged
from pipelines.summary import print_outcome
from tests.pipelines.jobs import tables
from tests.pipelines.waiting import waiting_store
from tests.rows import staged_rows, store_tables

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


def test_a_planted_nan_publishes_nothing_and_a_repair_publishes_all(tmp_path: Path) -> None:
    good = staged_rows()
    rows = good.to_pylist()
    rows[0]["scores"][0]["anger"] = float("nan")
    store = waiting_store(tmp_path / "store", pa.Table.from_pylist(rows, good.schema))
    with pytest.raises(AuditFailed, match="audit failed: scores") as caught:
        publish_staged(store.root.url, None, [], Console(quiet=True))
    assert caught.value.exit_code == 4
    assert store.latest().files == ()
    assert not list((tmp_path / "store" / "tables").rglob("*.parquet"))
    record = runs.list_runs(store.root)[0]
    assert record.state is State.AUDIT_FAILED
    assert any(not result.success for result in record.audit)

    staging.write_segments(good, store.root, record.run_id)
    outcome = publish_staged(store.root.url, None, [], Console(quiet=True))
    assert outcome.exit_code == 0
    assert outcome.record.counts["faces"] == len(store_tables()["faces"])
    print_outcome(outcome, store.root.url, False, Console(quiet=True))
    assert len(tables(tmp_path / "store")["scores"]) == len(store_tables()["scores"])


def test_publishing_a_run_with_segments_to_score_says_how_to_go_on(tmp_path: Path) -> None:
    store = waiting_store(tmp_path / "store", staged_rows())
    record = runs.list_runs(store.root)[0]
    some = sorted(staging.staged_segments(store.root, record.run_id))[:1]
    staging.discard(store.root, record.run_id, some)
    with pytest.raises(Resumable, match="1 segments to score yet"):
        publish_staged(store.root.url, None, [], Console(quiet=True))
    ready = {v["video_id"] for v in store_tables()["videos"].to_pylist()} - {some[0][:-22]}
    assert set(tables(tmp_path / "store")["videos"]["video_id"].to_pylist()) == ready


def test_a_plain_error_in_a_task_stays_plain() -> None:
    def full() -> None:
        raise Resumable("store: no space left")

    with pytest.raises(Resumable) as caught:
        _gathered([ray.remote(full).remote()])
    assert str(caught.value) == "store: no space left"


def test_a_report_that_cannot_be_made_does_not_end_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = waiting_store(tmp_path / "store", staged_rows())
    monkeypatch.setattr(summary, "REPORT_MIB", 1)
    said = StringIO()
    overrides = ["tracking.enabled=true", f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"]
    outcome = publish_staged(store.root.url, None, overrides, Console(file=said))
    assert outcome.exit_code == 0
    assert outcome.record.state is State.PUBLISHED
    assert "MLflow gets no report of this run (OutOfMemoryException)" in said.getvalue()
