"""What dead runs leave is deleted; what anybody may still read is not."""

import os
import time
from dataclasses import replace
from pathlib import Path

from infra import snapshots, staging
from infra.orphans import GRACE_SECONDS, collect_orphans
from infra.snapshots import Snapshot
from infra.storage import Root
from infra.tables import write_part
from tests.rows import staged_rows, store_tables

LATER = time.time() + 2 * GRACE_SECONDS


def rels(root: Root) -> set[str]:
    return {rel for rel, _ in root.list("")}


def test_staging_of_dead_runs_goes_and_of_unfinished_ones_stays(root: Root) -> None:
    for run in ("dead", "waiting"):
        staging.write_segments(staged_rows(), root, run)
    gone = collect_orphans(root, Snapshot(), {"waiting"})
    assert gone == len(staged_rows())
    assert staging.staged_runs(root) == ["waiting"]
    assert collect_orphans(root, Snapshot(), {"waiting"}, LATER) == 0


def test_unlisted_files_go_once_no_reader_can_hold_them(root: Root) -> None:
    tables = store_tables()
    live = [
        file for name, rows in tables.items() for file in write_part(root, name, rows, "live", {})
    ]
    write_part(root, "faces", tables["faces"].slice(0, 3), "dead", {})
    snapshot = Snapshot(files=tuple(live))
    root.write("runs/r.json", b"{}")
    assert collect_orphans(root, snapshot, ()) == 0  # a reader may have begun a moment ago
    assert collect_orphans(root, snapshot, (), LATER) == 1
    assert rels(root) == {"runs/r.json", *(file.path for file in live)}


def test_an_old_file_that_left_the_tables_a_moment_ago_stays_for_its_readers(
    tmp_path: Path,
) -> None:
    """It was written long ago, but a reader may have begun just before it was replaced."""
    root = Root(str(tmp_path))
    old, new = (write_part(root, "faces", store_tables()["faces"], name, {}) for name in "ab")
    snapshots.commit(root, lambda now: replace(now, files=tuple(old)))
    live = snapshots.commit(root, lambda now: replace(now, files=tuple(new)))
    days_ago = time.time() - 3 * GRACE_SECONDS
    for path in (tmp_path / "tables").rglob("*.parquet"):
        os.utime(path, (days_ago, days_ago))
    assert collect_orphans(root, live, ()) == 0
    os.utime(tmp_path / "snapshots" / "000000000001.json", (days_ago, days_ago))
    assert collect_orphans(root, live, ()) == 0  # it was the state until the second came
    assert collect_orphans(root, live, (), LATER) == 1
    assert not root.exists(old[0].path)
    assert root.exists(new[0].path)


def test_half_written_files_of_killed_processes_go_too(root: Root) -> None:
    if not root.local:
        return  # a put is whole or nothing
    root.write("tables/faces/.a.parquet.0123456789ab.tmp", b"half")
    assert root.list("tables") == []
    assert collect_orphans(root, Snapshot(), ()) == 0
    assert collect_orphans(root, Snapshot(), (), LATER) == 1
