"""Does `mien plan` say when it will be done? Its wall time against that of the run it foresees.

    python -m benchmarks.forecast --minutes 30

The archive is the demo's, each file copied under names of its own until so many minutes are there.
`mien plan` and then `mien score` run as processes on this machine, each with a cluster of its own;
a store's first run, so that both probe every file. Best on a machine that does nothing else.
"""

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.machine import RESULTS, described
from pipelines.demo import GOVERNANCE
from pipelines.footage import clips, make_archive

#: How far off the finishing time may be.
TARGET = 0.15


def make_long_archive(folder: Path, minutes: float) -> Path:
    """The demo's files, whole and broken ones, copied until they last `minutes`."""
    one, out = folder / "one", folder / "archive"
    originals = make_archive(one)
    out.mkdir()
    seconds = sum(clip.seconds for clip in clips())
    for number in range(max(1, round(minutes * 60 / seconds))):
        for path in originals:
            shutil.copy(path, out / f"{number:04d}-{path.name}")
    return out


def timed(command: list[str]) -> tuple[float, dict[str, Any]]:
    """Wall seconds of a `mien` process and the JSON that it printed.

    Raises `RuntimeError` where it did not end well; what it said is on stderr.
    """
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *command, "--json"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 3):  # one file of nine is broken on purpose
        raise RuntimeError(f"mien {command[0]} ended with {done.returncode}")
    return time.perf_counter() - begin, json.loads(done.stdout)


def compared(name: str, estimate: dict[str, Any], actual: float) -> dict[str, Any]:
    low, high = (estimate[end] for end in ("low", "high"))
    return {
        "what": name,
        "forecast": round(estimate["value"], 3),
        "interval": [end if end is None else round(end, 3) for end in (low, high)],
        "actual": round(actual, 3),
        "relative_error": round(estimate["value"] / actual - 1, 4) if actual else None,
        "within_interval": (low or 0) <= actual <= (math.inf if high is None else high),
    }


def measure(minutes: float, sample_minutes: float, segment_seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="mien-bench-") as name:
        folder = Path(name)
        archive, store = make_long_archive(folder, minutes), folder / "store"
        job = {
            "governance": GOVERNANCE.model_dump(),
            "plan": {"segment_seconds": segment_seconds},
            "run": {"max_quarantined": 0.15},
        }
        (folder / "job.yaml").write_text(yaml.safe_dump(job))
        given = [str(archive), "--out", str(store), "-c", str(folder / "job.yaml")]
        took, plan = timed(["plan", *given, "--sample-minutes", str(sample_minutes)])
        wall, record = timed(["score", *given])
    stages = record["stages"]
    lost = record["quarantined_seconds"] / record["planned_seconds"]
    rows = [
        compared("wall_seconds", plan["wall_seconds"], wall),
        compared("faces", plan["faces"], record["counts"]["faces"]),
        compared("lost_share", plan["lost_share"], lost),
        *(
            compared(f"busy in {stage}", plan["busy_seconds"][stage], stages[stage]["wall_seconds"])
            for stage in stages
        ),
    ]
    return {
        "machine": described(),
        "video_minutes": round(plan["left"]["video_hours"] * 60, 1),
        "sampled_minutes": round(plan["sample"]["video_seconds"] / 60, 2),
        "plan_seconds": round(took, 1),
        "target": TARGET,
        "met": abs(rows[0]["relative_error"]) <= TARGET,
        "compared": rows,
        "timing": plan["timing"],
        "notes": plan["notes"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecast")
    parser.add_argument("--minutes", type=float, default=30, help="of video in the archive")
    parser.add_argument("--sample-minutes", type=float, default=5)
    parser.add_argument("--segment-seconds", type=float, default=10)
    parser.add_argument("--out", type=Path, default=RESULTS / "forecast.json")
    args = parser.parse_args()
    result = measure(args.minutes, args.sample_minutes, args.segment_seconds)
    args.out.parent.mkdir(exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
