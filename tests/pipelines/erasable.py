"""A store of synthetic rows to erase from, and what runs leave beside its tables."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from infra import runs, staging, tracking
from infra.runs import RunRecord
from infra.store import Store
from infra.tables import rows_of_videos, table_rows, write_part, write_small_table
from infra.traces import PROBES
from pipelines.erase import Ask, Erased, erase
from pipelines.plan import PROBE_CACHE
from pipelines.planned import PLANNED_VIDEO
from pipelines.publish import make_visible
from pipelines.selection import Selector, choose
from schemas.tables import TABLES
from tests.rows import RUN_ID, staged_rows, store_tables, video_ids

FACES = 20
VIDEOS = 3  # a night


def silent(text: str) -> None:
    del text


def publish(store: Store, seed: int, change: Any = None) -> None:
    """A night's videos in files of their own."""
    rows = store_tables(VIDEOS, FACES, seed=seed)
    if change:
        rows = change(rows)
    files = [
        file
        for table, new in rows.items()
        for file in write_part(store.root, table, new, f"n{seed}", {"mien.run_id": RUN_ID})
    ]
    make_visible(store, RUN_ID, files, {table: [] for table in TABLES})


def two_nights(place: Path) -> Store:
    """A store of two publishes."""
    made = Store.open(str(place), create=True)
    for seed in (0, 1):
        publish(made, seed)
    return made


VICTIM = video_ids(VIDEOS, 0)[1]
TRACK = f"{VICTIM}-t{0:015d}-00"


def do(store: Store, grace: float = 0, wait: float = 0, **selector: Any) -> Erased:
    wanted = Selector(**selector)
    wanted.check()
    ask = Ask("erase", wanted.facts(store.identity), grace, wait, nothing="nothing fits")
    return erase(store.root.url, ask, lambda s, state: choose(s, state, wanted), yes, silent)


def yes(seen: Erased) -> bool:
    del seen
    return True


def rows_of(store: Store) -> dict[str, pa.Table]:
    return {table: table_rows(store.root, store.latest(), table) for table in TABLES}


def others(tables: dict[str, pa.Table], gone: set[str]) -> dict[str, pa.Table]:
    return {
        name: rows.filter(pa.array([v not in gone for v in rows["video_id"].to_pylist()]))
        for name, rows in tables.items()
    }


def holding(store: Store, video_id: str) -> list[str]:
    """Every file of the tables, live or not, with rows of a video."""
    rels = [rel for rel, _ in store.root.list("tables")]
    return [rel for rel in rels if rows_of_videos(store.root, rel, [video_id])]


def traced(store: Store) -> Path:
    """What runs leave of the victim beside the tables; the folder of MLflow's artifacts."""
    root, page = store.root, f"<html>{VICTIM[:12]}</html>".encode()
    staging.write_segments(staged_rows(VIDEOS, FACES), root, "waiting")
    record = RunRecord(run_id="waiting", started=datetime.now(UTC), config_yaml="tracking: {}")
    runs.save(root, record)
    videos = store_tables(VIDEOS, FACES)["videos"].to_pylist()
    empty = dict.fromkeys(PLANNED_VIDEO.names)
    plan = [{**empty, **{n: v for n, v in row.items() if n in empty}} for row in videos]
    loose = pa.schema([field.with_nullable(True) for field in PLANNED_VIDEO])
    runs.save_plan(root, "waiting", pa.Table.from_pylist(plan, loose))
    looks = [{**dict.fromkeys(PROBE_CACHE.names), "source_id": r["source_id"]} for r in videos]
    loose = pa.schema([field.with_nullable(True) for field in PROBE_CACHE])
    write_small_table(root, PROBES, pa.Table.from_pylist(looks, loose))
    root.write("runs/waiting.report.html", page)
    held = {name: base64.b64encode(text).decode() for name, text in _pages(page).items()}
    root.write(f"runs/waiting{tracking.BUFFER}", json.dumps({"artifacts": held}).encode())
    folder = Path(root.url, "mlflow-artifacts", "1", "artifacts")
    folder.mkdir(parents=True)
    for name, text in _pages(page).items():
        (folder / name).write_bytes(text)
    return folder


def _pages(page: bytes) -> dict[str, bytes]:
    return {"report.html": page, "other.html": b"<html>nobody</html>"}
