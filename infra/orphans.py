"""What dead runs left behind, and nobody lists any more."""

import time
from collections.abc import Collection

from infra import staging, tables
from infra.snapshots import Snapshot
from infra.storage import Root

#: A reader holds the snapshot that it began with: files that it lists stay for this long.
GRACE_SECONDS = 24 * 3600.0


def collect_orphans(
    root: Root, live: Snapshot, unfinished: Collection[str], now: float | None = None
) -> int:
    """Delete what is in no use; returns how many files went. For the holder of the store's lock.

    That is: staged segments of runs that are not `unfinished`, table files that `live` does not
    list and that were written more than GRACE_SECONDS ago, and temporary files as old.
    """
    old = (time.time() if now is None else now) - GRACE_SECONDS
    listed = {file.path for file in live.files}
    gone = [
        found.rel
        for folder in (tables.FOLDER, staging.FOLDER)
        for found in root.find(folder, temporary=True)
        if found.modified_at < old and found.rel not in listed and not _held(found.rel, unfinished)
    ]
    gone += [
        found.rel
        for found in root.find(staging.FOLDER)
        if found.modified_at >= old and not _held(found.rel, unfinished)
    ]
    root.delete(gone)
    return len(gone)


def _held(rel: str, unfinished: Collection[str]) -> bool:
    folder, run_id, *_ = rel.split("/")
    return folder == staging.FOLDER and run_id in unfinished
