"""Crops a second through the Embed operator: one process a core, as Ray's actors are.

    python -m benchmarks.embed

Each process builds the operator, warms it, and embeds the same segments again and again; the rate
is the best of several rounds in which all processes work at once.
"""

import argparse
import json
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.machine import RESULTS, described
from infra.offline import disable_telemetry
from operators.backbone import backbone_info
from operators.core.crops import crops_to_array
from operators.embed import Embed
from schemas.config import Embed as EmbedConfig
from schemas.flow import crops

SEGMENTS, FACES = 4, 240  # what a segment of a minute with one face holds at 4 frames/s
CALLS, ROUNDS = 3, 5


def batch(size_px: int) -> pa.Table:
    pixels = np.random.default_rng(0).integers(0, 256, (SEGMENTS * FACES, size_px, size_px, 3))
    column = crops("crops", size_px)
    values = crops_to_array(pixels.astype(np.uint8), column.type.value_type)
    offsets = np.arange(SEGMENTS + 1, dtype=np.int32) * FACES
    return pa.table({"crops": pa.ListArray.from_arrays(offsets, values, type=column.type)})


def work(backbone: str, size_px: int, start: Any, times: Any) -> None:
    disable_telemetry()
    operator, rows = Embed(EmbedConfig(backbone=backbone), "cpu"), batch(size_px)
    operator(rows)
    for _ in range(ROUNDS):
        start.wait()
        begin = time.perf_counter()
        for _ in range(CALLS):
            operator(rows)
        times.put(time.perf_counter() - begin)


def measure(backbone: str, processes: int) -> dict[str, Any]:
    """The rate of each round: all processes' crops over the slowest one's time."""
    context = multiprocessing.get_context("spawn")
    start, times = context.Barrier(processes), context.Queue()
    size_px = backbone_info(backbone).image_size_px
    workers = [
        context.Process(target=work, args=(backbone, size_px, start, times))
        for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    taken = [[times.get() for _ in range(processes)] for _ in range(ROUNDS)]
    for worker in workers:
        worker.join()
    count = processes * CALLS * SEGMENTS * FACES
    rates = [round(count / max(seconds)) for seconds in taken]
    return {"processes": processes, "crops_per_second": rates, "best": max(rates)}


def main() -> None:
    disable_telemetry()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embed")
    parser.add_argument("--backbone", default="mien-lite")
    parser.add_argument("--out", type=Path, default=RESULTS / "embed.json")
    args = parser.parse_args()
    counts = sorted({1, os.cpu_count() or 1})
    result = {
        "machine": described(),
        "backbone": args.backbone,
        "backbone_sha256": backbone_info(args.backbone).sha256,
        "runs": [measure(args.backbone, count) for count in counts],
    }
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
