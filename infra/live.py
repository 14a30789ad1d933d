"""What a run says of itself while it works: one small JSON file a run in the store.

The driver puts it anew every few seconds and deletes it at its end; whoever can read the store can
watch. It holds counts and times, no uri and no id of a video.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict, ValidationError

from infra.runs import FOLDER
from infra.storage import Root, in_parallel

_LIVE = ".live.json"


class _Said(BaseModel):
    """Read-only; a key of a later mien is no error for an older reader."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class StageNews(_Said):
    """One step of the pipeline. Its rows are frames (extract), segments (write) or faces."""

    unit: str
    rows: int = 0
    rows_per_second: float = 0
    """Over the last minute, by all workers together."""
    busy_seconds: float | None = None
    """Wall time that its workers spent on these rows."""
    busy_workers: float | None = None
    """Workers busy at a time, over the last minute."""
    queued: int | None = None
    """Segments that wait in front of it; none where it runs inside the step before."""
    in_flight: int | None = None
    """Segments inside it."""


class ClusterUse(_Said):
    """What of the cluster is in use, by Ray's own numbers."""

    cpus: float = 0
    cpus_in_use: float = 0
    gpus: float = 0
    gpus_in_use: float = 0
    """Reserved by actors, whether or not they are busy."""
    object_store_bytes: int = 0
    object_store_capacity_bytes: int = 0
    spilled_bytes: int = 0
    """Since the cluster started."""
    worker_restarts: int = 0
    """Actors of this run that died and were started again; their segments were tried again."""


class News(_Said):
    """Where a run stands."""

    run_id: str
    at: datetime
    since: datetime
    """When this driver began to score; earlier for none of its rates."""
    phase: str = "scoring"
    wave: int | None = None
    planned_segments: int = 0
    planned_seconds: float = 0
    segments: dict[str, int] = {}
    """Written ones by status, those of an earlier driver of this run among them."""
    seconds: float = 0
    """Video that the written segments span."""
    frames: int = 0
    faces: int = 0
    quarantined: dict[str, int] = {}
    """Spans by reason."""
    retried: int = 0
    """Segments that did not come back and were planned again."""
    times_real_time: float = 0
    """Seconds of video a second, over the last minutes."""
    eta_seconds: float | None = None
    stages: dict[str, StageNews] = {}
    cluster: ClusterUse | None = None

    @property
    def written(self) -> int:
        return sum(self.segments.values())


@dataclass(frozen=True)
class Point:
    """Values of one moment, for a curve."""

    at: datetime
    values: dict[str, float]


def put(root: Root, news: News) -> None:
    """Replace what the run said before. Raises `OSError` or `UserError` as storage does."""
    root.write(_rel(news.run_id), news.model_dump_json().encode())


def told(root: Root) -> dict[str, News]:
    """What runs say of themselves, by run id; killed ones too, until another run starts."""
    names = [rel.rsplit("/", 1)[-1] for rel, _ in root.list(FOLDER) if rel.endswith(_LIVE)]
    found = in_parallel(lambda name: _load(root, name.removesuffix(_LIVE)), names)
    return {news.run_id: news for news in found if news is not None}


def discard(root: Root, run_ids: Iterable[str]) -> None:
    """Forget what runs said that have ended."""
    root.delete(_rel(run_id) for run_id in run_ids)


def _load(root: Root, run_id: str) -> News | None:
    try:
        return News.model_validate_json(root.read_bytes(_rel(run_id)))
    except (FileNotFoundError, ValidationError):  # ended meanwhile, or of another mien
        return None


def _rel(run_id: str) -> str:
    return f"{FOLDER}/{run_id}{_LIVE}"
