from datetime import UTC, datetime

import pyarrow as pa
import pytest

from infra import runs
from infra.errors import StoreError
from infra.quality import AuditResult
from infra.runs import RunRecord, Stage, State
from infra.storage import Root

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)


def test_ids_sort_by_time_and_differ() -> None:
    moments = [NOW, NOW.replace(microsecond=679_000), NOW.replace(year=2027)]
    ids = [runs.new_run_id(moment) for moment in moments]
    assert ids == sorted(ids)
    assert ids[0].startswith("20260102T030405678Z-")
    assert len({runs.new_run_id(NOW) for _ in range(50)}) == 50


def test_a_record_comes_back_whole(root: Root) -> None:
    record = RunRecord(
        run_id=runs.new_run_id(NOW),
        started=NOW,
        config_yaml="plan: {}\n",
        counts={"faces": 3},
        stages={"extract": Stage(rows=1, wall_seconds=2.0, rows_per_second=0.5)},
        audit=(
            AuditResult(table="t", expectation="e", success=True, observed=3, unexpected_count=0),
        ),
    )
    runs.save(root, record)
    assert runs.load(root, record.run_id) == record
    ended = record.model_copy(update={"state": State.PUBLISHED, "ended": NOW})
    runs.save(root, ended)
    assert runs.list_runs(root) == [ended]


def test_listing_sees_records_only_oldest_first(root: Root) -> None:
    late, early = (
        RunRecord(run_id=runs.new_run_id(moment), started=moment)
        for moment in (NOW.replace(year=2027), NOW)
    )
    for record in (late, early):
        runs.save(root, record)
        runs.save_plan(root, record.run_id, pa.table({"segment_id": ["a"]}))
        root.write(f"runs/{record.run_id}.mlflow.json", b"{}")
    assert runs.list_runs(root) == [early, late]


def test_a_plan_comes_back_with_its_schema(root: Root) -> None:
    schema = pa.schema([pa.field("a", pa.string(), False, {"unit": "-"})])
    planned = pa.table({"a": ["x"]}, schema=schema)
    runs.save_plan(root, "r", planned)
    found = runs.load_plan(root, "r")
    assert found.equals(planned, check_metadata=True)


def test_what_is_missing_or_damaged_is_named(root: Root) -> None:
    with pytest.raises(StoreError, match="has no run r1"):
        runs.load(root, "r1")
    with pytest.raises(StoreError, match="no plan"):
        runs.load_plan(root, "r1")
    root.write("runs/r1.json", b'{"run_id": 3}')
    with pytest.raises(StoreError, match=r"r1\.json"):
        runs.list_runs(root)
