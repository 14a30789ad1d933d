"""What Ray says of its cluster."""

import os
import time

import pytest
import ray

from infra.usage import cluster_use


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_workers_that_die_and_come_back_are_counted() -> None:
    @ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
    class Frail:
        def pid(self) -> int:
            return os.getpid()

        def die(self) -> None:
            os._exit(1)

    before = cluster_use()
    assert before
    actor = Frail.remote()
    pid = ray.get(actor.pid.remote())
    actor.die.options(max_task_retries=0).remote()
    deadline = time.monotonic() + 30
    while ray.get(actor.pid.remote()) == pid:
        assert time.monotonic() < deadline
    after = cluster_use()
    assert after
    assert after.worker_restarts == before.worker_restarts + 1
