"""The job: a store of many nights before and after, in a folder and in a bucket."""

import json
import os
import signal
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

import schemas.tables
from infra import audit_log, compaction, runs, snapshots, staging
from infra.errors import Resumable, StoreBusy, StoreError
from infra.orphans import GRACE_SECONDS
from infra.runs import RunRecord
from infra.snapshots import Snapshot
from infra.store import Store
from infra.tables import table_rows, write_part
from pipelines import progress
from pipelines.cli import app
from pipelines.compact import compact, plan_compaction
from pipelines.publish import SCORE_TABLES, make_visible
from pipelines.query import open_store, run_query
from schemas.tables import SORT_KEYS, TABLES
from tests.infra.places import KEY
from tests.rows import staged_rows, store_tables, video_ids

pytestmark = pytest.mark.slow  # seconds each, or many of them

QUIET = Console(quiet=True)
TARGET = 60
NIGHTS = 8
#: Any row that changed would change one of these.
QUERIES = [
    *(f"select count(*) n, sum(hash(t)) h from {table} t" for table in TABLES),
    "select label, method, sum(seconds) s from expression_seconds group by all order by all",
    "select run_id, count(*) n from videos join scores using (video_id) group by 1 order by 1",
]


def publish(store: Store, night: int, seed: int, faces: int, method: str | None = None) -> None:
    """Two videos in full, in place of what they were; or the scores of one more method."""
    name, videos = f"run{night}", video_ids(2, seed)
    rows = store_tables(2, faces, [method or "zero_shot"], seed, name)
    gone: dict[str, Any] = {table: [(video, method) for video in videos] for table in TABLES}
    if method:
        rows = {table: rows[table] for table in ("videos", *SCORE_TABLES)}
        gone["videos"] = [(video, None) for video in videos]
    files = [
        file
        for table, new in rows.items()
        for file in write_part(store.root, table, new, name, {"mien.run_id": name}, TARGET)
    ]
    make_visible(store, name, files, gone)


def nights(url: str, seed: int, count: int = NIGHTS) -> Store:
    """A store after many nights: new videos, replaced ones, and methods that came later."""
    rng = np.random.default_rng(seed)
    faces: list[int] = []
    store = Store.open(url, create=True)
    for night in range(count):
        kind = rng.choice(["new", "again", "method"]) if faces else "new"
        chosen = len(faces) if kind == "new" else int(rng.integers(len(faces)))
        if kind == "method":
            publish(store, night, chosen, faces[chosen], f"method{rng.integers(2)}")
            continue
        faces[chosen : chosen + 1] = [int(rng.integers(1, 40))]
        publish(store, night, chosen, faces[chosen])
    return store


def rows_of(store: Store, state: Snapshot) -> dict[str, pa.Table]:
    return {table: table_rows(store.root, state, table) for table in TABLES}


def answers(url: str) -> list[str | bytes]:
    with open_store(url) as con:
        return [run_query(con, sql, "csv") for sql in QUERIES]


