"""Work: wave after wave into staging, and what a wave makes ready into the tables."""

import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute
import ray
from rich.console import Console

from infra import runs, staging
from infra.cluster import free_cpus
from infra.errors import AuditFailed, ConfigurationError, Resumable
from infra.quality import merged
from infra.runs import RunRecord
from infra.stopping import Stop
from infra.store import Store
from pipelines.beside import beside
from pipelines.live import Live
from pipelines.live_view import Shown
from pipelines.plan import PASSES
from pipelines.planned import Plan, Video, planned_table
from pipelines.pools import LIGHT
from pipelines.publish import Batch, lost_rows, part_rows, publish
from pipelines.record import check_budget, counted, save, with_waves
from pipelines.settings import Settings
from pipelines.steps import score_segments
from pipelines.waves import Pace, Wave, waves
from schemas.config import Config
from schemas.flow import WRITTEN
from schemas.reasons import DEFERRED, Deferral

pc: Any = pyarrow.compute  # its functions are made at import: type checkers see none

NO_STORAGE = "source or store did not answer, or the store is full"


def work(
    settings: Settings,
    store: Store,
    record: RunRecord,
    plan: Plan,
    console: Console,
    stop: Stop,
    live: Live,
) -> None:
    """Score wave after wave, and publish what a wave makes ready beside the next one.

    Raises:
        Resumable: Segments were deferred: the run was told to stop, or storage is gone. What was
            ready by then is published, or stays staged.
        AuditFailed: As `publish_wave` does. The wave that is being scored then is stopped.
    """
    cfg, run_id = settings.cfg, record.run_id
    staged = staging.staged_segments(store.root, run_id)
    if staged:
        console.print(f"going on with run {run_id}: {len(staged)} segments are done")
    pace = Pace(cfg.run.wave_segments, free_cpus())
    planned, ended = plan.count, 0
    pending = WRITTEN.empty_table()  # of videos that have segments to come
    begun = False
    with (
        stop.gentle(cfg.run.grace_seconds, console.print) as stopping,
        Shown(console, live.now) as shown,
        beside() as publishing,
    ):

        def flow(segments: pa.Table) -> ray.data.Dataset:
            nonlocal begun
            live.begin(segments)
            try:
                scored = score_segments(segments, settings, store.root, run_id, stopping)
            except ConfigurationError as error:
                if not begun:  # nothing was done since this start
                    raise
                why = f"the cluster became too small: {error}"
                raise left_over(why, planned - ended, planned) from None
            begun = True
            return scored

        def watch(batch: pa.Table) -> None:
            """Storage that is gone, or an audit that failed, stops the rest of the wave."""
            live.add(batch)
            shown.step()
            if publishing.failed or Deferral.STORAGE in batch["reason"].to_pylist():
                stop.ask()

        for wave in waves(plan.videos, staged, planned, pace, next_wave(record)):
            begin, live.wave = time.monotonic(), wave.number
            known = staging.read_staged(store.root, run_id, ids(wave.staged), WRITTEN.names)
            live.add(known, earlier=True)
            rows = [known, *_scored(wave, flow, watch, stop)]
            lost = [] if stop.asked else _without(wave.todo, rows)
            if lost:
                rows.append(staging.write_segments(lost_rows(lost), store.root, run_id))
                live.add(rows[-1])
            came = pa.concat_tables(rows)
            written = came.filter(pc.field("status") != DEFERRED)
            seconds = time.monotonic() - begin
            pace.took(len(written) - len(known), seconds)
            ended += len(written)
            publishing.wait()
            if Deferral.STORAGE in came["reason"].to_pylist():
                raise left_over(NO_STORAGE, planned - ended, planned)
            ready, mine, pending = _ready(wave.videos, pa.concat_tables([pending, written]))
            if ready:
                done = counted(wave.number, ready, plan.usual_seconds, mine, seconds)
                free = 0 if stop.asked or ended == planned else LIGHT
                publishing.start(
                    functools.partial(publish_wave, cfg, store, run_id, done, ready, mine, free)
                )
            if stop.asked and ended < planned:
                publishing.wait()
                raise left_over("stopped", planned - ended, planned)
        live.phase = "publishing"


