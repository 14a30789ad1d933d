"""Foresee: what scoring a source will find, write and take, from a sample scored for real.

Listing, probing and planning are those of a run, on a copy of what planning reads of the store. No
store is changed or locked.
"""

import time
from dataclasses import dataclass

from rich.console import Console

from infra.cluster import cluster, free_cpus, free_gpus, free_memory_gib
from infra.errors import ConfigurationError, SourceError, interruption
from infra.listing import list_sources
from infra.stopping import stoppable
from infra.store import Store
from pipelines.finishing import Timing, Wall, full_pool_factor, wall_time, warm_up
from pipelines.forecast import Floats, Forecast, Left, forecast
from pipelines.frame import make_frame, segments_of, what_is_left
from pipelines.gate import require_governance
from pipelines.plan import make_plan
from pipelines.planned import Plan
from pipelines.pools import LIGHT, Pools, Resources, size_pools
from pipelines.progress import clock
from pipelines.publish import Part, part_rows
from pipelines.sample_run import measure, run_sample
from pipelines.sampling import LEAST_DRAWN, draw
from pipelines.scratch import scratch_store, staged_already
from pipelines.settings import resolve_settings
from pipelines.steps import open_steps
from schemas.config import Config

#: Seconds of video that are sampled unless told, and the least for pools to be full for a while.
SAMPLE_SECONDS = 300.0
SEGMENTS_AN_ACTOR = 4


@dataclass(frozen=True)
class Asked:
    """How to sample, and for which cluster to foresee; None is by default, and this one."""

    sample_minutes: float | None = None
    seed: int = 0
    cpus: float | None = None
    gpus: float | None = None


@dataclass(frozen=True)
class Foreseen:
    """What a run will be like on the cluster `target`, with `pools`.

    `covered` videos have nothing left to do, and `staged` segments were done by an unfinished run;
    neither is in the forecast. `sampled` counts segments and `sampled_seconds` their video.
    """

    left: Left
    forecast: Forecast
    timing: Timing
    wall: Wall
    target: Resources
    pools: Pools
    covered: int
    staged: int
    sampled: int
    sampled_seconds: float
    notes: tuple[str, ...]


def foresee(cfg: Config, console: Console, asked: Asked, begin: float) -> Foreseen | None:
    """Sample `cfg.source` and forecast; None where nothing is left to score.

    `begin` is `time.perf_counter()` at the command's begin. Raises the errors of `infra.errors`;
    nothing is done before all is checked.
    """
    require_governance(cfg)
    settings = resolve_settings(cfg)
    if not cfg.source:
        raise ConfigurationError("no source: name it on the command line or as `source:`")
    sources, skipped = list_sources(
        cfg.source, cfg.plan.include, cfg.plan.exclude, cfg.plan.min_age_seconds
    )
    with (
        interruption("nothing was changed; the same command starts again"),
        stoppable(None),
        scratch_store(cfg.store) as (scratch, real),
    ):
        with cluster(cfg):
            here = Resources(free_cpus(), free_gpus(), free_memory_gib())
            target = _target(asked, here)
            console.print(f"{len(sources)} videos listed, {sum(skipped.values())} files skipped")
            planning = time.perf_counter()
            plan = make_plan(cfg, settings, scratch, sources, skipped)
            probed = time.perf_counter()
            frame = make_frame(plan, _staged(real, settings.run_hash, plan))
            if not plan.videos or (frame.staged and not frame.ids):
                return None
            if not frame.ids:
                raise SourceError(f"{cfg.source}: nothing that is left of it can be read")
            pools = size_pools(cfg, len(frame.ids), LIGHT, target if target != here else None)
            wanted = _wanted(asked, frame.seconds, size_pools(cfg, len(frame.ids), LIGHT).extract)
            strata = draw(frame.keys, frame.seconds, wanted, asked.seed)
            drawn = segments_of(plan, [frame.ids[i] for s in strata for i in s.drawn])
            seconds = sum(segment["end_seconds"] - segment["start_seconds"] for segment in drawn)
            console.print(f"sampling {len(drawn)} of {len(frame.ids)} segments: {clock(seconds)}")
            own = size_pools(cfg, len(drawn), LIGHT)
            in_child = not open_steps(settings)
            flowing = time.perf_counter()
            rows, arrivals = run_sample(drawn, settings, own, console)
            sampled, published = measure(rows, plan.videos, settings, scratch)
            ending = time.perf_counter()
        ended = time.perf_counter()

    factor = full_pool_factor(arrivals, own, in_child)
    notes = list(settings.notes)
    notes += _notes(here, target, factor, published.part)
    timing = Timing(
        start=flowing - begin - (probed - planning),
        probe=probed - planning,
        warm=warm_up(arrivals),
        factor=factor or 1.0,
        publish=published.first_seconds,
        part=published.further_seconds,
        end=ended - ending,
    )
    left = what_is_left(plan, frame, strata)
    predicted = forecast(left, sampled, target.gpus > 0 and not in_child, asked.seed)
    run = cfg.run.model_copy(update={"publish_rows": part_rows(cfg)})
    wall = wall_time(predicted, timing, pools, own, target.cpus, run, in_child)
    return Foreseen(
        left=left,
        forecast=predicted,
        timing=timing,
        wall=wall,
        target=target,
        pools=pools,
        covered=len(plan.covered),
        staged=frame.staged,
        sampled=len(drawn),
        sampled_seconds=seconds,
        notes=tuple(notes),
    )


def _target(asked: Asked, here: Resources) -> Resources:
    """The cluster to foresee; another one is taken to have memory enough.

    Raises `ConfigurationError` where its encoder's speed cannot be told from here.
    """
    if asked.cpus is None and asked.gpus is None:
        return here
    cpus = here.cpus if asked.cpus is None else asked.cpus
    gpus = here.gpus if asked.gpus is None else asked.gpus
    if here.gpus and not gpus:
        raise ConfigurationError(
            "--gpus 0: the sample would be embedded on a GPU, which says nothing of a CPU: run "
            "mien plan where there is none"
        )
    return Resources(cpus, gpus)


def _notes(here: Resources, target: Resources, factor: float | None, part: Part) -> list[str]:
    notes = []
    if target.gpus and not here.gpus:
        notes.append(
            "the sample was embedded on a CPU: how fast a GPU does it is not known, and the CPU's "
            "seconds stand for it, which is likely far too many"
        )
    if factor is None:
        notes.append(
            "the sample is too short to see full pools: the wall time rests on busy seconds alone; "
            "raise --sample-minutes"
        )
    notes += [
        f"the sampled rows do not pass the audit: {failure.table}: {failure.expectation}; such a "
        "run would publish nothing (exit 4)"
        for failure in part.failures[:1]
    ]
    return notes


def _staged(real: Store | None, run_hash: str, plan: Plan) -> set[str]:
    if real is None:
        return set()
    return staged_already(real, run_hash, {video.video_id for video in plan.videos})


def _wanted(asked: Asked, seconds: Floats, actors: int) -> int:
    """How many segments to draw."""
    if asked.sample_minutes is not None:
        return max(LEAST_DRAWN, round(asked.sample_minutes * 60 / seconds.mean()))
    return max(LEAST_DRAWN, round(SAMPLE_SECONDS / seconds.mean()), SEGMENTS_AN_ACTOR * actors)
