"""Score: list, plan, extract to write, reconcile, publish. The main job."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import pyarrow as pa
import ray
import yaml
from rich.console import Console

from infra import runs, staging
from infra.cluster import cluster
from infra.errors import AuditFailed, Resumable, StoreBusy, StoreError
from infra.exporter import Exporter, exporting
from infra.listing import list_sources
from infra.live import Point
from infra.runs import Audited, RunRecord, State
from infra.stopping import Stop, stoppable
from infra.store import Store
from infra.tracking import Tracker
from pipelines.configuration import config_from, require_governance, source_and_store
from pipelines.live import Live
from pipelines.live_view import Shown
from pipelines.plan import PASSES, Plan, Video, make_plan, plan_videos, planned_table
from pipelines.publish import Batch, lost_rows, publish
from pipelines.record import (
    UNFINISHED,
    Outcome,
    begin_run,
    check_budget,
    counted,
    end_run,
    quarantined,
    save,
    tidy,
)
from pipelines.settings import Settings, resolve_settings
from pipelines.steps import flow_stages, score_segments
from pipelines.summary import report_page
from schemas.config import Config
from schemas.reasons import DEFERRED, Deferral
from schemas.tables import WRITTEN


def score(
    cfg: Config,
    console: Console,
    limit: int | None = None,
    retry: bool = False,
    wait_seconds: float = 0,
) -> Outcome:
    """Run the main job. Raises the errors of `infra.errors`; nothing is done before all is checked.

    `limit` takes the first videos only; `retry` scores again what earlier runs quarantined;
    `wait_seconds` is how long to wait for another run that holds the store.
    """
    require_governance(cfg)
    with exporting(cfg.run) as exporter:
        return _score(cfg, exporter, console, limit, retry, wait_seconds)


def _score(
    cfg: Config,
    exporter: Exporter,
    console: Console,
    limit: int | None,
    retry: bool,
    wait_seconds: float,
) -> Outcome:
    settings = resolve_settings(cfg)
    source, store_url = source_and_store(cfg)
    sources, skipped = list_sources(
        source, cfg.plan.include, cfg.plan.exclude, cfg.plan.min_age_seconds
    )
    store = Store.open(store_url, create=True)
    for note in settings.notes:
        console.print(f"note: {note}")
    tracker = Tracker(cfg.tracking, store.root)
    with (
        stoppable(cfg.run.stop_at) as stop,
        store.locked(wait_seconds, console.print) as store,
        closing(tracker),
        cluster(cfg),
    ):
        tracker.warm()
        console.print(f"{len(sources)} videos listed, {sum(skipped.values())} files skipped")
        plan = make_plan(cfg, settings, store, sources.slice(0, limit), skipped, retry)
        record = begin_run(cfg, settings, store, plan, retry)
        if not plan.videos:
            return end_run(store, record, State.NOTHING_NEW, "nothing new")
        live = Live(store, record, plan, flow_stages(settings))
        exporter.source = live.now
        with live, recorded(store, record, tracker, console, live.points):
            written = work(settings, store, record, plan, console, stop, live)
            live.phase = "publishing"
            record = counted(record, plan, written)
            save(store, record)
            return finish(cfg, store, record, plan.videos, written)


def publish_staged(
    store_url: str,
    run_id: str | None,
    overrides: list[str],
    console: Console,
    wait_seconds: float = 0,
) -> Outcome:
    """Publish an unfinished run from its staging. Raises `StoreError` where there is none."""
    with (
        stoppable(None),
        Store.open(store_url, create=False).locked(wait_seconds, console.print) as store,
    ):
        return _publish_staged(store, run_id, overrides, console)


def _publish_staged(
    store: Store, run_id: str | None, overrides: list[str], console: Console
) -> Outcome:
    store_url = store.root.url
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
    save(store, record)
    tracker = Tracker(cfg.tracking, store.root)
    with closing(tracker), cluster(cfg), recorded(store, record, tracker, console):
        return finish(cfg, store, record, videos, written)


def work(
    settings: Settings,
    store: Store,
    record: RunRecord,
    plan: Plan,
    console: Console,
    stop: Stop,
    live: Live,
) -> pa.Table:
    """Bring every planned segment into staging; WRITTEN rows of all of them, lost ones included.

    Raises `Resumable` where some were deferred: the run was told to stop, or storage is gone.
    """
    segments = plan.segments
    done = staging.staged_segments(store.root, record.run_id)
    todo = [segment for segment in segments if segment["segment_id"] not in done]
    kept = [segment["segment_id"] for segment in segments if segment["segment_id"] in done]
    if kept:
        console.print(f"going on with run {record.run_id}: {len(kept)} segments are done")
    rows = [staging.read_staged(store.root, record.run_id, kept, WRITTEN.names)]
    live.add(rows[0], earlier=True)
    grace = settings.cfg.run.grace_seconds
    for _ in range(PASSES):
        if not todo:
            break
        with stop.gentle(grace, console.print) as stopping:
            flow = score_segments(
                planned_table(todo), settings, store.root, record.run_id, stopping
            )
            watched = _watched(flow, todo, console, stop, live)
            came = pa.concat_tables([WRITTEN.empty_table(), *watched])
        rows.append(came)
        _raise_if_deferred(came, len(segments))
        todo = _without(todo, came)
    if todo:
        rows.append(staging.write_segments(lost_rows(todo), store.root, record.run_id))
        live.add(rows[-1])
    return pa.concat_tables(rows)


def _watched(
    flow: ray.data.Dataset, todo: list[dict[str, Any]], console: Console, stop: Stop, live: Live
) -> Iterator[pa.Table]:
    """What the flow gives, with progress. Storage that is gone stops the rest of the flow."""
    live.begin(todo)
    with Shown(console, live.now) as shown:
        for batch in batches(flow):
            if str(Deferral.STORAGE) in batch["reason"].to_pylist():
                stop.ask()
            live.add(batch)
            shown.step()
            yield batch


def _raise_if_deferred(came: pa.Table, planned: int) -> None:
    reasons = Counter(row["reason"] for row in came.to_pylist() if row["status"] == DEFERRED)
    left = f"{reasons.total()} of {planned} segments are left: the same command goes on from here"
    if reasons[Deferral.STORAGE]:
        raise Resumable(f"source or store did not answer, or the store is full; {left}")
    if reasons:
        raise Resumable(f"stopped; {left}")


def _without(todo: list[dict[str, Any]], came: pa.Table) -> list[dict[str, Any]]:
    ids = set(came["segment_id"].to_pylist())
    return [segment for segment in todo if segment["segment_id"] not in ids]


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
    save(store, record)
    if part.failures:
        first = part.failures[0]
        raise AuditFailed(
            f"the audit failed: {first.table}: {first.expectation} ({len(part.failures)} of "
            f"{len(part.audits)} expectations); nothing was published, staging is kept: "
            f"`mien publish {cfg.store}` tries again"
        )
    runs.discard_plan(store.root, record.run_id)
    tidy(store, record.run_id)
    spans = sum(quarantined(record).values())
    message = f"published; {spans} spans quarantined" if spans else "published"
    return end_run(store, record, State.PUBLISHED, message, 3 if spans else 0)


@contextmanager
def recorded(
    store: Store,
    record: RunRecord,
    tracker: Tracker,
    console: Console,
    curve: Callable[[], Sequence[Point]] = tuple,
) -> Iterator[None]:
    """However the block ends, the run's record says so, and MLflow hears of it and of its `curve`.

    Interruption is turned into `Resumable` (exit 6).
    """

    def end(state: State, message: str) -> None:
        end_run(store, runs.load(store.root, record.run_id), state, message)

    try:
        yield
    except StoreBusy:
        raise  # the record is its new holder's
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
        if not store.lost and (
            warning := tracker.log_run(final, _artifacts(store, final), curve())
        ):
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
