"""Work on a cluster of its own in a process of its own: time, CPU, and when each segment came."""

import json
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data
from ray.cluster_utils import Cluster
from rich.console import Console

from benchmarks.processes import CpuSeconds
from infra.cluster import cluster
from infra.listing import list_sources
from infra.offline import disable_telemetry
from infra.store import Store
from pipelines import steps, work
from pipelines.actors import Built
from pipelines.demo import GOVERNANCE
from pipelines.footage import clips, write_clip
from pipelines.plan import make_plan
from pipelines.planned import planned_table
from pipelines.score import score
from pipelines.settings import resolve_settings
from pipelines.steps import crop_segments
from schemas.config import Cluster as ClusterSection
from schemas.config import Config

#: When segments came, on the system's monotonic clock: one list a Dataset.
Arrivals = list[list[float]]
#: The environment variable that names `Noting`'s file.
BUSY = "MIEN_BENCHMARK_BUSY"


@dataclass(frozen=True)
class Ran:
    """What a piece of work took, all its processes together."""

    wall_seconds: float
    cpu_seconds: float
    arrivals: Arrivals
    cpu_at_arrivals: list[list[float]]

    def __str__(self) -> str:
        segments = sum(map(len, self.arrivals))
        return f"{segments} segments in {self.wall_seconds:.1f} s, {self.cpu_seconds:.1f} s of CPU"

    def steady(self, actors: int) -> tuple[float, float]:
        """Wall and CPU seconds a segment, while all actors of the first stage had work.

        That is from the first segment of a single Dataset until so many are left as there are
        actors.
        """
        (came,), (cpu,) = self.arrivals, self.cpu_at_arrivals
        last = len(came) - actors
        return (came[last] - came[0]) / last, (cpu[last] - cpu[0]) / last


def make_copies(folder: Path, copies: int, seconds: float) -> Path:
    """A folder of equal clips: one person who moves about."""
    folder.mkdir()
    one = clips()[0]
    original = write_clip(folder, type(one)("00000.mp4", one.scene, seconds))
    for number in range(1, copies):
        shutil.copy(original, folder / f"{number:05d}.mp4")
    return folder


def config(source: Path, store: Path, **sections: dict[str, Any]) -> Config:
    job = {
        "source": str(source),
        "store": str(store),
        "governance": GOVERNANCE.model_dump(),
        "tracking": {"enabled": False},
        **sections,
    }
    return Config.model_validate(json.loads(json.dumps(job)))


def whole_job(cfg: Config, arrivals: Arrivals) -> None:
    """`mien score`."""
    flow_batches = work.batches

    def noted(flow: ray.data.Dataset) -> Iterator[Any]:
        arrivals.append([])
        for batch in flow_batches(flow):
            arrivals[-1] += [time.monotonic()] * len(batch)
            yield batch

    work.batches = noted
    score(cfg, Console(stderr=True, quiet=True))


def extract_alone(cfg: Config, arrivals: Arrivals) -> None:
    """The chain that `mien score` extracts with, and nothing after it."""
    settings = resolve_settings(cfg)
    sources, skipped = list_sources(str(cfg.source), (), (), 0)
    with tempfile.TemporaryDirectory() as scratch, cluster(cfg):
        plan = make_plan(cfg, settings, Store.open(scratch, create=True), sources, skipped)
        arrivals.append([])
        for batch in work.batches(crop_segments(planned_table(list(plan.segments)), settings)):
            arrivals[0] += [time.monotonic()] * len(batch)


class Noting(Built):
    """The real actor; a line for each batch says which process was busy from when to when."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        begin = time.monotonic()
        done = super().__call__(batch)
        with open(os.environ[BUSY], "a") as file:
            file.write(f"{os.getpid()} {begin} {time.monotonic()}\n")
        return done


def on_two_gpus(cfg: Config, arrivals: Arrivals) -> None:
    """`mien score` on a cluster of two GPUs that Ray counts and nobody has: it embeds on CPUs."""
    steps.Built, steps._device = Noting, lambda: "cpu"
    with tempfile.TemporaryDirectory(prefix="mb-", dir="/dev/shm") as spill:
        head = {
            "num_cpus": 2,
            "num_gpus": 2,
            "object_store_memory": 256 << 20,
            "object_spilling_directory": spill,
            "include_dashboard": False,
        }
        ours = Cluster(initialize_head=True, head_node_args=head)
        try:
            here = ClusterSection(address=str(ours.address))
            whole_job(cfg.model_copy(update={"cluster": here}), arrivals)
        finally:
            ray.shutdown()
            ours.shutdown()


def ran(job: Callable[[Config, Arrivals], None], cfg: Config) -> Ran:
    """Do `job` in a new process. `RuntimeError` where it did not end well: stderr says why."""
    context = multiprocessing.get_context("spawn")
    mine, its = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(its, job, cfg))
    begin = time.monotonic()
    process.start()
    its.close()
    assert process.pid
    with CpuSeconds(process.pid, 0.2) as cpu:
        try:
            arrivals: Arrivals = mine.recv()
        except EOFError:
            raise RuntimeError(f"{job.__name__} failed") from None
        finally:
            process.join()
    wall = time.monotonic() - begin
    times, totals = zip(*cpu.history, strict=True)
    at = [np.interp(came, times, totals).tolist() for came in arrivals]
    return Ran(wall, cpu.total, arrivals, at)


def _run(out: Any, job: Callable[[Config, Arrivals], None], cfg: Config) -> None:
    disable_telemetry()
    arrivals: Arrivals = []
    job(cfg, arrivals)
    out.send(arrivals)
