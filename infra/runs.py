"""What a run was asked, what it did, and how it ended: one JSON record a run in the store."""

import secrets
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.errors import StoreError
from infra.quality import AuditResult
from infra.storage import Root, in_parallel
from infra.tables import read_small_table, write_small_table

FOLDER = "runs"
_RECORD = ".json"
PLAN = ".plan.parquet"


class State(StrEnum):
    """How far a run came."""

    RUNNING = "running"
    PUBLISHED = "published"
    NOTHING_NEW = "nothing_new"
    INTERRUPTED = "interrupted"
    AUDIT_FAILED = "audit_failed"
    OVER_BUDGET = "over_budget"
    FAILED = "failed"
    SUPERSEDED = "superseded"


class Stage(BaseModel):
    """What one step of the pipeline did."""

    model_config = ConfigDict(frozen=True)

    rows: int
    wall_seconds: float
    rows_per_second: float


class Wave(BaseModel):
    """A slice of a run: what was done in it, and whether its ready videos are published."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    ended: datetime
    wall_seconds: Annotated[float, Field(ge=0)]
    counts: dict[str, int] = {}
    planned_seconds: Annotated[float, Field(ge=0)] = 0
    written_seconds: Annotated[float, Field(ge=0)] = 0
    quarantined_seconds: Annotated[float, Field(ge=0)] = 0
    stages: dict[str, Stage] = {}
    published: bool = False


class RunRecord(BaseModel):
    """A run. Immutable: `record.model_copy(update=...)`, then `save`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    state: State = State.RUNNING
    started: datetime
    ended: datetime | None = None
    message: str | None = None
    """One plain line on how it ended. No uri."""
    config_yaml: str = ""
    """The resolved configuration."""
    hashes: dict[str, str] = {}
    """`extract`, and `score.<method>` for every method."""
    versions: dict[str, str] = {}
    counts: dict[str, int] = {}
    """Whatever was counted: videos, segments, faces, skipped files by reason, fallbacks."""
    planned_seconds: Annotated[float, Field(ge=0)] = 0
    written_seconds: Annotated[float, Field(ge=0)] = 0
    quarantined_seconds: Annotated[float, Field(ge=0)] = 0
    stages: dict[str, Stage] = {}
    audit: tuple[AuditResult, ...] = ()
    """Every expectation, over all that was audited."""
    waves: tuple[Wave, ...] = ()
    """In their order. Counts, stages and seconds of the run are theirs together."""
    warnings: tuple[str, ...] = ()
    audit_head: str | None = None
    """Head of the store's audit log, `SEQ:MAC`, when the run ended."""


def new_run_id(now: datetime | None = None) -> str:
    """A name that sorts by time and that two runs never share."""
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    return f"{moment:%Y%m%dT%H%M%S}{moment.microsecond // 1000:03d}Z-{secrets.token_hex(3)}"


def save(root: Root, record: RunRecord) -> None:
    """Put the record, replacing an earlier one of this run."""
    root.write(_rel(record.run_id, _RECORD), record.model_dump_json(indent=1).encode())


def load(root: Root, run_id: str) -> RunRecord:
    """Read the record of a run.

    Raises:
        StoreError: There is none, or it is damaged.
    """
    try:
        data = root.read_bytes(_rel(run_id, _RECORD))
    except FileNotFoundError:
        raise StoreError(f"{root.url}: has no run {run_id}: `mien runs` lists them") from None
    try:
        return RunRecord.model_validate_json(data)
    except ValidationError as error:
        where = root.full(_rel(run_id, _RECORD))
        raise StoreError(f"{where}: is no run record: remove it") from error


def list_runs(root: Root) -> list[RunRecord]:
    """The records of all runs, oldest first."""
    names = [rel.rsplit("/", 1)[-1] for rel, _ in root.list(FOLDER)]
    ids = [name.removesuffix(_RECORD) for name in names if name.endswith(_RECORD)]
    return in_parallel(lambda run_id: load(root, run_id), [one for one in ids if "." not in one])


def save_report(root: Root, run_id: str, name: str, data: bytes) -> None:
    """Put a file beside a run's record: `name` is what it is called after the run's id."""
    root.write(_rel(run_id, f".{name}"), data)


def save_plan(root: Root, run_id: str, planned: pa.Table) -> None:
    """Keep what a run is about to do, so that what it did not do can be told."""
    write_small_table(root, _rel(run_id, PLAN), planned)


def load_plan(root: Root, run_id: str) -> pa.Table:
    """What a run was about to do.

    Raises:
        StoreError: It was stopped before it had a plan.
    """
    planned = read_small_table(root, _rel(run_id, PLAN))
    if planned is None:
        raise StoreError(f"{root.url}: run {run_id} has no plan: score again")
    return planned


def discard_plan(root: Root, run_id: str) -> None:
    """Forget what a published run was about to do: a plan names its videos."""
    root.delete([_rel(run_id, PLAN)])


def _rel(run_id: str, suffix: str) -> str:
    return f"{FOLDER}/{run_id}{suffix}"
