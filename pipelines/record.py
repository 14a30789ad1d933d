"""A run's record: begun or gone on with, counted, held to its budget, ended."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from infra import audit_log, runs, staging
from infra.errors import AuditFailed, StoreError
from infra.orphans import collect_orphans
from infra.runs import RunRecord, Stage, State, Wave
from infra.store import Store
from infra.tables import table_rows
from pipelines.configuration import to_yaml
from pipelines.planned import Plan, Video, plan_table
from pipelines.settings import Settings
from schemas.config import Config
from schemas.reasons import Status

#: A run in one of these states may be gone on with, if the hashes are the same.
UNFINISHED = (
    State.RUNNING,
    State.INTERRUPTED,
    State.FAILED,
    State.AUDIT_FAILED,
    State.OVER_BUDGET,
)
PACKAGES = ("mien", "ray", "torch", "open_clip_torch", "openvino", "av", "pyarrow", "numpy")
QUARANTINED = "quarantined_"
#: Counts of a run as a whole.
COVERED, SKIPPED = "videos_covered", "skipped: "


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its record and its exit code."""

    record: RunRecord
    exit_code: int


def begin_run(cfg: Config, settings: Settings, store: Store, plan: Plan, retry: bool) -> RunRecord:
    """A new run, or the last unfinished one that would write the same rows."""
    done: tuple[Wave, ...] = ()
    of_run = Counter({COVERED: len(plan.covered)})
    of_run.update({f"{SKIPPED}{reason}": count for reason, count in plan.skipped.items()})
    hashes = {"run": settings.run_hash, "extract": settings.extract_hash}
    hashes |= {f"score.{item.spec.name}": item.score_hash for item in settings.chosen}
    older = _unfinished(settings, store, plan)
    if older:
        run_id, started = older.run_id, older.started
        done = tuple(wave for wave in older.waves if wave.published)
        own = sum(wave.counts["videos"] for wave in done)
        of_run[COVERED] = max(0, of_run[COVERED] - own)  # another selection may not list them all
        if retry:
            forget_quarantined(store, run_id)
    else:
        started = datetime.now(UTC)
        run_id = runs.new_run_id(started)
    record = RunRecord(
        run_id=run_id,
        started=started,
        config_yaml=to_yaml(cfg.model_copy(update={"source": None, "store": None})),
        hashes=hashes,
        versions={name: version(name) for name in PACKAGES},
        warnings=tuple(settings.notes),
        counts=dict(of_run),
        planned_seconds=sum(wave.planned_seconds for wave in done)
        + plan.seconds
        + plan.usual_seconds * plan.unread,
        audit=tuple(result for result in older.audit if result.success) if older else (),
    )
    record = with_waves(record, done)
    if plan.videos:
        audit_log.append(store, "run_begun", _begun(cfg, plan, record, older is not None))
        runs.save_plan(store.root, run_id, plan_table(plan.videos))
        runs.save(store.root, record)
    return record


def _begun(cfg: Config, plan: Plan, record: RunRecord, resumed: bool) -> dict[str, Any]:
    """What the audit log keeps of a run that begins: on what ground, how, how much."""
    governance = cfg.governance.model_dump(mode="json", exclude_none=True) if cfg.governance else {}
    return {
        "run_id": record.run_id,
        "resumed": resumed,
        "governance": governance,
        "anonymizer": cfg.privacy.anonymizer.model_dump(mode="json"),
        "hashes": record.hashes,
        "videos": len(plan.videos),
        "planned_seconds": record.planned_seconds,
    }


def _unfinished(settings: Settings, store: Store, plan: Plan) -> RunRecord | None:
    """The last run that was to write the same rows of some of these videos.

    One whose videos are all published was killed before it could say so: it is ended here.
    """
    wanted = {video.video_id for video in plan.videos}
    found = None
    for record in runs.list_runs(store.root):
        if record.state not in UNFINISHED or record.hashes.get("run") != settings.run_hash:
            continue
        theirs = _planned(store, record, "video_id")
        if theirs & wanted:
            found = record
        elif theirs <= plan.covered:
            staging.discard(store.root, record.run_id)
            runs.discard_plan(store.root, record.run_id)
            end_run(store, record, State.PUBLISHED, "published")
    return found


def _planned(store: Store, record: RunRecord, name: str) -> set[str]:
    try:
        return set(runs.load_plan(store.root, record.run_id)[name].to_pylist())
    except StoreError:  # killed while it forgot its plan, after it had published
        return set()


def forget_quarantined(store: Store, run_id: str) -> None:
    done = staging.staged_segments(store.root, run_id)
    rows = staging.read_staged(store.root, run_id, done, ["segment_id", "status"])
    broken = rows.filter(pc.field("status") != str(Status.OK))
    staging.discard(store.root, run_id, broken["segment_id"].to_pylist())


