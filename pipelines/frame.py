"""The sampling frame: which segments of a plan may be drawn, and what is left to do by stratum."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from infra.storage import is_local
from pipelines.forecast import Floats, Left
from pipelines.planned import FULL, Plan
from pipelines.sampling import Key, Stratum, Traits, keys

Segment = dict[str, Any]


@dataclass(frozen=True)
class Frame:
    """The segments that may be drawn: one value each, in the plan's order.

    `videos` index the plan's. `staged` counts those left out, since an unfinished run did them.
    """

    ids: list[str]
    videos: list[int]
    seconds: Floats
    keys: list[Key]
    staged: int


def make_frame(plan: Plan, staged: set[str]) -> Frame:
    """All segments of the plan but those that are `staged`."""
    ids, videos, seconds, traits = [], [], [], []
    skipped = 0
    for number, video in enumerate(plan.videos):
        made_at = None
        for segment in video.segments:
            made_at = _made_at(video.row, segment)
            if segment["segment_id"] in staged:
                skipped += 1
                continue
            ids.append(segment["segment_id"])
            videos.append(number)
            seconds.append(segment["end_seconds"] - segment["start_seconds"])
        side = min(video.row["width_px"] or 0, video.row["height_px"] or 0)
        traits.append(Traits(video.row["codec"] or "unknown", side, made_at))
    named = keys(traits)
    return Frame(
        ids, videos, np.array(seconds, np.float64), [named[number] for number in videos], skipped
    )


def _made_at(row: dict[str, Any], segment: Segment) -> float | None:
    """When it was recorded, else when the file was written: a bucket's etag does not say."""
    if row["recorded_at"] is not None:
        return row["recorded_at"].timestamp()
    written = str(segment["changed"])
    return int(written) / 1e9 if is_local(row["uri"]) and written.isdigit() else None


def segments_of(plan: Plan, ids: list[str]) -> list[Segment]:
    """The PLANNED rows of these segments, in this order."""
    wanted = set(ids)
    found = {
        segment["segment_id"]: segment
        for video in plan.videos
        for segment in video.segments
        if segment["segment_id"] in wanted
    }
    return [found[name] for name in ids]


def what_is_left(plan: Plan, frame: Frame, strata: Sequence[Stratum]) -> Left:
    """The plan by stratum, as a forecast wants it.

    Where a video's faces are published already, its new scores alone will be.
    """
    full = np.array([video.todo == FULL for video in plan.videos], np.float64)[frame.videos]
    methods = np.array([len(video.methods) for video in plan.videos], np.float64)[frame.videos]
    own = [list(stratum.members) for stratum in strata]
    return Left(
        videos=len(plan.videos),
        unreadable_videos=sum(video.row["reason"] is not None for video in plan.videos),
        usual_seconds=plan.usual_seconds,
        published_segments=int(full.sum()),
        strata=tuple(strata),
        published_seconds=np.array([(frame.seconds * full)[i].sum() for i in own]),
        method_seconds=np.array([(frame.seconds * methods)[i].sum() for i in own]),
    )
