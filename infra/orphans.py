"""What dead runs left behind, and nobody lists any more."""

import time
from collections.abc import Collection

from infra import snapshots, staging, tables
from infra.snapshots import Snapshot
from infra.storage import Found, Root, is_temporary

#: A reader holds the snapshot that it began with: files that it lists stay for this long.
GRACE_SECONDS = 24 * 3600.0


def collect_orphans(
    root: Root, live: Snapshot, unfinished: Collection[str], now: float | None = None
) -> int:
    """Delete what is in no use; returns how many files went. For the holder of the store's lock.

    That is: staged segments of runs that are not `unfinished`, table files that were written more
    than GRACE_SECONDS ago and that neither `live` nor a state of that time lists, and temporary
    files as old.
    """
    gone = find_orphans(root, live, unfinished, now)
    root.delete(gone)
    return len(gone)


def find_orphans(
    root: Root, live: Snapshot, unfinished: Collection[str], now: float | None = None
) -> list[str]:
    """What `collect_orphans` would delete."""
    old = (time.time() if now is None else now) - GRACE_SECONDS
    readable = [live, *snapshots.since(root, old)]
    listed = {file.path for state in readable for file in state.files}

    def in_no_use(found: Found) -> bool:
        folder, owner, *_ = found.rel.split("/")
        if folder == staging.FOLDER and not is_temporary(found.rel):
            return owner not in unfinished
        return found.modified_at < old and found.rel not in listed

    return [
        found.rel
        for folder in (tables.FOLDER, staging.FOLDER)
        for found in root.find(folder, temporary=True)
        if in_no_use(found)
    ]
