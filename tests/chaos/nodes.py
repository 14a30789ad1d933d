"""Three nodes of a Ray cluster on this machine, and how to lose parts of them."""

import contextlib
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from ray.cluster_utils import Cluster

from infra.ramdisk import spill_directory

CPUS_A_NODE = 2
NODES = 3
STORE_BYTES = 128 << 20
#: A head that looks every second notices a dead node in 13 s, else in 19 to 25: see
#: `benchmarks.node_loss`.
NOTICED_SOON = {"health_check_period_ms": 1000}
#: Nothing runs in the first; the death of the others ends their raylet, which has its own turn.
SPARED = ("IDLE", "DashboardAgent", "RuntimeEnvAgent")


@dataclass
class Nodes:
    """A head, which lives, and others, which do not always. Every process is one of ours."""

    cluster: Cluster
    spill: Path
    rng: random.Random

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def fill(self) -> None:
        """Start nodes until there are as many as there should be."""
        while len(self.cluster.worker_nodes) < NODES - 1:
            self.cluster.add_node(**_node(self.spill))

    def workers(self) -> list[psutil.Process]:
        """Ray's worker processes that have something to do."""
        raylets = [_raylet(node) for node in (self.cluster.head_node, *self.cluster.worker_nodes)]
        return [worker for raylet in raylets for worker in _busy(raylet)]

    def children(self) -> list[psutil.Process]:
        """The processes that raw pixels never leave."""
        return [child for worker in self.workers() for child in _descendants(worker)]

    def kill_one(self, processes: list[psutil.Process]) -> bool:
        """SIGKILL one of them; False where there is none."""
        if not processes:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            self.rng.choice(sorted(processes, key=lambda process: process.pid)).kill()
            return True
        return False

    def kill_node(self, raylet_only: bool) -> set[int]:
        """SIGKILL a node, or its raylet, which ends its workers; the pids of its busy workers."""
        node = self.rng.choice(sorted(self.cluster.worker_nodes, key=lambda n: n.unique_id))
        raylet = _raylet(node)
        busy = {worker.pid for worker in _busy(raylet)}
        doomed = [] if raylet_only else _descendants(raylet)
        for process in (raylet, *doomed):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.cluster.remove_node(node, allow_graceful=False)
        return busy

    def kill_all_but_the_head(self) -> None:
        while self.cluster.worker_nodes:
            self.kill_node(raylet_only=False)


@contextlib.contextmanager
def three_nodes(folder: Path, rng: random.Random) -> Iterator[Nodes]:
    """Run them for the length of the block. They inherit the environment."""
    spill = Path(spill_directory() or folder / "spill")
    spill.mkdir(exist_ok=True)
    head = {**_node(spill), "include_dashboard": False, "_system_config": NOTICED_SOON}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        nodes = Nodes(cluster, spill, rng)
        nodes.fill()
        yield nodes
    finally:
        cluster.shutdown()
        shutil.rmtree(spill, ignore_errors=True)


def _node(spill: Path) -> dict[str, Any]:
    return {
        "num_cpus": CPUS_A_NODE,
        "object_store_memory": STORE_BYTES,
        "object_spilling_directory": str(spill),
    }


def _raylet(node: Any) -> psutil.Process:
    return psutil.Process(node.all_processes["raylet"][0].process.pid)


def _busy(raylet: psutil.Process) -> list[psutil.Process]:
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in raylet.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                title = " ".join(process.cmdline())
                if title.startswith("ray::") and not any(name in title for name in SPARED):
                    found.append(process)
    return found


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.children(recursive=True)
    return []
