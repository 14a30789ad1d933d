"""Plan: from a source to the segments that no published row covers yet."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from infra.errors import Resumable
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

PROBE_CACHE = pa.schema([*(item for item in SOURCE_FILES if item.name != "uri"), *PROBED])


@dataclass(frozen=True)
class Video:
    """One planned video: the row it will have in `videos`, and what is to be done with it."""

    row: dict[str, Any]
    todo: str  # FULL, or SCORES_ONLY where its faces are published already
    methods: list[str]  # what it is still to be scored by
    segments: list[dict[str, Any]]

    @property
    def video_id(self) -> str:
        return self.row["video_id"]


@dataclass(frozen=True)
class Plan:
    """What a run will do; `covered` names the videos that have nothing left to do."""

    videos: list[Video]
    covered: frozenset[str] = frozenset()
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def segments(self) -> list[dict[str, Any]]:
        return [segment for video in self.videos for segment in video.segments]

    @property
    def seconds(self) -> float:
        return sum(video.row["duration_seconds"] or 0.0 for video in self.videos)


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


def probe_sources(sources: pa.Table, cfg: Config, store: Store) -> list[dict[str, Any]]:
    """SOURCE rows with their PROBED columns and ids, in order; only new or changed files are read.

    A file counts as seen when its place, size and mtime (or etag) are those of the last look.
    """
    ids = [store.identity.source_id(uri) for uri in sources["uri"].to_pylist()]
    sources = sources.append_column(SOURCE_FILES.field(0), pa.array(ids, pa.string()))
    cached = {_look(row): row for row in _read_cache(store)}
    rows = sources.to_pylist()
    new = [index for index, row in enumerate(rows) if _look(row) not in cached]
    if new:
        wanted = sources.take(pa.array(new)).select(SOURCE_FILES.names)
        for _ in range(PASSES):
            cached |= {_look(row): row for row in _batches(probe_all(wanted, cfg))}
            lost = [_look(row) not in cached for row in wanted.to_pylist()]
            wanted = wanted.filter(pa.array(lost, pa.bool_()))
            if not len(wanted):
                break
        _keep(store, [cached[key] for key in sorted({_look(row) for row in rows} & set(cached))])
    return [_identified(row, cached.get(_look(row)), store.identity) for row in rows]


def _keep(store: Store, found: list[dict[str, Any]]) -> None:
    """Remember what files are; not what befell them this once.

    Raises `Resumable` where the storage did not let some be read.
    """
    lasting = [row for row in found if row["reason"] is None or row["reason"] in LASTING]
    write_small_table(store.root, PROBES, pa.Table.from_pylist(lasting, PROBE_CACHE))
    unread = sum(row["reason"] == Deferral.STORAGE for row in found)
    if unread:
        raise Resumable(f"the source did not answer for {unread} files: run again")


def _look(row: dict[str, Any]) -> tuple[str, int, str]:
    return row["source_id"], row["size_bytes"], row["changed"]


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
        **{name: row.get(name) for name in VIDEOS.names},
        "extract_hash": settings.extract_hash,
        "scored_by": _scored_by(settings, published_by),
    }
    segments = [] if row["reason"] else cut(row, settings.cfg.plan.segment_seconds)
    return Video(video, todo, [item.split(":")[0] for item in missing], segments)


def _scored_by(settings: Settings, published_by: list[str]) -> list[str]:
    """The chosen methods, and the published ones that they do not replace."""
    chosen = {item.spec.name for item in settings.chosen}
    kept = [item for item in published_by if item.split(":")[0] not in chosen]
    return sorted([*settings.scored_by, *kept])


def cut(row: dict[str, Any], segment_seconds: float) -> list[dict[str, Any]]:
    """PLANNED rows of one video: half-open spans that cover it, the last one to its end."""
    duration = row["duration_seconds"] or 0.0
    count = max(1, math.ceil((duration - SHORTEST_TAIL_SECONDS) / segment_seconds))
    starts = [index * segment_seconds for index in range(count)]
    ends = [*starts[1:], max(duration, starts[-1])]
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


def planned_table(segments: list[dict[str, Any]]) -> pa.Table:
    """PLANNED rows, one a segment."""
    return pa.Table.from_pylist(segments, PLANNED)


def video_seconds(videos: list[Video]) -> float:
    """The usual length of a video: what one counts for whose length is unknown."""
    known = [video.row["duration_seconds"] for video in videos if video.segments]
    return sum(known) / len(known) if known else 1.0


#: A plan as it is kept beside a run until the run is published: enough to publish from staging.
KEPT_PLAN = pa.schema(
    [
        *(item.with_nullable(True) for item in VIDEOS),
        pa.field("todo", pa.string()),
        pa.field("methods", pa.list_(pa.string())),
        pa.field(
            "segments",
            pa.list_(
                pa.struct(
                    [
                        PLANNED.field(name)
                        for name in ("segment_id", "video_id", "start_seconds", "end_seconds")
                    ]
                )
            ),
        ),
    ]
)


def plan_table(videos: list[Video]) -> pa.Table:
    """The plan as a KEPT_PLAN table."""
    rows = [
        {**video.row, "todo": video.todo, "methods": video.methods, "segments": video.segments}
        for video in videos
    ]
    return pa.Table.from_pylist(rows, KEPT_PLAN)


def plan_videos(table: pa.Table) -> list[Video]:
    """The videos of a KEPT_PLAN table."""
    return [
        Video(
            {name: row[name] for name in VIDEOS.names},
            row["todo"],
            row["methods"],
            row["segments"],
        )
        for row in table.to_pylist()
    ]
