"""Ray: start or join a cluster, check that the work fits, leave nothing behind."""

import contextlib
import logging
import math
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping

import ray
from ray.data import DataContext

from infra.errors import ConfigurationError, Resumable
from infra.offline import SWITCHES, no_usage_process
from infra.ramdisk import require_nodes_in_memory, require_ram_disk, spill_directory
from schemas.config import Config

BLOCK_BYTES = 32 << 20
#: Within this time it is said what a cluster is short of: what an earlier run held is free by then.
PATIENCE_SECONDS = 8.0


@contextlib.contextmanager
def cluster(cfg: Config) -> Iterator[None]:
    """A Ray cluster for the length of the block.

    `local` starts one here and stops it; anything else is joined. Raises `ConfigurationError`
    where `privacy.strict` cannot be kept, and `Resumable` where the cluster cannot be reached.
    """
    if ray.is_initialized():  # a test's cluster, or a notebook's
        require_strict(cfg)
        _configure_data(cfg)
        yield
        return
    local = cfg.cluster.address == "local"
    if local and cfg.privacy.strict:
        require_ram_disk(cfg.cluster.object_store_mib)
    spill = spill_directory() if local else None
    with _quiet_native_code():
        try:
            with _own_signals():
                _start(cfg, spill)
            if not local:
                require_strict(cfg)
            _configure_data(cfg)
            yield
        finally:
            ray.shutdown()
            if spill:
                shutil.rmtree(spill, ignore_errors=True)


def require_strict(cfg: Config) -> None:
    """Keep `privacy.strict` on a cluster that somebody else started; errors as `cluster`'s."""
    if cfg.privacy.strict:
        require_nodes_in_memory()


@contextlib.contextmanager
def _quiet_native_code() -> Iterator[None]:
    """Keep what Ray's C++ prints off the terminal: it stands in Ray's session logs too.

    File descriptor 2 is closed to it; Python's own stderr goes on to where it went.
    """
    terminal, python_stderr = os.dup(2), sys.stderr
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        if python_stderr is sys.__stderr__:
            sys.stderr = os.fdopen(os.dup(terminal), "w", buffering=1)
        yield
    finally:
        sys.stderr.flush()
        sys.stderr = python_stderr
        os.dup2(terminal, 2)
        os.close(terminal)


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Ray's start puts handlers of its own in place of ours, which end the process: undo that."""
    ours = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    if threading.current_thread() is threading.main_thread():
        for number, handler in ours.items():
            signal.signal(number, handler)


def _start(cfg: Config, spill: str | None) -> None:
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    # Inside a job that sets a switch too: Ray would refuse, and print the job's whole environment
    os.environ.setdefault("RAY_OVERRIDE_JOB_RUNTIME_ENV", "1")
    common = {
        "logging_level": logging.ERROR,
        "log_to_driver": False,
        "runtime_env": {"env_vars": SWITCHES},
    }
    if cfg.cluster.address == "local":
        with no_usage_process():
            ray.init(
                address="local",
                num_cpus=cfg.cluster.num_cpus or max(2, os.cpu_count() or 2),
                include_dashboard=False,
                object_store_memory=cfg.cluster.object_store_mib << 20,
                object_spilling_directory=spill,
                **common,
            )
        return
    try:
        ray.init(address=cfg.cluster.address, **common)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise Resumable(f"cluster {cfg.cluster.address} is out of reach: {reason}") from None


def _configure_data(cfg: Config) -> None:
    context = DataContext.get_current()
    context.target_max_block_size = BLOCK_BYTES
    context.max_errored_blocks = -1  # a block is a segment; the driver reconciles what is missing
    context.execution_no_progress_timeout_s = cfg.run.no_progress_seconds
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def nodes_with(labels: Mapping[str, str]) -> dict[str, Mapping[str, float]]:
    """What the living nodes have that have CPUs and these labels, by node id."""
    return {
        node["NodeID"]: node["Resources"]
        for node in ray.nodes()
        if node["Alive"]
        and node["Resources"].get("CPU")
        and labels.items() <= node["Labels"].items()
    }


def free_cpus(labels: Mapping[str, str] | None = None) -> float:
    """CPUs of the whole cluster, or of its nodes with these labels, for sizing the pools."""
    return sum(node["CPU"] for node in nodes_with(labels or {}).values())


def free_gpus() -> float:
    return float(ray.cluster_resources().get("GPU", 0))


def smallest_node_cpus() -> float:
    """CPUs of the node that has the fewest, of those that have any: what one actor can count on."""
    found = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    return float(min((cpus for cpus in found if cpus), default=1))


def free_memory_gib() -> float:
    """Memory that the whole cluster has for work: what Ray does not keep for its object store."""
    return float(ray.cluster_resources().get("memory", math.inf)) / 2**30


def require_free(cpus: float, gpus: float) -> None:
    """Wait a little until so much is free of other work; Ray would wait for ever.

    Raises:
        ConfigurationError: It is not, and what is short.
    """
    needed = {"CPU": cpus, "GPU": gpus}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        free = ray.available_resources()
        short = {
            name: (amount, free.get(name, 0.0))
            for name, amount in needed.items()
            if amount > free.get(name, 0.0) + 1e-6
        }
        if not short:
            return
        if time.monotonic() > deadline:
            break
        time.sleep(0.25)
    what = " and ".join(
        f"{amount:g} {name}s, of which {left:g} are free" for name, (amount, left) in short.items()
    )
    raise ConfigurationError(
        f"the run needs {what}: other work holds the cluster; wait for it, or lower "
        "extract.actors or embed.actors"
    )
