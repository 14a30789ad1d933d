"""Score: list, plan, extract to write, reconcile, publish. The main job."""

import json
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, time, timedelta
from typing import NoReturn

import pyarrow as pa
import ray
import yaml
from rich.console import Console

from infra import runs, staging
from infra.cluster import cluster
from infra.errors import AuditFailed, ConfigurationError, Resumable, StoreError
from infra.listing import list_sources
from infra.runs import Audited, RunRecord, State
from infra.store import Store
from infra.tracking import Tracker
from pipelines.configuration import config_from, require_governance
from pipelines.plan import Plan, Video, make_plan, plan_videos, planned_table
from pipelines.progress import VideoProgress
from pipelines.publish import Batch, lost_rows, publish
from pipelines.record import (
    UNFINISHED,
    Outcome,
    begin_run,
    check_budget,
    counted,
    end_run,
    quarantined,
)
from pipelines.settings import Settings, resolve_settings
from pipelines.steps import score_segments
from pipelines.summary import report_page
from schemas.config import Config
from schemas.tables import WRITTEN


def score(cfg: Config, console: Console, limit: int | None = None, retry: bool = False) -> Outcome:
    """Run the main job. Raises the errors of `infra.errors`; nothing is done before all is checked.

    `limit` takes the first videos only; `retry` scores again what earlier runs quarantined.
    """
    require_governance(cfg)
    settings = resolve_settings(cfg)
    if not cfg.source or not cfg.store:
        missing = "source" if not cfg.source else "store"
        raise ConfigurationError(f"no {missing}: name it on the command line or as `{missing}:`")
    sources, skipped = list_sources(
        cfg.source, cfg.plan.include, cfg.plan.exclude, cfg.plan.min_age_seconds
    )
    store = Store.open(cfg.store, create=True)
    for note in settings.notes:
        console.print(f"note: {note}")
    tracker = Tracker(cfg.tracking, store.root)
    with stoppable(cfg.run.stop_at), closing(tracker), cluster(cfg):
        tracker.warm()
        console.print(f"{len(sources)} videos listed, {sum(skipped.values())} files skipped")
        plan = make_plan(cfg, settings, store, sources.slice(0, limit), skipped, retry)
        record = begin_run(cfg, settings, store, plan, retry)
        if not plan.videos:
            return end_run(store, record, State.NOTHING_NEW, "nothing new")
        with recorded(store, record, tracker, console):
            written = work(settings, store, record, plan, console)
            record = counted(record, plan, written)
            runs.save(store.root, record)
            return finish(cfg, store, record, plan.videos, written)


def publish_staged(
    store_url: str, run_id: str | None, overrides: list[str], console: Console
) -> Outcome:
    """Publish an unfinished run from its staging. Raises `StoreError` where there is none."""
    store = Store.open(store_url, create=False)
    waiting = [r for r in runs.list_runs(store.root) if r.state in UNFINISHED]
    chosen = [record for record in waiting if run_id in (None, record.run_id)]
    if not chosen:
        names = ", ".join(record.run_id for record in waiting) or "none"
        raise StoreError(f"{store_url}: no such run waits to be published; waiting: {names}")
    record = chosen[-1]
    cfg = config_from(yaml.safe_load(record.config_yaml), overrides)
    cfg = cfg.model_copy(update={"store": store_url})
    videos = plan_videos(runs.load_plan(store.root, record.run_id))
    wanted = [segment["segment_id"] for video in videos for segment in video.segments]
    if missing := set(wanted) - staging.staged_segments(store.root, record.run_id):
        raise Resumable(
            f"run {record.run_id} has {len(missing)} segments to score yet: "
            f"`mien score SOURCE --out {store_url}` goes on with it"
        )
    written = staging.read_staged(store.root, record.run_id, wanted, WRITTEN.names)
    record = counted(record, Plan(videos), written)  # it may have been killed before it counted
    runs.save(store.root, record)
    tracker = Tracker(cfg.tracking, store.root)
    with (
        stoppable(None),
        closing(tracker),
        cluster(cfg),
        recorded(store, record, tracker, console),
    ):
        return finish(cfg, store, record, videos, written)