def left_over(why: str, left: int, planned: int) -> Resumable:
    """What ends a run before all of its segments are scored."""
    return Resumable(
        f"{why}; {left} of {planned} segments are left: the same command goes on from here"
    )


def _scored(
    wave: Wave,
    flow: Callable[[pa.Table], ray.data.Dataset],
    watch: Callable[[pa.Table], None],
    stop: Stop,
) -> Iterator[pa.Table]:
    """WRITTEN rows of a wave as they come. What is lost is tried again, not for ever."""
    todo = wave.todo
    for _ in range(PASSES):
        if not todo:
            return
        came = []
        for batch in batches(flow(planned_table(todo))):
            watch(batch)
            came.append(batch)
            yield batch
        if stop.asked:
            return
        todo = _without(todo, came)


def _without(todo: list[dict[str, Any]], came: list[pa.Table]) -> list[dict[str, Any]]:
    there = {name for table in came for name in table["segment_id"].to_pylist()}
    return [segment for segment in todo if segment["segment_id"] not in there]


def _ready(videos: list[Video], rows: pa.Table) -> tuple[list[Video], pa.Table, pa.Table]:
    """Those videos of which all segments are there, their rows, and the other rows."""
    there = Counter(rows["video_id"].to_pylist())
    ready = [video for video in videos if there[video.video_id] == video.count]
    names = pa.array([video.video_id for video in ready], pa.string())
    inside = pc.is_in(rows["video_id"], names)
    return ready, rows.filter(inside), rows.filter(pc.invert(inside))


def ids(segments: list[dict[str, Any]]) -> list[str]:
    return [segment["segment_id"] for segment in segments]


def next_wave(record: RunRecord) -> int:
    """The number of the wave after those that a run has published."""
    return 1 + max((wave.number for wave in record.waves), default=0)


def batches(flow: ray.data.Dataset) -> Iterator[pa.Table]:
    """What a flow gives, as it comes. Raises `Resumable` where nothing comes any more."""
    try:
        yield from flow.iter_batches(batch_size=None, batch_format="pyarrow")
    except TimeoutError as error:
        raise Resumable(
            "no segment was finished for run.no_progress_seconds: is the cluster short of CPUs or "
            "memory? The same command goes on from here"
        ) from error


def publish_wave(
    cfg: Config,
    store: Store,
    run_id: str,
    wave: runs.Wave,
    videos: list[Video],
    written: pa.Table,
    spare_cpus: float = 0,
) -> None:
    """Publish the videos that a wave made ready, within the budget of the whole run.

    `written` holds their WRITTEN rows; `spare_cpus` is as for `publish`. The run's record says
    what was done. Killed between the tables and the record, a run misses the wave's counts there.

    Raises:
        AuditFailed: Too much was quarantined, or an expectation failed. Then nothing of these
            videos is visible, and staging stays.
    """
    record = runs.load(store.root, run_id)
    before = [done for done in record.waves if done.published]
    record = with_waves(record, [*before, wave])
    save(store, record)
    check_budget(cfg, record)
    batch = Batch(
        store.root,
        run_id,
        record.hashes["extract"],
        cfg.score.abstain_below,
        part_rows(cfg),
    )
    found = written.group_by("video_id").aggregate([("faces_found", "sum")]).to_pylist()
    rows = {row["video_id"]: row["faces_found_sum"] * len(cfg.score.methods) for row in found}
    part = publish(batch, store, videos, rows, wave.number, spare_cpus)
    passed = [result for result in record.audit if result.success]
    if part.failures:
        save(store, record.model_copy(update={"audit": (*passed, *part.failures)}))
        first = part.failures[0]
        raise AuditFailed(
            f"the audit failed: {first.table}: {first.expectation} ({len(part.failures)} of "
            f"{len(part.audits)} expectations); nothing of wave {wave.number} is published, "
            f"staging is kept: `mien publish {cfg.store}` tries again"
        )
    record = record.model_copy(update={"audit": merged([*passed, *part.audits])})
    save(store, with_waves(record, [*before, wave.model_copy(update={"published": True})]))