def counted(
    number: int, videos: Sequence[Video], usual_seconds: float, written: pa.Table, wall: float
) -> Wave:
    """A wave as it was scored: counts, seconds, and the speed of every stage.

    `videos` are those that it makes ready, `written` the WRITTEN rows of its segments, `wall` the
    seconds that it took; a video that cannot be read counts as `usual_seconds`.
    """
    rows = written.to_pylist()
    unread = [video for video in videos if not video.count]
    counts = Counter(
        videos=len(videos),
        segments=len(rows),
        frames=sum(row["frames_sampled"] for row in rows),
        faces=sum(row["faces_found"] for row in rows),
        faces_dropped=sum(row["faces_dropped"] for row in rows),
        cuts=sum(row["cuts"] for row in rows),
    )
    spans = [*rows, *(video.row for video in unread)]
    counts.update(QUARANTINED + row["reason"] for row in spans if row["reason"])
    for column in ("decoder", "device"):
        counts.update(f"{column} {row[column]}" for row in rows if row[column])
    lost = sum(max(0.0, _span(row) - row["seconds_read"]) for row in rows if row["reason"])
    return Wave(
        number=number,
        ended=datetime.now(UTC),
        wall_seconds=wall,
        counts=dict(counts),
        stages=_stages(rows, counts),
        planned_seconds=sum(map(_span, rows)) + usual_seconds * len(unread),
        written_seconds=sum(row["seconds_read"] for row in rows),
        quarantined_seconds=lost + usual_seconds * len(unread),
    )


def _stages(rows: list[dict[str, Any]], counts: Counter[str]) -> dict[str, Stage]:
    units = {"extract": "frames", "anonymize": "faces", "embed": "faces", "score": "faces"}
    return {
        step: _stage(counts[unit], sum(row[f"{step}_seconds"] for row in rows))
        for step, unit in units.items()
    }


def _stage(rows: int, seconds: float) -> Stage:
    rate = rows / seconds if seconds else 0.0
    return Stage(rows=rows, wall_seconds=seconds, rows_per_second=rate)


def with_waves(record: RunRecord, waves: Iterable[Wave]) -> RunRecord:
    """The record with these waves in place of its own, and what they come to together."""
    waves = tuple(waves)
    counts = Counter({k: v for k, v in record.counts.items() if k.startswith((COVERED, SKIPPED))})
    stages: dict[str, Stage] = {}
    for wave in waves:
        counts.update(wave.counts)
        for step, stage in wave.stages.items():
            so_far = stages.get(step, _stage(0, 0.0))
            stages[step] = _stage(
                so_far.rows + stage.rows, so_far.wall_seconds + stage.wall_seconds
            )
    return record.model_copy(
        update={
            "waves": waves,
            "counts": dict(counts),
            "stages": stages,
            "written_seconds": sum(wave.written_seconds for wave in waves),
            "quarantined_seconds": sum(wave.quarantined_seconds for wave in waves),
        }
    )


def _span(row: dict[str, Any]) -> float:
    return row["end_seconds"] - row["start_seconds"]


def quarantined(record: RunRecord) -> dict[str, int]:
    """How many spans were quarantined, by reason."""
    return {
        name.removeprefix(QUARANTINED): count
        for name, count in sorted(record.counts.items())
        if name.startswith(QUARANTINED)
    }


def check_budget(cfg: Config, record: RunRecord) -> None:
    """Raises `AuditFailed` where more was quarantined than `run.max_quarantined` allows."""
    share = record.quarantined_seconds / max(record.planned_seconds, 1e-9)
    if share > cfg.run.max_quarantined:
        reasons = ", ".join(f"{name} {count}" for name, count in quarantined(record).items())
        raise AuditFailed(
            f"{share:.1%} of the planned seconds were quarantined ({reasons}), "
            f"run.max_quarantined allows {cfg.run.max_quarantined:.1%}: nothing more is "
            f"published; repair the files, or accept: mien publish {cfg.store} "
            "run.max_quarantined=1"
        )


def end_run(
    store: Store, record: RunRecord, state: State, message: str, exit_code: int = 0
) -> Outcome:
    """Record how a run ended, in the audit log first; one that another took over ends nothing."""
    record = record.model_copy(
        update={"state": state, "message": message, "ended": datetime.now(UTC)}
    )
    if state is not State.NOTHING_NEW and not store.lost:
        ended = record.model_dump(
            mode="json",
            include={"run_id", "state", "counts", "written_seconds", "quarantined_seconds"},
        )
        event = audit_log.append(store, "run_ended", ended)
        head = audit_log.head_text((event.seq, event.mac))
        record = record.model_copy(update={"audit_head": head})
        runs.save(store.root, record)
    return Outcome(record, exit_code)


def save(store: Store, record: RunRecord) -> None:
    """Put the record, unless another run has taken the store over: then it is that one's."""
    if not store.lost:
        runs.save(store.root, record)


def tidy(store: Store, run_id: str) -> int:
    """After `run_id` was published: end older runs that it replaced, delete what nobody lists."""
    live = table_rows(store.root, store.latest(), "videos", ["source_id", "run_id"]).to_pylist()
    newest = {row["source_id"]: row["run_id"] for row in live}
    waiting = set()
    for record in runs.list_runs(store.root):
        if record.state not in UNFINISHED or record.run_id == run_id:
            continue
        sources = _planned(store, record, "source_id")
        if sources and all(newest.get(source, "") > record.run_id for source in sources):
            runs.discard_plan(store.root, record.run_id)
            end_run(store, record, State.SUPERSEDED, "later runs published all of its videos")
        else:
            waiting.add(record.run_id)
    return collect_orphans(store.root, store.latest(), waiting)
