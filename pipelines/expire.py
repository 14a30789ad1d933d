"""Which rows were kept for as long as they might be: what `mien expire` erases."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from infra import runs
from infra.runs import RunRecord
from infra.snapshots import Snapshot
from infra.store import Store
from infra.tables import table_rows
from infra.tombstones import Kind, Tombstone
from pipelines.erase import Choose
from pipelines.selection import Chosen, ids_of, known_videos


def expired(days: float | None, now: datetime | None = None) -> Choose:
    """Chooses videos whose oldest rows are older than `days`.

    By default than `governance.retention_days` of the run that published these; rows of a run that
    states none stay. A run's rows count from its start. What runs have staged counts as well.
    """

    def choose(store: Store, state: Snapshot) -> Chosen:
        moment = now or datetime.now(UTC)
        records = {record.run_id: record for record in runs.list_runs(store.root)}
        first = _first_runs(store, state)
        stones = [
            Tombstone(kind=Kind.EXPIRED, **ids_of(row))
            for row in known_videos(store.root, state, replaced=False)
            if _is_due(first.get(row["video_id"]) or str(row["run_id"]), records, days, moment)
        ]
        return Chosen(stones)

    return choose


def _first_runs(store: Store, state: Snapshot) -> dict[str, str]:
    """The run that published the oldest rows of each live video: a later one may have added scores
    alone, and then `videos` names that."""
    found: dict[str, str] = {}
    for table in ("videos", "segments"):
        rows = table_rows(store.root, state, table, ["video_id", "run_id"])
        oldest = rows.group_by("video_id").aggregate([("run_id", "min")])
        for row in oldest.to_pylist():
            name, run_id = str(row["video_id"]), str(row["run_id_min"])
            found[name] = min(found.get(name, run_id), run_id)
    return found


def _is_due(
    run_id: str, records: Mapping[str, RunRecord], days: float | None, now: datetime
) -> bool:
    record = records.get(run_id)
    if record is None:
        began = _time_in(run_id)
        return days is not None and began is not None and began + timedelta(days=days) <= now
    limit = days if days is not None else _retention_days(record)
    return limit is not None and record.started + timedelta(days=limit) <= now


def _retention_days(record: RunRecord) -> float | None:
    config: dict[str, Any] = yaml.safe_load(record.config_yaml) or {}
    return (config.get("governance") or {}).get("retention_days")


def _time_in(run_id: str) -> datetime | None:
    """When a run began, by its name."""
    try:
        return datetime.strptime(run_id[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
