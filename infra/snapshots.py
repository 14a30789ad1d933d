"""The list of live files. Whoever changes the tables reads snapshot N and creates N + 1 if absent.

A snapshot's name is never freed: an old one may be emptied, not deleted, or the create of a writer
that had slept since then would succeed unseen.
"""

import json
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from infra.errors import StoreError
from infra.storage import Root, in_parallel
from schemas.tables import SCHEMA_VERSION

FOLDER = "snapshots"


@dataclass(frozen=True)
class TableFile:
    """One live Parquet file of a table, and the range of videos in it."""

    table: str
    path: str
    rows: int
    bytes: int
    sha256: str
    min_video_id: str
    max_video_id: str


@dataclass(frozen=True)
class Snapshot:
    """A whole state of the tables. 0 is the empty store."""

    seq: int = 0
    files: tuple[TableFile, ...] = ()
    schema_version: int = SCHEMA_VERSION
    run_id: str | None = None
    audit_head: str | None = None
    fence: int = 0
    """The highest lease that has held the store: see `infra.lock`."""

    def of(self, table: str) -> tuple[TableFile, ...]:
        """The live files of one table."""
        return tuple(file for file in self.files if file.table == table)


def latest(root: Root, known: int = 0) -> Snapshot:
    """The present state. `known` is a number that was the highest a moment ago."""
    seq = known if known else _highest(root)
    current = _read(root, seq) if seq else Snapshot()
    while (following := _read_if_there(root, current.seq + 1)) is not None:
        current = following
    return current


def since(root: Root, moment: float) -> list[Snapshot]:
    """Every state that a reader may have begun with at `moment` (Unix time) or later, newest first.

    Raises:
        StoreError: One of them is damaged.
    """
    written = {_number(found.rel): found.modified_at for found in root.find(FOLDER)}
    recent = []
    for seq in sorted(written.keys() - {0}, reverse=True):
        recent.append(seq)
        if written[seq] < moment:
            break  # the states before this one had been replaced by then
    return in_parallel(lambda seq: _read(root, seq), recent)


def commit(root: Root, change: Callable[[Snapshot], Snapshot]) -> Snapshot:
    """Replace the state by `change` of it, again and again until nobody came between.

    `change` may be called several times, and may write files that nothing lists yet. Its result's
    `seq` is set here. A result equal to what it was given commits nothing.
    """
    current = latest(root)
    while True:
        wanted = change(current)
        if wanted == current:
            return current
        fence = max(current.fence, wanted.fence)  # whoever changes the tables keeps it
        following = replace(wanted, seq=current.seq + 1, fence=fence)
        if root.create(_name(following.seq), _encode(following)):
            return following
        current = latest(root, known=following.seq)


def _highest(root: Root) -> int:
    return max((_number(rel) for rel, _ in root.list(FOLDER)), default=0)


def _number(rel: str) -> int:
    """A snapshot's number by its file; 0 for what is none."""
    name = rel.rsplit("/", 1)[-1]
    return int(name[:-5]) if name.endswith(".json") and name[:-5].isdigit() else 0


def _name(seq: int) -> str:
    return f"{FOLDER}/{seq:012d}.json"


def _encode(snapshot: Snapshot) -> bytes:
    # The nonce tells a writer's own put from another's equal one.
    return json.dumps({**asdict(snapshot), "nonce": secrets.token_hex(8)}, indent=1).encode()


def _read(root: Root, seq: int) -> Snapshot:
    snapshot = _read_if_there(root, seq)
    if snapshot is None:
        raise StoreError(f"{root.full(_name(seq))}: is missing: restore it from a backup")
    return snapshot


def _read_if_there(root: Root, seq: int) -> Snapshot | None:
    try:
        data = root.read_bytes(_name(seq))
    except FileNotFoundError:
        return None
    try:
        value = json.loads(data)
        files = tuple(TableFile(**file) for file in value["files"])
        return Snapshot(
            seq=value["seq"],
            files=files,
            schema_version=value["schema_version"],
            run_id=value["run_id"],
            audit_head=value["audit_head"],
            fence=value.get("fence", 0),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{root.full(_name(seq))}: is no snapshot: restore it from a backup"
        ) from error
