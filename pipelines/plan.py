"""Plan: from a source to the segments that no published row covers yet."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa

from infra.errors import Resumable, StoreError
from infra.identity import Identity
from infra.store import Store
from infra.tables import read_small_table, table_rows, write_small_table
from operators.core.ids import segment_id
from pipelines.settings import Settings
from pipelines.steps import probe_all
from schemas.config import Config
from schemas.reasons import LASTING, Deferral, Reason
from schemas.tables import CLOCK, MEDIA, PLANNED, PROBED, SOURCE_FILES, VIDEOS

PROBES = "probes.parquet"
#: How often a file or a segment is tried before it counts as lost: Ray drops one whose workers die.
PASSES = 2
SHORTEST_TAIL_SECONDS = 1.0  # a shorter rest is read with the segment before it
FULL, SCORES_ONLY = "full", "scores_only"

KEPT_AT_ONCE = 10_000
LOOK = ("size_bytes", "changed")  # with its place, whether a file is as it was at the last look

#: What a planned video's row holds: its row in `videos` to be, and what its segments are cut from.
PLANNED_VIDEO = pa.schema(
    [*(item.with_nullable(True) for item in VIDEOS), PLANNED.field("changed"), *CLOCK]
)
#: A plan as it is kept beside a run until the run is published: enough to publish from staging.
KEPT_PLAN = pa.schema(
    [
        *PLANNED_VIDEO,
        pa.field("todo", pa.string()),
        pa.field("methods", pa.list_(pa.string())),
        pa.field("segment_seconds", pa.float64()),
    ]
)
PROBE_CACHE = pa.schema([*(item for item in SOURCE_FILES if item.name != "uri"), *PROBED])


@dataclass(frozen=True)
class Video:
    """One planned video: the row it will have in `videos`, and what is to be done with it."""

    row: dict[str, Any]  # and what PLANNED needs beside it
    todo: str  # FULL, or SCORES_ONLY where its faces are published already
    methods: list[str]  # what it is still to be scored by
    segment_seconds: float

    @property
    def video_id(self) -> str:
        return self.row["video_id"]

    @property
    def segments(self) -> list[dict[str, Any]]:
        """PLANNED rows, cut at every call: an archive has too many to hold them all."""
        return [] if self.row["reason"] else cut(self.row, self.segment_seconds)

    @property
    def count(self) -> int:
        """How many segments it has; none where it cannot be read."""
        return 0 if self.row["reason"] else pieces(self.row, self.segment_seconds)


@dataclass(frozen=True)
class Plan:
    """What a run will do; `covered` names the videos that have nothing left to do."""

    videos: list[Video]
    covered: frozenset[str] = frozenset()
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def segments(self) -> Iterator[dict[str, Any]]:
        return (segment for video in self.videos for segment in video.segments)

    @property
    def count(self) -> int:
        return sum(video.count for video in self.videos)

    @property
    def seconds(self) -> float:
        """The length of all videos whose length is known."""
        return sum(video.row["duration_seconds"] or 0.0 for video in self.videos)

    @cached_property
    def usual_seconds(self) -> float:
        """The usual length of a video: what one counts for whose length is unknown."""
        known = [video.row["duration_seconds"] for video in self.videos if video.count]
        return sum(known) / len(known) if known else 1.0

    @property
    def unread(self) -> int:
        """Videos that the probe could not read: they have no segments."""
        return sum(not video.count for video in self.videos)


def make_plan(
    cfg: Config,
    settings: Settings,
    store: Store,
    sources: pa.Table,
    skipped: Mapping[str, int],
    retry: bool = False,
) -> Plan:
    """Probe what is new in `sources`, and cut what no published row covers.

    `retry` plans again what earlier runs quarantined.
    """
    probed = probe_sources(sources, cfg, store)
    published = {
        row["video_id"]: row for row in table_rows(store.root, store.latest(), "videos").to_pylist()
    }
    videos, covered = [], set()
    for row in probed:
        if video := plan_video(row, settings, published.get(row["video_id"]), retry):
            videos.append(video)
        else:
            covered.add(row["video_id"])
    return Plan(videos, frozenset(covered), Counter(skipped))


def probe_sources(sources: pa.Table, cfg: Config, store: Store) -> Iterator[dict[str, Any]]:
    """Yield SOURCE rows with PROBED columns and ids, in order; only new or changed files are read.

    A file counts as seen when its place, size and mtime (or etag) are those of the last look.
    """
    ids = [store.identity.source_id(uri) for uri in sources["uri"].to_pylist()]
    sources = sources.append_column(SOURCE_FILES.field(0), pa.array(ids, pa.string()))
    cached = {_look(row): row for row in _read_cache(store)}
    looks = list(zip(ids, *(sources[name].to_pylist() for name in LOOK), strict=True))
    new = [index for index, look in enumerate(looks) if look not in cached]
    if new:
        wanted = sources.take(pa.array(new)).select(SOURCE_FILES.names)
        for _ in range(PASSES):
            cached |= {_look(row): row for row in _batches(probe_all(wanted, cfg))}
            lost = [_look(row) not in cached for row in wanted.to_pylist()]
            wanted = wanted.filter(pa.array(lost, pa.bool_()))
            if not len(wanted):
                break
        _keep(store, [cached[look] for look in sorted(set(looks) & set(cached))])
    for batch in sources.to_batches(max_chunksize=KEPT_AT_ONCE):
        for row in batch.to_pylist():
            yield _identified(row, cached.pop(_look(row), None), store.identity)


def _keep(store: Store, found: list[dict[str, Any]]) -> None:
    """Remember what files are; not what befell them this once.

    Raises `Resumable` where the storage did not let some be read.
    """
    lasting = [row for row in found if row["reason"] is None or row["reason"] in LASTING]
    write_small_table(store.root, PROBES, pa.Table.from_pylist(lasting, PROBE_CACHE))
    unread = sum(row["reason"] == Deferral.STORAGE for row in found)
    if unread:
        raise Resumable(f"the source did not answer for {unread} files: run again")


def _look(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["source_id"], *(row[name] for name in LOOK)


def _read_cache(store: Store) -> list[dict[str, Any]]:
    table = read_small_table(store.root, PROBES)
    return table.to_pylist() if table is not None and table.schema.equals(PROBE_CACHE) else []


def _batches(rows: Any) -> Iterator[dict[str, Any]]:
    for batch in rows.iter_batches(batch_size=None, batch_format="pyarrow"):
        yield from batch.to_pylist()


def _identified(
    row: dict[str, Any], probed: dict[str, Any] | None, identity: Identity
) -> dict[str, Any]:
    if probed is None:  # its worker was lost
        probed = {"fingerprint": "", "reason": str(Reason.WORKER_LOST)}
    known = {name: probed.get(name) for name in PROBED.names}
    video_id = identity.video_id(row["uri"], row["size_bytes"], known["fingerprint"] or "")
    return {**row, **known, "video_id": video_id}


def plan_video(
    row: dict[str, Any], settings: Settings, published: dict[str, Any] | None, retry: bool
) -> Video | None:
    """What is left to do for one video; None when published rows cover it."""
    todo, published_by = FULL, []
    if published and published["extract_hash"] == settings.extract_hash:
        broken = published["status"] != "ok"
        if not (retry and broken):
            todo, published_by = SCORES_ONLY, published["scored_by"]
    missing = [item for item in settings.scored_by if item not in published_by]
    if not missing:
        return None
    video = {
        **{name: row.get(name) for name in PLANNED_VIDEO.names},
        "extract_hash": settings.extract_hash,
        "scored_by": _scored_by(settings, published_by),
    }
    methods = [item.split(":")[0] for item in missing]
    return Video(video, todo, methods, settings.cfg.plan.segment_seconds)


def _scored_by(settings: Settings, published_by: list[str]) -> list[str]:
    """The chosen methods, and the published ones that they do not replace."""
    chosen = {item.spec.name for item in settings.chosen}
    kept = [item for item in published_by if item.split(":")[0] not in chosen]
    return sorted([*settings.scored_by, *kept])


def cut(row: dict[str, Any], segment_seconds: float) -> list[dict[str, Any]]:
    """PLANNED rows of one video: half-open spans that cover it, the last one to its end."""
    starts = [index * segment_seconds for index in range(pieces(row, segment_seconds))]
    ends = [*starts[1:], max(row["duration_seconds"] or 0.0, starts[-1])]
    shared = {name: row[name] for name in ("video_id", "uri", "size_bytes", "changed")}
    shared |= {item.name: row[item.name] for item in (*MEDIA, *CLOCK)}
    return [
        {
            **shared,
            "segment_id": segment_id(row["video_id"], start, end),
            "start_seconds": start,
            "end_seconds": end,
        }
        for start, end in zip(starts, ends, strict=True)
    ]


def pieces(row: dict[str, Any], segment_seconds: float) -> int:
    """Into how many segments a video is cut: one at least."""
    duration = row["duration_seconds"] or 0.0
    return max(1, math.ceil((duration - SHORTEST_TAIL_SECONDS) / segment_seconds))


def planned_table(segments: list[dict[str, Any]]) -> pa.Table:
    """PLANNED rows, one a segment."""
    return pa.Table.from_pylist(segments, PLANNED)


def plan_table(videos: Sequence[Video]) -> pa.Table:
    """The plan as a KEPT_PLAN table."""
    parts = [KEPT_PLAN.empty_table()]
    for start in range(0, len(videos), KEPT_AT_ONCE):
        rows = [
            {
                **video.row,
                "todo": video.todo,
                "methods": video.methods,
                "segment_seconds": video.segment_seconds,
            }
            for video in videos[start : start + KEPT_AT_ONCE]
        ]
        parts.append(pa.Table.from_pylist(rows, KEPT_PLAN))
    return pa.concat_tables(parts)


def plan_videos(table: pa.Table) -> list[Video]:
    """The videos of a KEPT_PLAN table.

    Raises:
        StoreError: It is none.
    """
    if not table.schema.equals(KEPT_PLAN):
        raise StoreError("the run's plan is of another version of mien: score again")
    return [
        Video(
            {name: row[name] for name in PLANNED_VIDEO.names},
            row["todo"],
            row["methods"],
            row["segment_seconds"],
        )
        for batch in table.to_batches(max_chunksize=KEPT_AT_ONCE)
        for row in batch.to_pylist()
    ]
