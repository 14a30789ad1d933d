"""Erasures under way: what one is to do is written down first, and done again until it is done.

Each step may be repeated: whoever finds the note of an erasure that was killed, or that waits for
its readers, goes on with it.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, cast

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from infra import staging, tables
from infra.errors import StoreError
from infra.snapshots import Snapshot
from infra.storage import Root, in_parallel, is_temporary
from infra.tables import rewrite_without, rows_of_videos, write_part
from infra.tombstones import Tombstone

FOLDER = "erasing"
_SUFFIX = ".json"
_FILES_AT_ONCE = 2  # a file of a million rows takes some hundred MiB


class DeadFile(BaseModel):
    """A file of the tables that held erased rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    bytes: int
    sha256: str


class Erasure(BaseModel):
    """One erasure: what it is to do, and how far it came. Immutable: `model_copy`, then `save`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    erasure_id: str
    command: str
    """`erase` or `expire`."""
    selector: dict[str, str | float | int]
    """What was asked for: keyed ids and times, no name."""
    tombstones: tuple[Tombstone, ...]
    rows: dict[str, int]
    """Rows that go, by table."""
    began: datetime
    grace_seconds: float
    snapshot_before: int
    snapshot_after: int | None = None
    """The state without the rows, once there is one."""
    due_at: float | None = None
    """When the files that held them may go (Unix time)."""
    traces: dict[str, int] = {}
    """What else was deleted, by kind."""
    trackers_left: tuple[str, ...] | None = None
    """MLflow servers that could not be asked yet; None before any was."""
    files: tuple[DeadFile, ...] = ()
    """Written down before the first of them is deleted."""

    @property
    def videos(self) -> set[str]:
        """Every video that loses rows."""
        return {stone.video_id for stone in self.tombstones}

    @property
    def whole(self) -> set[str]:
        """Those that lose all of them."""
        return {stone.video_id for stone in self.tombstones if stone.whole}

    @property
    def sources(self) -> set[str]:
        """The places of those."""
        return {stone.source_id for stone in self.tombstones if stone.whole}


def save(root: Root, erasure: Erasure) -> None:
    """Put the note, replacing an earlier one of this erasure."""
    root.write(_rel(erasure.erasure_id), erasure.model_dump_json(indent=1).encode())


def pending(root: Root) -> list[Erasure]:
    """Erasures that are not done, oldest first.

    Raises:
        StoreError: A note is damaged.
    """

    def read(rel: str) -> Erasure:
        try:
            return Erasure.model_validate_json(root.read_bytes(rel))
        except ValidationError as error:
            raise StoreError(f"{root.full(rel)}: is no note of an erasure: restore it") from error

    names = [rel for rel, _ in root.list(FOLDER) if rel.endswith(_SUFFIX)]
    return sorted(in_parallel(read, names), key=lambda one: one.began)


def discard(root: Root, erasure: Erasure) -> None:
    """Forget one that is done."""
    root.delete([_rel(erasure.erasure_id)])


@dataclass(frozen=True)
class Remade:
    """A video's rows without what is erased of it, and the footer of the files that they go to."""

    video_id: str
    tables: Mapping[str, pa.Table]
    footer: Mapping[str, str]


class Rewrite:
    """The change, for `Store.commit`, that lists no row of some videos, and others' remade rows.

    Only files with such rows are written anew; done a second time it changes nothing.
    """

    def __init__(
        self,
        root: Root,
        whole: Collection[str],
        remake: Callable[[Snapshot], Iterable[Remade]],
        name: str,
    ) -> None:
        self._root, self._whole, self._remake, self._name = root, whole, remake, name

    def __call__(self, current: Snapshot) -> Snapshot:
        remade = list(self._remake(current))
        gone = [(video, None) for video in (*self._whole, *(one.video_id for one in remade))]
        with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            kept = list(
                pool.map(lambda file: rewrite_without(self._root, file, gone), current.files)
            )
        files = [file for file in kept if file is not None]
        known = {file.path for file in files}
        for footer, parts in _by_footer(remade).items():
            for table, rows in parts.items():
                written = write_part(self._root, table, rows, self._name, dict(footer))
                files += [file for file in written if file.path not in known]
        return replace(current, files=tuple(files))


def _by_footer(
    remade: Iterable[Remade],
) -> dict[tuple[tuple[str, str], ...], dict[str, pa.Table]]:
    found: dict[tuple[tuple[str, str], ...], dict[str, list[pa.Table]]] = {}
    for one in remade:
        parts = found.setdefault(tuple(sorted(one.footer.items())), {})
        for table, rows in one.tables.items():
            parts.setdefault(table, []).append(rows)
    return {
        footer: {table: pa.concat_tables(rows) for table, rows in parts.items()}
        for footer, parts in found.items()
    }


def dead_files(root: Root, live: Snapshot, videos: Collection[str]) -> list[DeadFile]:
    """Files of the tables that hold rows of these videos and are not live: what else reads them
    began before `live`. Half-written files count, for nobody can tell what they hold."""
    listed = {file.path for file in live.files}

    def look(rel: str) -> DeadFile | None:
        try:
            if not is_temporary(rel) and not rows_of_videos(root, rel, videos):
                return None
            with root.open(rel) as source:
                digest = hashlib.file_digest(cast(Any, source), "sha256").hexdigest()
                return DeadFile(path=rel, bytes=source.tell(), sha256=digest)
        except FileNotFoundError:  # collected meanwhile
            return None
        except pa.ArrowInvalid:  # damaged
            return DeadFile(path=rel, bytes=0, sha256="")

    unlisted = [
        found.rel
        for folder in (tables.FOLDER, staging.FOLDER)
        for found in root.find(folder, temporary=True)
        if found.rel not in listed and (folder == tables.FOLDER or is_temporary(found.rel))
    ]
    return [found for found in in_parallel(look, unlisted) if found is not None]


def _rel(erasure_id: str) -> str:
    return f"{FOLDER}/{erasure_id}{_SUFFIX}"
