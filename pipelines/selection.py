"""Which videos, spans and tracks are meant: from names and times to tombstones."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra import runs, tables, tombstones
from infra.errors import ConfigurationError
from infra.identity import Identity
from infra.snapshots import Snapshot
from infra.storage import Root, in_parallel, is_local, local_path
from infra.store import Store
from infra.tables import read_small_table, table_rows
from infra.tombstones import Kind, Tombstone, Tombstones
from pipelines.cuts import frame_px

_ID = re.compile(r"[0-9a-f]{24}")
_TRACK = re.compile(r"([0-9a-f]{24})-t\d{15}-\d{2,}")
_COLUMNS = [
    *("video_id", "source_id", "content_id", "session_id", "view_id", "recorded_at", "run_id"),
    *("duration_seconds", "width_px", "height_px"),
]

Row = dict[str, Any]


@dataclass(frozen=True)
class Selector:
    """What is to be erased: a video that fits every kind of name given, by any name of a kind.

    Times of recording choose what was filmed then: of a video that was only in part, that part.
    Seconds choose a span within each video.
    """

    sources: Sequence[str] = ()
    sessions: Sequence[str] = ()
    views: Sequence[str] = ()
    videos: Sequence[str] = ()
    tracks: Sequence[str] = ()
    recorded_from: datetime | None = None
    recorded_until: datetime | None = None
    from_seconds: float | None = None
    until_seconds: float | None = None

    def check(self) -> None:
        """Raises `ConfigurationError` for what nobody can mean."""
        names = (self.sources, self.sessions, self.views, self.videos, self.tracks)
        if not any(names) and not self._by_record:
            raise ConfigurationError(
                "say what to erase: --source, --session, --view, --video, --track, --recorded-from "
                "or --recorded-until"
            )
        bad = [name for name in self.videos if not _ID.fullmatch(name)]
        bad += [name for name in self.tracks if not _TRACK.fullmatch(name)]
        if bad:
            raise ConfigurationError(f"{bad[0]!r}: is no id: take it from `mien query`")
        if self.tracks and (self._by_seconds or self._by_record):
            raise ConfigurationError("--track erases a whole track: give no time with it")
        if self._by_seconds and self._by_record:
            raise ConfigurationError("give a span within the videos or a time of recording")
        low, high = self.from_seconds or 0.0, self.until_seconds
        if low < 0 or (high is not None and high <= low):
            raise ConfigurationError("--from-seconds must lie before --until-seconds, from 0 on")
        begin, end = self.recorded_from, self.recorded_until
        if begin and end and end <= begin:
            raise ConfigurationError("--recorded-from must lie before --recorded-until")

    @property
    def _by_seconds(self) -> bool:
        return self.from_seconds is not None or self.until_seconds is not None

    @property
    def _by_record(self) -> bool:
        return self.recorded_from is not None or self.recorded_until is not None

    def facts(self, identity: Identity) -> dict[str, str | float | int]:
        """What was asked for, as the audit log may know it: names as keyed hashes."""
        told: dict[str, str | float | int] = {}
        lists = {
            "source": [source_id(name, identity) for name in self.sources],
            "session": [identity.reference("session", name) for name in self.sessions],
            "view": [identity.reference("view", name) for name in self.views],
            "video": list(self.videos),
            "track": list(self.tracks),
        }
        told |= {kind: " ".join(sorted(names)) for kind, names in lists.items() if names}
        times = {"recorded_from": self.recorded_from, "recorded_until": self.recorded_until}
        told |= {name: time.isoformat() for name, time in times.items() if time}
        spans = {"from_seconds": self.from_seconds, "until_seconds": self.until_seconds}
        told |= {name: value for name, value in spans.items() if value is not None}
        return told

    def span(self, row: Row) -> tuple[float, float] | None:
        """The half-open span of a chosen video that goes; None for all of it."""
        length = row["duration_seconds"]
        low, high = self.from_seconds or 0.0, self.until_seconds
        if self._by_record:
            at = row["recorded_at"]
            low = max(0.0, (self.recorded_from - at).total_seconds()) if self.recorded_from else 0.0
            high = (self.recorded_until - at).total_seconds() if self.recorded_until else None
        # without its length nobody knows that anything is left
        if low <= 0 and (high is None or length is None or high >= length):
            return None
        return low, high if high is not None else max(length or 0.0, low) + 1.0


@dataclass(frozen=True)
class Chosen:
    """What a selector means in a store."""

    tombstones: list[Tombstone] = field(default_factory=list)
    copies: int = 0
    """Videos among them that are copies, under another name, of those that were named."""
    undated: int = 0
    """Videos that no time of recording can choose, for theirs is not known."""
    already: int = 0
    """Tombstones that stand for what was named."""


def source_id(name: str, identity: Identity) -> str:
    """The source that a uri or an id names."""
    if _ID.fullmatch(name):
        return name
    return identity.source_id(local_path(name) if is_local(name) else name)


def choose(store: Store, state: Snapshot, selector: Selector) -> Chosen:
    """The tombstones of all that a selector means, in the tables and in what runs have planned.

    Copies of a video share its fate; what is erased already is left out. `selector.check` is done.
    """
    standing = tombstones.read(store.root)
    erased = Tombstones(standing)
    rows = known_videos(store.root, state)
    rows = [row for row in rows if row["live"] or not erased.holds(row)]
    named = [row for row in rows if _fits(row, selector, store.identity)]
    undated = [row for row in named if selector._by_record and row["recorded_at"] is None]
    named = [row for row in named if not selector._by_record or _overlaps(row, selector)]
    ids = {row["video_id"] for row in named}
    contents = {row["content_id"]: row for row in named if row["content_id"]}
    stones = [stone for row in named for stone in _stones(store, state, row, selector)]
    copies = [row for row in rows if row["content_id"] in contents and row["video_id"] not in ids]
    for row in copies:
        original = contents[row["content_id"]]
        own = {"video_id": row["video_id"], "source_id": row["source_id"]}
        stones += [
            stone.model_copy(update=own)
            for stone in stones
            if stone.video_id == original["video_id"]
        ]
    known = set(standing)
    stones = [stone for stone in stones if stone.whole or stone not in known]
    names = {*(source_id(name, store.identity) for name in selector.sources), *selector.videos}
    names |= set(selector.tracks)
    already = [
        stone for stone in standing if names & {stone.source_id, stone.video_id, stone.track_id}
    ]
    return Chosen(stones, len(copies), len(undated), len(already))


def known_videos(root: Root, state: Snapshot, replaced: bool = True) -> list[Row]:
    """Every video that the store knows of, once each: live, planned, or `replaced` a while ago.

    `live` tells whether it is in the tables now; `run_id` who published or planned it.
    """
    live = table_rows(root, state, "videos", _COLUMNS).to_pylist()
    others = [*(_replaced(root, state) if replaced else ()), *_planned(root)]
    found = {row["video_id"]: {**row, "live": False} for row in others}
    found |= {row["video_id"]: {**row, "live": True} for row in live}
    return [found[name] for name in sorted(found)]


def _replaced(root: Root, state: Snapshot) -> list[Row]:
    """Rows of files that are not live any more and not deleted yet."""
    listed = {file.path for file in state.files}

    def read(rel: str) -> list[Row]:
        try:
            with root.open(rel) as source:
                return pq.read_table(source, columns=_COLUMNS).to_pylist()
        except (FileNotFoundError, pa.ArrowInvalid):  # collected meanwhile, or damaged
            return []

    rels = [rel for rel, _ in root.list(f"{tables.FOLDER}/videos") if rel not in listed]
    return [row for rows in in_parallel(read, rels) for row in rows]


def _planned(root: Root) -> Iterator[Row]:
    for rel, _ in root.list(runs.FOLDER):
        if rel.endswith(runs.PLAN) and (plan := read_small_table(root, rel)) is not None:
            run_id = rel.rsplit("/", 1)[-1].removesuffix(runs.PLAN)
            for row in plan.select([c for c in _COLUMNS if c in plan.column_names]).to_pylist():
                yield {**dict.fromkeys(_COLUMNS), **row, "run_id": run_id}


def _fits(row: Row, selector: Selector, identity: Identity) -> bool:
    wanted = {
        "source_id": [source_id(name, identity) for name in selector.sources],
        "session_id": selector.sessions,
        "view_id": selector.views,
        "video_id": selector.videos,
    }
    if selector.tracks and row["video_id"] not in {name[:24] for name in selector.tracks}:
        return False
    return all(row[column] in names for column, names in wanted.items() if names)


def _overlaps(row: Row, selector: Selector) -> bool:
    """Whether some of a video was filmed in the time asked for."""
    begin = row["recorded_at"]
    if begin is None:
        return False
    end = begin + timedelta(seconds=row["duration_seconds"] or 0.0)
    starts_before = selector.recorded_until is None or begin < selector.recorded_until
    if selector.recorded_from is None:
        return starts_before
    return starts_before and (end > selector.recorded_from or begin >= selector.recorded_from)


def _stones(store: Store, state: Snapshot, row: Row, selector: Selector) -> list[Tombstone]:
    ids = ids_of(row)
    if selector.tracks:
        return _of_tracks(store, state, row, set(selector.tracks))
    span = selector.span(row)
    if span is None:
        return [Tombstone(kind=Kind.VIDEO, **ids)]
    return [Tombstone(kind=Kind.SPAN, start_seconds=span[0], end_seconds=span[1], **ids)]


def ids_of(row: Row) -> dict[str, Any]:
    """How a tombstone knows a video again."""
    return {name: row[name] for name in ("video_id", "source_id", "content_id")}


def _of_tracks(store: Store, state: Snapshot, row: Row, wanted: set[str]) -> list[Tombstone]:
    """A tombstone a live track, with its span and the path of its box."""
    columns = ["track_id", "pts_seconds", "xyxy_px"]
    here = [row["video_id"]]
    faces = table_rows(store.root, state, "faces", columns, here).to_pylist()
    tracks = table_rows(store.root, state, "tracks", None, here).to_pylist()
    width, height = frame_px(row)
    paths: dict[str, list[tuple[float, ...]]] = {}
    for face in faces:
        left, top, right, bottom = face["xyxy_px"]
        box = (left / width, top / height, right / width, bottom / height)
        point = (face["pts_seconds"], *(round(side, 4) for side in box))
        paths.setdefault(face["track_id"], []).append(point)
    return [
        Tombstone.model_validate(
            {
                **ids_of(row),
                "kind": Kind.TRACK,
                "track_id": track["track_id"],
                "start_seconds": track["start_seconds"],
                "end_seconds": track["end_seconds"],
                "path": paths.get(track["track_id"], ()),
            }
        )
        for track in tracks
        if track["track_id"] in wanted
    ]


def moment(text: str) -> datetime:
    """A date or time in ISO 8601; without a zone it is UTC.

    Raises:
        ConfigurationError: It is none.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{text!r}: write a time as 2026-05-03T14:00") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
