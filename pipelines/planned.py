"""What is planned: videos, and the segments into which they are cut."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa

from infra.errors import StoreError
from operators.core.ids import segment_id
from schemas.flow import CLOCK, PLANNED
from schemas.tables import MEDIA, VIDEOS

SHORTEST_TAIL_SECONDS = 1.0  # a shorter rest is read with the segment before it
FULL, SCORES_ONLY = "full", "scores_only"
AT_ONCE = 10_000

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
    for start in range(0, len(videos), AT_ONCE):
        rows = [
            {
                **video.row,
                "todo": video.todo,
                "methods": video.methods,
                "segment_seconds": video.segment_seconds,
            }
            for video in videos[start : start + AT_ONCE]
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
        for batch in table.to_batches(max_chunksize=AT_ONCE)
        for row in batch.to_pylist()
    ]