def check_files(store: Store, state: Snapshot) -> None:
    for file in state.files:
        with store.root.open(file.path) as source:
            rows = pq.read_table(source)
        ordering = [(key, "ascending") for key in SORT_KEYS[file.table]]
        assert rows.equals(rows.sort_by(ordering))
        ids = rows["video_id"].to_pylist()
        assert (file.rows, file.min_video_id, file.max_video_id) == (len(ids), ids[0], ids[-1])
        assert file.rows <= TARGET


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_same_rows_in_fewer_files(store_url: str, seed: int) -> None:
    store = nights(store_url, seed)
    before, said = rows_of(store, store.latest()), answers(store_url)
    old = store.latest()
    holding = open_store(store_url)
    plan = plan_compaction(store_url, TARGET)
    done = compact(store_url, QUIET, TARGET)
    now = store.latest()
    check_files(store, now)
    for table, rows in rows_of(store, now).items():
        assert rows.equals(before[table], check_metadata=True)
        assert len(now.of(table)) == -(-len(rows) // TARGET)
    assert len(now.files) < len(old.files)
    assert answers(store_url) == said
    assert now.run_id == old.run_id
    event = audit_log.events(store)[-1]
    assert now.audit_head == f"{event.seq}:{event.mac}"
    assert (event.kind, event.facts["snapshot"]) == ("compact", now.seq)
    added, removed = (
        {table: told["rows"] for table, told in event.facts[key].items()}
        for key in ("files_added", "files_removed")
    )
    assert added == removed
    assert [(c.files_before, c.files_after) for c in done.tables] == [
        (len(old.of(table)), len(now.of(table))) for table in TABLES
    ]
    assert plan.tables == done.tables
    # who began before reads on
    assert [run_query(holding, sql, "csv") for sql in QUERIES] == said
    assert rows_of(store, old) == before
    # a second time there is nothing to do
    again = compact(store_url, QUIET, TARGET)
    assert not any(change.merged_files for change in again.tables)
    assert (again.snapshot, store.latest()) == (now.seq, now)


def test_a_busy_store_is_left_alone(store_url: str) -> None:
    store = nights(store_url, 0, 3)
    with store.locked():
        before = store.latest()
        with pytest.raises(StoreBusy, match="--wait") as busy:
            compact(store_url, QUIET, TARGET)
        assert busy.value.exit_code == 7
        assert store.latest() == before
        plan_compaction(store_url, TARGET)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_anywhere_nothing_is_lost(
    store_url: str, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = nights(store_url, 1)
    before = rows_of(store, store.latest())
    files = store.latest().files
    left = [3]

    def killed(*arguments: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), number)
            time.sleep(5)
        return write_part(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(compaction, "write_part", killed)
        with pytest.raises(Resumable, match="no row is changed") as stopped:
            compact(store_url, QUIET, TARGET)
    assert stopped.value.exit_code == 6
    assert store.latest().files == files
    half = {rel for rel, _ in store.root.list("tables")}
    compact(store_url, QUIET, TARGET)  # the lock was given back
    assert rows_of(store, store.latest()) == before
    # what was half made was found again: equal rows make the same file
    assert half <= {rel for rel, _ in store.root.list("tables")}


@pytest.fixture(autouse=True)
def rows_weigh_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here each table has files of equally many rows, small as they are."""
    monkeypatch.setattr(schemas.tables, "ROW_WEIGHTS", {})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MIEN_KEY", KEY)
    return str(tmp_path / "store")


def test_a_night_after_it_is_like_any_other(folder: str) -> None:
    store = nights(folder, 2)
    compact(folder, QUIET, TARGET)
    before = rows_of(store, store.latest())
    publish(store, NIGHTS, 0, 5)
    compact(folder, QUIET, TARGET)
    check_files(store, store.latest())
    old_and_new = [rows["faces"]["video_id"] for rows in (before, rows_of(store, store.latest()))]
    others = [[v for v in ids.to_pylist() if v not in video_ids(2, 0)] for ids in old_and_new]
    assert others[0] == others[1]
    assert len(old_and_new[1]) - len(others[1]) == 2 * 5


def test_merged_files_go_a_day_later_and_not_before(folder: str) -> None:
    store = nights(folder, 0)
    staging.write_segments(staged_rows(), store.root, "waiting")
    runs.save(store.root, RunRecord(run_id="waiting", started=datetime.now(UTC)))
    old = {file.path for file in store.latest().files}

    def a_day_passes(below: str) -> None:
        for path in Path(folder, below).rglob("*.*"):
            then = path.stat().st_mtime - GRACE_SECONDS - 60
            os.utime(path, (then, then))

    def found() -> set[str]:
        return {rel for rel, _ in store.root.list("tables")}

    a_day_passes("tables")  # written long ago, read until a moment ago
    assert compact(folder, QUIET, TARGET).deleted_files == 0
    assert old < found()
    assert compact(folder, QUIET, TARGET).deleted_files == 0
    a_day_passes("tables")
    a_day_passes("snapshots")
    assert compact(folder, QUIET, TARGET).deleted_files > len(old - found()) > 0
    assert found() == {file.path for file in store.latest().files}
    assert staging.staged_runs(store.root) == ["waiting"]


def test_who_lost_the_store_meanwhile_changes_nothing(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = nights(folder, 0, 3)
    files = store.latest().files

    def taken_over(*arguments: Any) -> Any:
        snapshots.commit(store.root, lambda now: replace(now, fence=now.fence + 1))
        return write_part(*arguments)

    monkeypatch.setattr(compaction, "write_part", taken_over)
    with pytest.raises(StoreBusy, match="took this store over"):
        compact(folder, QUIET, TARGET)
    assert store.latest().files == files


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["compact", *arguments])


def test_the_command_says_what_it_would_do_and_does_it(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(folder, create=True)
    for night in range(3):
        publish(store, night, night, 6)
    before = store.latest()
    with monkeypatch.context() as patch:
        patch.delenv("MIEN_KEY")  # looking needs no key
        said = run(folder, "--dry-run", "--json")
    planned = json.loads(said.stdout)
    assert store.latest() == before
    assert (planned["dry_run"], planned["target_rows"]) == (True, 1_000_000)
    assert {row["table"] for row in planned["tables"]} == set(TABLES)
    assert all((row["files_before"], row["files_after"]) == (3, 1) for row in planned["tables"])
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0)
    done = run(folder)
    assert done.exit_code == 0
    assert "merged 21 files into 7; the merged ones stay a day" in done.stderr
    rows = sum(row["merged_rows"] for row in planned["tables"])
    assert f"compacting: {rows}/{rows} rows, 7 of 7 files written, ETA 0:00" in done.stderr
    again = run(folder)
    assert "nothing to merge" in again.stderr
    assert [line.split()[1:4] for line in again.stdout.splitlines()[1:]] == [["1", "1", "0"]] * 7


def test_wrong_usage_is_told(folder: str) -> None:
    assert run(folder, "--target-rows", "0").exit_code == 2
    for arguments in ([folder], [folder, "--dry-run"]):
        found = run(*arguments).exception
        assert isinstance(found, StoreError)
        assert "is no store" in str(found)
    assert not Path(folder).exists()
