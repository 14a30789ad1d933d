"""A node that dies under actors: when Ray knows of it, and what becomes of their work till then.

    python -m benchmarks.node_loss

A cluster of a head and one node on this machine. An actor on the node has three tasks when raylet
and workers are killed with SIGKILL, and is sent three more. Cases differ in how often a task is
tried again, and in how often the head looks for dead nodes; each has a process of its own.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.cluster_utils import Cluster
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from benchmarks.machine import RESULTS, described
from infra.offline import disable_telemetry
from pipelines.steps import BOUNDED, FEW_TRIES

OFTEN_MS = 1000
TASKS = 3
CASES = [
    (tries["max_task_retries"], period)
    for tries in (FEW_TRIES, BOUNDED)
    for period in (None, OFTEN_MS)
]


class Worker:
    """What an actor does is to last."""

    def last(self, seconds: float) -> int:
        time.sleep(seconds)
        return os.getpid()


def lose_a_node(tries: int, period_ms: int | None) -> dict[str, Any]:
    """Kill the node; tasks that came, that were lost, and the seconds until the last of them."""
    head: dict[str, Any] = {"num_cpus": 1, "include_dashboard": False}
    if period_ms:
        head["_system_config"] = {"health_check_period_ms": period_ms}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    node = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, logging_level=logging.ERROR, log_to_driver=False)
    there = NodeAffinitySchedulingStrategy(node.node_id, soft=True)
    options = {**BOUNDED, "max_task_retries": tries, "num_cpus": 0.5, "scheduling_strategy": there}
    actor: Any = ray.remote(Worker).options(**options).remote()
    ray.get(actor.last.remote(0))
    tasks = [actor.last.remote(1) for _ in range(TASKS)]
    time.sleep(0.3)
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    for process in (raylet, *raylet.children(recursive=True)):
        process.kill()
    begin = time.perf_counter()
    tasks += [actor.last.remote(0.1) for _ in range(TASKS)]
    came = 0
    for task in tasks:
        try:
            ray.get(task)
            came += 1
        except RayError:
            continue
    taken = round(time.perf_counter() - begin, 1)
    ray.shutdown()
    cluster.shutdown()
    return {"came": came, "lost": len(tasks) - came, "seconds": taken}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.node_loss")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS / "node_loss.json")
    options = parser.parse_args()
    disable_telemetry()
    if options.case is not None:
        print(json.dumps(lose_a_node(*CASES[options.case])))
        return
    result: dict[str, Any] = {"machine": described(), "tasks": 2 * TASKS, "cases": []}
    for case, (tries, period_ms) in enumerate(CASES):
        command = [sys.executable, "-m", "benchmarks.node_loss", "--case", str(case)]
        turns = [
            json.loads(subprocess.check_output(command, text=True).splitlines()[-1])
            for _ in range(options.turns)
        ]
        period = period_ms or "default"
        result["cases"].append({"retries": tries, "health_check_period_ms": period, "turns": turns})
        print(result["cases"][-1], file=sys.stderr)
    options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
