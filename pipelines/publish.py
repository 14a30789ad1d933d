"""Publish: staged segments become audited, sorted, visible tables; or nothing of them does."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.exceptions import RayTaskError

from infra import staging, tombstones
from infra.errors import UserError, discreet
from infra.quality import AuditResult, audit
from infra.snapshots import Snapshot, TableFile
from infra.storage import Root
from infra.store import Store
from infra.tables import rewrite_without, table_rows, write_part
from operators.core.erasure import Cut, without
from operators.core.operator import empty_values
from operators.resolve import resolve
from pipelines.cuts import cuts_of, frame_px
from pipelines.planned import SCORES_ONLY, Video
from schemas.config import Config
from schemas.flow import STAGED
from schemas.reasons import Reason, Status
from schemas.tables import SEGMENTS, TABLES, rows_a_file

SCORE_TABLES = {"scores", "track_scores"}
Gone = list[tuple[str, str | None]]


@dataclass(frozen=True)
class Batch:
    """What every part of one publish shares."""

    store: Root
    run_id: str
    extract_hash: str
    abstain_below: float
    max_rows: int
    cuts: Mapping[str, Sequence[Cut]] = field(default_factory=dict)
    """What was erased of each video."""

    @property
    def footer(self) -> dict[str, str]:
        return {"mien.run_id": self.run_id, "mien.extract_hash": self.extract_hash}


@dataclass(frozen=True)
class Part:
    """What one Ray task built: files that no reader sees yet, and what the audit said of them."""

    files: list[TableFile] = field(default_factory=list)
    audits: list[AuditResult] = field(default_factory=list)

    @property
    def failures(self) -> list[AuditResult]:
        return [result for result in self.audits if not result.success]


def publish(
    batch: Batch,
    store: Store,
    videos: list[Video],
    rows: dict[str, int],
    wave: int = 1,
    spare_cpus: float = 0,
) -> Part:
    """Build all parts in Ray tasks; make them visible by one snapshot if every audit passes.

    `rows` is the number of rows that each video will have in its largest table. `spare_cpus`
    are what a wave at work leaves free: parts are built one by one within these, else all at once.
    When an audit fails, the files are deleted, staging stays, and the returned part has failures.
    What was erased, since it was planned even, is left out.
    """
    done = [segment["segment_id"] for video in videos for segment in video.segments]
    erased = tombstones.load(store.root)
    videos = [video for video in videos if not erased.holds(video.row)]
    cuts = {video.video_id: cuts_of(erased.parts(video.row)) for video in videos}
    batch = replace(batch, cuts={name: some for name, some in cuts.items() if some})
    build = ray.remote(num_cpus=spare_cpus or 1, max_retries=3)(build_part)
    parts: list[Part] = []
    tasks: list[ray.ObjectRef] = []
    for number, part in enumerate(partition(videos, rows, batch.max_rows)):
        tasks.append(build.remote(batch, part, f"{batch.run_id}-{wave:04d}-{number:05d}"))
        if spare_cpus:  # more would take what the next wave's actors wait for
            parts += _gathered([tasks.pop()])
    parts += _gathered(tasks)
    whole = Part([f for p in parts for f in p.files], [a for p in parts for a in p.audits])
    if whole.failures:
        store.root.delete(file.path for file in whole.files)
        return whole
    make_visible(store, batch.run_id, whole.files, retired(store, videos))
    staging.discard(store.root, batch.run_id, done)
    return whole


def _gathered(tasks: list[ray.ObjectRef]) -> list[Part]:
    try:
        return ray.get(tasks)
    except RayTaskError as error:
        if isinstance(error.cause, UserError):  # as it was raised, without the worker's traceback
            raise error.cause from None
        raise


def part_rows(cfg: Config) -> int:
    """Most rows of a part in a table: fewer where vectors are kept, for memory's sake."""
    kept = cfg.embed.protection != "drop"
    return rows_a_file("embeddings", cfg.run.publish_rows) if kept else cfg.run.publish_rows


def partition(videos: list[Video], rows: dict[str, int], max_rows: int) -> Iterator[list[Video]]:
    """Cut the videos, in order of their ids, into parts of at most `max_rows` rows a table."""
    part: list[Video] = []
    held = 0
    for video in sorted(videos, key=lambda video: video.video_id):
        size = rows.get(video.video_id, 0)
        if part and held + size > max_rows:
            yield part
            part, held = [], 0
        part.append(video)
        held += size
    if part:
        yield part


