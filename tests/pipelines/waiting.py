"""A run that waits to be published."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from infra import runs, staging
from infra.runs import RunRecord
from infra.store import Store
from pipelines.planned import FULL, Video, plan_table
from schemas.flow import CLOCK
from tests.rows import store_tables


def waiting_store(folder: Path, staged: pa.Table) -> Store:
    """A store with a run that has everything staged and nothing published."""
    store = Store.open(str(folder), create=True)
    record = RunRecord(
        run_id="20260101T000000000Z-aaaaaa",
        started=datetime(2026, 1, 1, tzinfo=UTC),
        config_yaml="tracking: {enabled: false}",
        hashes={"extract": "0123456789abcdef"},
        planned_seconds=100,
    )
    videos = []
    for row in store_tables()["videos"].to_pylist():
        border = next(s for s in staged.to_pylist() if s["video_id"] == row["video_id"])
        clock = {item.name: None for item in CLOCK}
        row |= {"reason": None, "changed": "", **clock}
        videos.append(Video(row, FULL, ["zero_shot"], border["end_seconds"]))
    runs.save_plan(store.root, record.run_id, plan_table(videos))
    runs.save(store.root, record)
    staging.write_segments(staged, store.root, record.run_id)
    return store
