"""What was erased and must not come back: one file an erasure in the store, never changed.

They hold keyed ids, spans and the path of a box, no uri. A video is known again by its place
(`source_id`) and by what is in the file (`content_id`), so that a copy, another name, a touch or
another configuration bring nothing back.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from infra.errors import StoreError
from infra.storage import Root, in_parallel

FOLDER = "erased"
_SUFFIX = ".json"


class Kind(StrEnum):
    """What a tombstone stands for."""

    VIDEO = "video"  # all of it, and whatever lies at its place later
    SPAN = "span"  # a half-open span of it
    TRACK = "track"  # the faces along a path of boxes
    EXPIRED = "expired"  # all of it, for as long as the very file lies there


class Tombstone(BaseModel):
    """One thing that was erased. Boxes are shares of the upright frame: a copy may be smaller."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    video_id: str
    source_id: str
    content_id: str | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None
    track_id: str | None = None
    """Of a track: what it was called where it was erased. Scored again it has another name."""
    path: tuple[tuple[float, float, float, float, float], ...] = ()
    """Of a track: seconds, left, top, right, bottom of its boxes, in order of time."""

    @property
    def whole(self) -> bool:
        """Whether it stands for all of a video."""
        return self.kind in (Kind.VIDEO, Kind.EXPIRED)


class Tombstones:
    """All of a store's, to be asked of one video after another.

    `row` arguments hold at least `source_id`, and `content_id` where it is known.
    """

    def __init__(self, stones: Iterable[Tombstone] = ()) -> None:
        self._sources: set[str] = set()
        self._contents: set[str] = set()
        self._expired: set[str] = set()
        self._parts: dict[str, list[Tombstone]] = {}
        for stone in stones:
            if stone.kind is Kind.VIDEO:
                self._sources.add(stone.source_id)
                if stone.content_id:
                    self._contents.add(stone.content_id)
            elif stone.kind is Kind.EXPIRED:
                self._expired.add(stone.video_id)
            else:
                for name in {stone.source_id, stone.content_id} - {None}:
                    self._parts.setdefault(str(name), []).append(stone)

    def __len__(self) -> int:
        return len(self._sources) + len(self._expired) + len(self._parts)

    def holds_source(self, source_id: str) -> bool:
        """Whether the video at this place was erased."""
        return source_id in self._sources

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether the video was erased, here or under another name."""
        return self.holds_source(row["source_id"]) or row.get("content_id") in self._contents

    def expired(self, video_id: str) -> bool:
        """Whether this very file's rows were kept as long as they might be."""
        return video_id in self._expired

    def parts(self, row: Mapping[str, Any]) -> tuple[Tombstone, ...]:
        """The spans and tracks of a video that were erased, here or under another name."""
        names = (row["source_id"], row.get("content_id"))
        return tuple(dict.fromkeys(s for name in names for s in self._parts.get(name or "", ())))


_STONES = TypeAdapter(tuple[Tombstone, ...])


def put(root: Root, erasure_id: str, stones: tuple[Tombstone, ...]) -> None:
    """Write those of one erasure, if they are not there yet."""
    root.create(rel_of(erasure_id), encoded(stones))


def encoded(stones: tuple[Tombstone, ...]) -> bytes:
    """What `put` writes."""
    return _STONES.dump_json(stones)


def rel_of(erasure_id: str) -> str:
    """Where `put` writes it."""
    return f"{FOLDER}/{erasure_id}{_SUFFIX}"


def load(root: Root) -> Tombstones:
    """All of a store's, ready to be asked. Raises as `read`."""
    return Tombstones(read(root))


def read(root: Root) -> list[Tombstone]:
    """All of a store's.

    Raises:
        StoreError: A file cannot be understood: nothing may be published past it.
    """

    def one(rel: str) -> tuple[Tombstone, ...]:
        try:
            return _STONES.validate_json(root.read_bytes(rel))
        except ValidationError as error:
            message = f"{root.full(rel)}: holds no tombstones: restore it from a backup"
            raise StoreError(message) from error

    names = [rel for rel, _ in root.list(FOLDER) if rel.endswith(_SUFFIX)]
    return [stone for stones in in_parallel(one, names) for stone in stones]