@discreet()
def build_part(batch: Batch, videos: list[Video], name: str) -> Part:
    """Resolve the part's videos, audit their flat tables, write them if they pass."""
    built = [_tables_of(batch, video) for video in videos]
    tables = {
        table: pa.concat_tables([flat[table] for flat in built if table in flat])
        for table in TABLES
        if any(table in flat for flat in built)
    }
    audits = audit(tables)
    if not all(result.success for result in audits):
        return Part([], audits)
    files = [
        file
        for table, rows in tables.items()
        for file in write_part(batch.store, table, rows, name, batch.footer, batch.max_rows)
    ]
    return Part(files, audits)


def _tables_of(batch: Batch, video: Video) -> dict[str, pa.Table]:
    """The flat tables of one video; where its faces are live already, its new scores alone."""
    ids = [segment["segment_id"] for segment in video.segments]
    staged = staging.read_staged(batch.store, batch.run_id, ids)
    flat: dict[str, pa.Table] = {}
    if len(staged):
        flat = resolve(staged, video.row["session_id"], batch.abstain_below)
        flat["segments"] = _segments(batch, staged)
        cuts = batch.cuts.get(video.video_id, ())
        flat = without(flat, cuts, frame_px(video.row), batch.abstain_below)
    flat["videos"] = _video(batch, video, staged)
    if video.todo != SCORES_ONLY:
        return flat
    new = {"videos": flat["videos"]}
    for table in SCORE_TABLES & flat.keys():
        new[table] = flat[table].filter(pc.field("method").isin(video.methods))
    return new


def _segments(batch: Batch, staged: pa.Table) -> pa.Table:
    columns = {name: staged[name] for name in SEGMENTS.names if name in staged.column_names}
    for name, value in (("extract_hash", batch.extract_hash), ("run_id", batch.run_id)):
        columns[name] = pa.chunked_array([pa.array([value] * len(staged), pa.string())])
    return pa.table([columns[name] for name in SEGMENTS.names], schema=SEGMENTS)


def _video(batch: Batch, video: Video, staged: pa.Table) -> pa.Table:
    states = staged["status"].to_pylist()
    reasons = [video.row["reason"], *staged["reason"].to_pylist()]
    status = Status.PARTIAL
    if all(state == Status.OK for state in states) and not video.row["reason"]:
        status = Status.OK
    elif all(state == Status.QUARANTINED for state in states):
        status = Status.QUARANTINED
    row = {
        **video.row,
        "seconds_scored": float(staged["seconds_read"].to_numpy().sum()),
        "status": str(status),
        "reason": next((reason for reason in reasons if reason), None),
        "run_id": batch.run_id,
    }
    return pa.Table.from_pylist([row], TABLES["videos"])


def retired(store: Store, videos: list[Video]) -> dict[str, Gone]:
    """Rows that the published ones replace, by table.

    A video that was scored in full replaces all that was live of its source, whatever its content
    was then; new scores replace the same method's.
    """
    sources = {video.row["source_id"] for video in videos if video.todo != SCORES_ONLY}
    live = table_rows(store.root, store.latest(), "videos", ["video_id", "source_id"])
    replaced = live.filter(pc.field("source_id").isin(pa.array(sorted(sources), pa.string())))
    older: Gone = [(video_id, None) for video_id in replaced["video_id"].to_pylist()]
    gone: dict[str, Gone] = {table: list(older) for table in TABLES}
    for video in videos:
        if video.todo == SCORES_ONLY:
            gone["videos"].append((video.video_id, None))
            for table in SCORE_TABLES:
                gone[table] += [(video.video_id, method) for method in video.methods]
    return gone


def make_visible(
    store: Store, run_id: str, files: list[TableFile], gone: dict[str, Gone]
) -> Snapshot:
    """One snapshot that lists the new files, and the live ones without the retired rows."""

    def change(current: Snapshot) -> Snapshot:
        kept = [rewrite_without(store.root, file, gone[file.table]) for file in current.files]
        live = [file for file in kept if file is not None]
        known = {file.path for file in live}
        new = [file for file in files if file.path not in known]
        return replace(current, files=(*live, *new), run_id=run_id)

    return store.commit(change, "publish", {"run_id": run_id})


def lost_rows(segments: list[dict[str, Any]]) -> pa.Table:
    """Staged rows that say `worker_lost`, for planned segments that nothing came back from."""
    columns = empty_values(STAGED, len(segments))
    for name in ("segment_id", "video_id", "start_seconds", "end_seconds"):
        columns[name] = pa.array([s[name] for s in segments], STAGED.field(name).type)
    columns["status"] = pa.array([str(Status.QUARANTINED)] * len(segments), pa.string())
    columns["reason"] = pa.array([str(Reason.WORKER_LOST)] * len(segments), pa.string())
    return pa.table([columns[name] for name in STAGED.names], schema=STAGED)
