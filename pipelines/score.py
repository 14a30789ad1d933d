"""Score: list, plan, extract to write, reconcile, publish. The main job."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager

import duckdb
import yaml
from rich.console import Console

from infra import runs, staging
from infra.cluster import cluster
from infra.errors import AuditFailed, Resumable, StoreBusy, StoreError
from infra.exporter import Exporter, exporting
from infra.listing import list_sources
from infra.live import Point
from infra.runs import RunRecord, State
from infra.stopping import stoppable
from infra.store import Store
from infra.tables import table_rows
from infra.tracking import Tracker
from pipelines.configuration import config_from, source_and_store
from pipelines.erasing import finish_pending
from pipelines.gate import require_governance
from pipelines.live import Live
from pipelines.plan import ERASED, EXPIRED, make_plan
from pipelines.planned import Plan, plan_videos
from pipelines.privacy_report import report_files
from pipelines.record import UNFINISHED, Outcome, begin_run, counted, end_run, quarantined, tidy
from pipelines.settings import resolve_settings
from pipelines.steps import flow_stages
from pipelines.summary import report_page
from pipelines.work import ids, next_wave, publish_wave, work
from schemas.config import Config
from schemas.flow import WRITTEN


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
        finish_pending(store, console.print)
        console.print(f"{len(sources)} videos listed, {sum(skipped.values())} files skipped")
        plan = make_plan(cfg, settings, store, sources.slice(0, limit), skipped, retry)
        for reason in (ERASED, EXPIRED):
            if plan.skipped[reason]:
                console.print(f"{plan.skipped[reason]} videos are {reason}, and not scored again")
        record = begin_run(cfg, settings, store, plan, retry)
        if not plan.videos:
            return end_run(store, record, State.NOTHING_NEW, "nothing new")
        live = Live(store, record, plan, flow_stages(settings))
        exporter.source = live.now
        with live, recorded(store, record, tracker, console, live.points):
            work(settings, store, record, plan, console, stop, live)
            return finish(store, record.run_id)


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
        finish_pending(store, console.print)
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
    plan = Plan(plan_videos(runs.load_plan(store.root, record.run_id)))
    staged = staging.staged_segments(store.root, record.run_id)
    live = table_rows(store.root, store.latest(), "videos", ["video_id", "run_id"]).to_pylist()
    published = {row["video_id"] for row in live if row["run_id"] == record.run_id}
    left = [video for video in plan.videos if video.video_id not in published]
    ready = [video for video in left if staged.issuperset(ids(video.segments))]
    missing = sum(len(set(ids(video.segments)) - staged) for video in left)
    tracker = Tracker(cfg.tracking, store.root)
    with closing(tracker), cluster(cfg), recorded(store, record, tracker, console):
        if ready:
            names = [name for video in ready for name in ids(video.segments)]
            written = staging.read_staged(store.root, record.run_id, names, WRITTEN.names)
            wave = counted(next_wave(record), ready, plan.usual_seconds, written, 0)
            publish_wave(cfg, store, record.run_id, wave, ready, written)
        if missing:
            raise Resumable(
                f"run {record.run_id} has {missing} segments to score yet: "
                f"`mien score SOURCE --out {store_url}` goes on with it"
            )
        return finish(store, record.run_id)


def finish(store: Store, run_id: str) -> Outcome:
    """All is published: forget the plan, clear away what nobody needs any more."""
    runs.discard_plan(store.root, run_id)
    tidy(store, run_id)
    record = runs.load(store.root, run_id)
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
        if not store.lost:
            files = report_files(final)
            for name, data in files.items():
                runs.save_report(store.root, final.run_id, name, data)
            page = _artifacts(store, final, console) if tracker.enabled else {}
            warning = tracker.log_run(final, {**page, **files}, curve())
            if warning:
                console.print(f"note: {warning}")


def _artifacts(store: Store, record: RunRecord, console: Console) -> dict[str, bytes]:
    """What MLflow keeps of a run beside its configuration and audit: the report of the store.

    All is published by then: a report that cannot be made is a note, and does not end the run.
    """
    if record.state is not State.PUBLISHED:
        return {}
    try:
        return {"report.html": report_page(store.root.url).encode()}
    except duckdb.Error as error:
        console.print(
            f"note: MLflow gets no report of this run ({type(error).__name__}): "
            f"`mien report {store.root.url}` makes one",
            soft_wrap=True,
        )
        return {}
