"""What of the Ray cluster is in use. Asked from a thread of its own: Ray's head may be slow.

Hangs on what Ray calls private; whoever asks goes on without an answer.
"""

from collections.abc import Mapping

import ray
from ray._private.internal_api import get_memory_info_reply
from ray._private.state import GlobalState, state

from infra.live import ClusterUse

_ANSWER_SECONDS = 5.0


def cluster_use() -> ClusterUse | None:
    """CPUs, GPUs, object store, restarts; None without a cluster.

    Raises what Ray raises where its head does not answer.
    """
    if not ray.is_initialized():
        return None
    total, free = ray.cluster_resources(), ray.available_resources()
    # For the store and restarts, Ray has no public way that needs no dashboard.
    store = get_memory_info_reply(state, timeout_seconds=_ANSWER_SECONDS).store_stats
    return ClusterUse(
        cpus=total.get("CPU", 0),
        cpus_in_use=_used(total, free, "CPU"),
        gpus=total.get("GPU", 0),
        gpus_in_use=_used(total, free, "GPU"),
        object_store_bytes=store.object_store_bytes_used,
        object_store_capacity_bytes=store.object_store_bytes_avail,
        spilled_bytes=store.spilled_bytes_total,
        worker_restarts=_restarts(state),
    )


def _used(total: Mapping[str, float], free: Mapping[str, float], name: str) -> float:
    return max(0.0, round(total.get(name, 0) - free.get(name, 0), 3))


def _restarts(state: GlobalState) -> int:
    job = ray.JobID.from_hex(ray.get_runtime_context().get_job_id())
    return sum(int(actor["NumRestarts"]) for actor in state.actor_table(None, job).values())
