"""When a run will be done: from busy seconds and pools to wall time, a finishing time and nights.

Pure. The stages work at once, each on a pool of its own, so the slowest one bounds: its busy
seconds divided by its actors, times `Timing.factor`, the wall seconds that the sample run took for
each such second while its pools were full. Before that come listing, probing and the start of the
actors, as measured. Each wave ends with a rest during which not every actor is busy, and the next
one starts its actors again. Publishing the last wave comes after it; the others' is done beside,
and only its own CPU-seconds count.

Another cluster is taken to have CPUs and GPUs like this one's, memory enough, and a source that
answers as fast.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta

import numpy as np

from pipelines.forecast import STAGES, Estimate, Floats, Forecast
from pipelines.pools import Pools
from pipelines.waves import wave_sizes
from schemas.config import Run

#: Pools count as full in a sample only if every actor was seen to do this many segments.
LEAST_ROUNDS = 2


@dataclass(frozen=True)
class Timing:
    """What the sample run took beside its stages, in seconds.

    `start` is from the command's begin to the flow's, without `probe`; `warm` from there until the
    actors work. `factor` is as above. `publish` is the first part of a publish, `part` a further
    one in a process that is warm; `end` is what stopping takes.
    """

    start: float
    probe: float
    warm: float
    factor: float
    publish: float
    part: float
    end: float

    @property
    def before(self) -> float:
        return self.start + self.probe + self.warm


@dataclass(frozen=True)
class Arrival:
    """When the sample run gave a segment, in seconds since its flow began, and its busy seconds."""

    seconds: float
    busy: dict[str, float]


def stage_seconds(
    busy: dict[str, Floats], pools: Pools, embeds_in_child: bool
) -> dict[str, Floats]:
    """Wall seconds of each pool, were it always full: extract's and embed's.

    The child anonymizes as well, and does everything where raw crops may not leave it; who embeds
    scores as well.
    """
    child = STAGES if embeds_in_child else ("extract", "anonymize")
    of_child = sum((busy[stage] for stage in child), np.zeros_like(busy["extract"]))
    walls = {"extract": of_child / pools.extract}
    if not embeds_in_child:
        walls["embed"] = (busy["embed"] + busy["score"]) / pools.embed
    return walls


def warm_up(arrivals: Sequence[Arrival]) -> float:
    """Seconds from the begin of a flow until its first segment was in work."""
    if not arrivals:
        return 0.0
    first = arrivals[0]
    return max(0.0, first.seconds - sum(first.busy.values()))


def full_pool_factor(
    arrivals: Sequence[Arrival], pools: Pools, embeds_in_child: bool
) -> float | None:
    """Wall seconds for each second of the slowest stage, while all actors had work.

    That is from the first arrival until so many segments are left as there are actors. None where
    the sample was too short for that. Never below 1: nothing is faster than its slowest stage.
    """
    if not arrivals:
        return None
    first = arrivals[0].seconds
    after = [arrival for arrival in arrivals if arrival.seconds > first]
    seen = after[: max(0, len(after) - pools.extract + 1)]
    if len(seen) < LEAST_ROUNDS * pools.extract:
        return None
    busy = {stage: np.array([sum(item.busy[stage] for item in seen)]) for stage in STAGES}
    slowest = max(wall[0] for wall in stage_seconds(busy, pools, embeds_in_child).values())
    return max(1.0, (seen[-1].seconds - first) / slowest) if slowest else None


@dataclass(frozen=True)
class Wall:
    """The wall time of a whole run on a cluster, and what each stage would take of it alone."""

    seconds: Estimate
    stages: dict[str, Estimate]
    before_seconds: float
    after_seconds: float


def wall_time(
    predicted: Forecast,
    timing: Timing,
    pools: Pools,
    measured_pools: Pools,
    cpus: float,
    run: Run,
    embeds_in_child: bool,
) -> Wall:
    """The wall time on a cluster of these pools. Probing takes longer where fewer actors do it."""
    draws = predicted.resamples
    walls = stage_seconds(predicted.totals, pools, embeds_in_child)
    walls = {name: seconds * timing.factor for name, seconds in walls.items()}
    slowest = max(walls.values(), key=lambda seconds: seconds[0].sum())
    working = np.maximum.reduce([seconds.sum(axis=1) for seconds in walls.values()])
    probe = timing.probe * max(1.0, measured_pools.extract / pools.extract)
    before = timing.before - timing.probe + probe
    busy = sum(float(predicted.totals[stage][0].sum()) for stage in STAGES)
    count = max(predicted.segments, 1)
    rest = (1 - 1 / pools.extract) / 2 * busy / count  # the last round of a wave
    sizes = wave_sizes(
        count, float(working[0]) / count, timing.warm + rest, run.wave_segments, cpus
    )
    between = (len(sizes) - 1) * (rest + timing.warm)
    last = sizes[-1] / count
    most_rows = max(estimate.value for estimate in predicted.rows.values())
    parts = max(1, math.ceil(last * most_rows / run.publish_rows))
    at_once = max(1, min(parts, int(cpus)))
    rounds = math.ceil(parts / at_once)
    after = rest + timing.publish + (rounds - 1) * timing.part + timing.end
    resolve = predicted.totals["resolve"].sum(axis=1)
    resolving, beside = last * resolve / at_once, (1 - last) * resolve / max(1, int(cpus))
    total = before + working + between + beside + resolving + after
    return Wall(
        draws.interval(slowest, remeasured=True, made=total),
        {name: draws.interval(seconds, remeasured=True) for name, seconds in walls.items()},
        before,
        after + float(resolving[0]),
    )


@dataclass(frozen=True)
class Finish:
    """When a run is done. `nights` is how many starts it takes until `run.stop_at` lets it end;
    1 without one, None for never."""

    at: datetime | None
    nights: int | None


def finish(
    start: datetime, wall_seconds: float, before_seconds: float, stop: time | None
) -> Finish:
    """The finishing time of a run that starts at `start`, and again at that time of day each night.

    A night ends at the next `stop`, local time; every one pays the `before_seconds` again.
    """
    if stop is None:
        return Finish(start + timedelta(seconds=wall_seconds), 1)
    window = (datetime.combine(start.date(), stop) - start) % timedelta(days=1)
    night = window.total_seconds() or timedelta(days=1).total_seconds()
    work = max(0.0, wall_seconds - before_seconds)
    each = night - before_seconds
    if each <= 0:
        return Finish(None, None)
    nights = max(1, math.ceil(work / each))
    last = before_seconds + work - (nights - 1) * each
    return Finish(start + timedelta(days=nights - 1, seconds=last), nights)