def work(
    settings: Settings, store: Store, record: RunRecord, plan: Plan, console: Console
) -> pa.Table:
    """Bring every planned segment into staging; WRITTEN rows of all of them, lost ones included."""
    segments = plan.segments
    done = staging.staged_segments(store.root, record.run_id)
    todo = [segment for segment in segments if segment["segment_id"] not in done]
    kept = [segment["segment_id"] for segment in segments if segment["segment_id"] in done]
    if kept:
        console.print(f"going on with run {record.run_id}: {len(kept)} segments are done")
    rows = [staging.read_staged(store.root, record.run_id, kept, WRITTEN.names)]
    if todo:
        seconds = sum(segment["end_seconds"] - segment["start_seconds"] for segment in todo)
        flow = score_segments(planned_table(todo), settings, store.root, record.run_id)
        with VideoProgress(console, seconds, len(todo)) as progress:
            for batch in batches(flow):
                rows.append(batch)
                for row in batch.to_pylist():
                    progress.add(row["end_seconds"] - row["start_seconds"], row["faces_found"])
    written = pa.concat_tables(rows)
    came_back = set(written["segment_id"].to_pylist())
    lost = [segment for segment in segments if segment["segment_id"] not in came_back]
    if lost:
        table = staging.write_segments(lost_rows(lost), store.root, record.run_id)
        written = pa.concat_tables([written, table])
    return written


def batches(flow: ray.data.Dataset) -> Iterator[pa.Table]:
    """What a flow gives, as it comes. Raises `Resumable` where nothing comes any more."""
    try:
        yield from flow.iter_batches(batch_size=None, batch_format="pyarrow")
    except TimeoutError as error:
        raise Resumable(
            "no segment was finished for run.no_progress_seconds: is the cluster short of CPUs or "
            "memory? The same command goes on from here"
        ) from error


def finish(
    cfg: Config,
    store: Store,
    record: RunRecord,
    videos: list[Video],
    written: pa.Table,
) -> Outcome:
    """Publish within the budget. Raises `AuditFailed`; then nothing is visible, staging stays."""
    check_budget(cfg, record)
    batch = Batch(
        store.root,
        record.run_id,
        record.hashes["extract"],
        cfg.score.abstain_below,
        cfg.run.publish_rows,
    )
    faces = written.group_by("video_id").aggregate([("faces_found", "sum")])
    rows = {
        row["video_id"]: row["faces_found_sum"] * len(cfg.score.methods)
        for row in faces.to_pylist()
    }
    part = publish(batch, store, videos, rows)
    audits = [Audited(**vars(result)) for result in part.audits]
    record = record.model_copy(update={"audit": tuple(audits)})
    runs.save(store.root, record)
    if part.failures:
        first = part.failures[0]
        raise AuditFailed(
            f"the audit failed: {first.table}: {first.expectation} ({len(part.failures)} of "
            f"{len(part.audits)} expectations); nothing was published, staging is kept: "
            f"`mien publish {cfg.store}` tries again"
        )
    runs.discard_plan(store.root, record.run_id)
    spans = sum(quarantined(record).values())
    message = f"published; {spans} spans quarantined" if spans else "published"
    return end_run(store, record, State.PUBLISHED, message, 3 if spans else 0)


@contextmanager
def recorded(store: Store, record: RunRecord, tracker: Tracker, console: Console) -> Iterator[None]:
    """However the block ends, the run's record says so, and MLflow hears of it.

    Interruption is turned into `Resumable` (exit 6).
    """

    def end(state: State, message: str) -> None:
        end_run(store, runs.load(store.root, record.run_id), state, message)

    try:
        yield
    except AuditFailed as error:
        over = "max_quarantined" in str(error)
        end(State.OVER_BUDGET if over else State.AUDIT_FAILED, str(error))
        raise
    except Resumable as error:
        end(State.INTERRUPTED, str(error))
        raise
    except KeyboardInterrupt:
        message = "interrupted: the same command goes on from here"
        end(State.INTERRUPTED, message)
        raise Resumable(message) from None
    except Exception as error:
        end(State.FAILED, type(error).__name__)
        raise
    finally:
        final = runs.load(store.root, record.run_id)
        if warning := tracker.log_run(final, _artifacts(store, final)):
            console.print(f"note: {warning}")


def _artifacts(store: Store, record: RunRecord) -> dict[str, bytes]:
    """What MLflow keeps of a run: its configuration, its audit, and the report of the store."""
    files = {
        "config.yaml": record.config_yaml.encode(),
        "audit.json": json.dumps([item.model_dump() for item in record.audit], indent=1).encode(),
    }
    if record.state is State.PUBLISHED:
        files["report.html"] = report_page(store.root.url).encode()
    return files


def seconds_until(moment: time, now: datetime) -> float:
    """From `now` to the next time that the clock shows `moment`; both local."""
    then = datetime.combine(now.date(), moment)
    return ((then - now) % timedelta(days=1)).total_seconds()


@contextmanager
def stoppable(stop_at: time | None) -> Iterator[None]:
    """SIGTERM, Ctrl-C and `run.stop_at` stop: what is staged stays, and the next start goes on."""

    def stop(signum: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = {number: signal.signal(number, stop) for number in numbers}
    if stop_at is not None:
        signal.setitimer(signal.ITIMER_REAL, seconds_until(stop_at, datetime.now()))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number in numbers:
            signal.signal(number, before[number])
