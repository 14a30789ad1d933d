"""Places in memory for what Ray cannot hold in its object store: crops, which never touch a disk.

A place counts as memory by the type of its file system. Swap is not looked at: docs/privacy.md.
"""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil
import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from infra.errors import ConfigurationError, Resumable

RAM_DISK = Path("/dev/shm")
SPILL = "mien"
IN_MEMORY = ("tmpfs", "ramfs")
UNKNOWN = "unknown"
ANSWER_SECONDS = 60.0
#: The flags of a raylet that name where it puts objects: while they fit, and what it spills.
_FLAGS = ("plasma_directory", "fallback_directory")


@dataclass(frozen=True)
class Place:
    """Where a node of Ray puts objects, and the type of the file system there."""

    path: str
    file_system: str


def file_system(path: Path | str) -> str:
    """The type of the file system that holds a path, which need not exist yet."""
    whole = os.path.realpath(path)
    over = [
        (len(mount.mountpoint), at, mount.fstype)
        for at, mount in enumerate(psutil.disk_partitions(all=True))  # of equal ones the last hides
        if mount.mountpoint == "/" or f"{whole}/".startswith(f"{mount.mountpoint}/")
    ]
    return max(over)[2] if over else UNKNOWN


def require_ram_disk(needed_mib: int) -> None:
    """Check that a Ray started here keeps its objects in memory.

    Where shared memory is short Ray would put its whole object store on a disk.

    Raises:
        ConfigurationError: It would not.
    """
    found = file_system(RAM_DISK) if RAM_DISK.is_dir() else None
    if found not in IN_MEMORY or not os.access(RAM_DISK, os.W_OK):
        state = "not there" if found is None else f"of type {found}"
        state = "not writable" if found in IN_MEMORY else state
        raise ConfigurationError(
            f"{RAM_DISK} is {state}, so Ray would put crops on a disk: mount a tmpfs there, or set "
            "privacy.strict=false"
        )
    free_mib = shutil.disk_usage(RAM_DISK).free >> 20
    if free_mib < needed_mib:
        raise ConfigurationError(
            f"{RAM_DISK} has {free_mib} MiB free, cluster.object_store_mib asks for {needed_mib}: "
            "lower it, give the container more (docker run --shm-size=2g), or set "
            "privacy.strict=false"
        )


def spill_directory() -> str | None:
    """A private directory in memory, or None where there is no such place. Delete it at the end.

    Directories of processes that were killed are deleted here.
    """
    if not (RAM_DISK.is_dir() and os.access(RAM_DISK, os.W_OK)):
        return None
    for left in RAM_DISK.glob(f"{SPILL}-*-*"):
        owner = left.name.split("-")[1]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"{SPILL}-{os.getpid()}-", dir=RAM_DISK)


def require_nodes_in_memory() -> None:
    """Ask every node of the cluster where its Ray puts objects: `privacy.strict` on one we join.

    Raises:
        ConfigurationError: On one of them that is no memory, or cannot be told.
        Resumable: One of them does not answer.
    """
    ask = ray.remote(num_cpus=0)(own_places)
    nodes = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    asked = [
        ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()
        for node in nodes
    ]
    try:
        answers = ray.get(asked, timeout=ANSWER_SECONDS)
    except (RayError, TimeoutError) as error:
        raise Resumable(
            f"a node of the cluster does not say where its Ray spills ({type(error).__name__}): is "
            "the same mien on all of them?"
        ) from None
    for host, places in zip(nodes.values(), answers, strict=True):
        _require_memory(host, places)


def _require_memory(host: str, places: list[Place]) -> None:
    for place in places:
        if place.file_system not in IN_MEMORY:
            raise ConfigurationError(
                f"Ray on {host} would put crops into {place.path}, of type {place.file_system}: "
                "start it with --object-spilling-directory in memory and enough of "
                f"{RAM_DISK}, or set privacy.strict=false"
            )


def own_places() -> list[Place]:
    """Where the node that this worker is on puts objects, as its raylet was told on its start."""
    for parent in psutil.Process().parents():
        parts = (item[2:].partition("=") for item in parent.cmdline() if item[:2] == "--")
        flags = {name: value for name, _, value in parts}
        if all(name in flags for name in _FLAGS):
            paths = [flags[name] for name in _FLAGS]
            return [Place(p, file_system(p) if p.startswith("/") else UNKNOWN) for p in paths]
    return [Place("a place that it does not name", UNKNOWN)]
