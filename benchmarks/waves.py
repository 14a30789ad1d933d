"""What a wave costs: the same archive as one Dataset and in waves, in turn.

    python -m benchmarks.waves

A wave starts its actors anew, and not all of them are busy at its end. Both are the same however
long a wave is, so the cost of a further wave is set against the length that `run.wave_segments:
auto` gives it. Wall time counts what else the machine does; CPU time does not.
"""

import argparse
import json
import statistics
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.jobs import Ran, config, make_copies, ran, whole_job
from benchmarks.machine import RESULTS, described
from pipelines.waves import WAVE_SECONDS

#: The most of its time that a wave may cost.
TARGET = 0.05


def turn(folder: Path, archive: Path, segments: int, number: int) -> dict[str, Any]:
    """The archive in waves of so many segments, and as one Dataset; in turn which comes first."""
    found: dict[int, Ran] = {}
    sizes = (segments, 1_000_000)
    for size in sizes if number % 2 else reversed(sizes):
        cfg = config(archive, folder / f"store-{number}-{size}", run={"wave_segments": size})
        found[size] = ran(whole_job, cfg)
        print(f"turn {number}, waves of {size}: {found[size]}", flush=True)
    waves, one = (found[size] for size in sizes)
    further = len(waves.arrivals) - 1
    usual = statistics.median(b - a for a, b in pairwise(one.arrivals[0]))
    gaps = [after[0] - before[-1] for before, after in pairwise(waves.arrivals)]
    return {
        "waves": len(waves.arrivals),
        "wall_seconds": [round(one.wall_seconds, 2), round(waves.wall_seconds, 2)],
        "cpu_seconds": [round(one.cpu_seconds, 2), round(waves.cpu_seconds, 2)],
        "gap_seconds": [round(gap, 2) for gap in gaps],
        "usual_gap_seconds": round(usual, 2),
        "wall_seconds_a_wave": (waves.wall_seconds - one.wall_seconds) / further,
        "cpu_seconds_a_wave": (waves.cpu_seconds - one.cpu_seconds) / further,
        "gap_seconds_a_wave": statistics.mean(gaps) - usual,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waves")
    parser.add_argument("--segments", type=int, default=96, help="of ten seconds")
    parser.add_argument("--wave-segments", type=int, default=24)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS / "waves.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mien-bench-") as name:
        archive = make_copies(Path(name) / "archive", options.segments, 10.0)
        turns = [
            turn(Path(name), archive, options.wave_segments, number)
            for number in range(options.turns)
        ]
    each = {
        key: round(statistics.median(one[key] for one in turns), 2)
        for key in ("wall_seconds_a_wave", "cpu_seconds_a_wave", "gap_seconds_a_wave")
    }
    share = each["wall_seconds_a_wave"] / WAVE_SECONDS
    result = {
        "machine": described(),
        **each,
        "wave_seconds": WAVE_SECONDS,
        "share_of_a_wave": round(share, 4),
        "target": TARGET,
        "met": share <= TARGET,
        "turns": turns,
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({k: v for k, v in result.items() if k != "machine"}, indent=2))


if __name__ == "__main__":
    main()
