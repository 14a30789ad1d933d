"""The same archive from and to a bucket on loopback, and from and to a folder: time, CPU, listing.

    python -m benchmarks.bucket

Each run is a process of its own, folder and bucket in turn. CPU seconds are those of the job's own
processes; the S3 server shares the machine's cores, so wall time counts it in.
"""

import argparse
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS, described
from benchmarks.processes import CpuSeconds
from infra.listing import list_sources
from pipelines.demo import GOVERNANCE
from pipelines.footage import make_archive
from schemas.config import Config
from tests.s3 import BUCKET, S3Server, s3_server

ROOT = Path(__file__).parents[1]


def scored(folder: Path, source: str, store: str) -> dict[str, float]:
    """Score `source` into a new store: wall and CPU seconds."""
    cfg = Config.model_validate(
        {
            "source": source,
            "store": store,
            "governance": GOVERNANCE.model_dump(),
            "tracking": {"enabled": False},
            "run": {"max_quarantined": 0.15},
        }
    )
    job = folder / "job.json"
    job.write_text(cfg.model_dump_json())
    begin = time.perf_counter()
    command = [sys.executable, "-m", "pipelines.cli", "score", "-c", str(job)]
    driver = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    with CpuSeconds(driver.pid) as cpu:
        said = driver.communicate()[1]
    if driver.returncode not in (0, 3):  # 3: the archive has a file that is broken on purpose
        raise SystemExit(said)
    return {
        "wall_seconds": round(time.perf_counter() - begin, 2),
        "cpu_seconds": round(cpu.total, 2),
    }


def copies_of(archive: Path, out: Path, count: int) -> None:
    """The archive's files, so many times, each under a name of its own."""
    out.mkdir()
    for path in sorted(archive.iterdir()):
        for number in range(count):
            shutil.copy(path, out / f"{number:03d}-{path.name}")


def listing(s3: S3Server, keys: int) -> dict[str, float]:
    """How long it takes to list so many keys."""
    url = s3.url("listing")
    client = s3.client()
    at_once = 1000
    for first in range(0, keys, at_once):
        names = range(first, min(first + at_once, keys))
        client.pipe({f"{BUCKET}/listing/{n // 1000:03d}/{n:06d}.mp4": b"x" for n in names})
    begin = time.perf_counter()
    found, _ = list_sources(url, (), (), 0)
    seconds = time.perf_counter() - begin
    assert len(found) == keys
    return {"keys": keys, "seconds": round(seconds, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bucket")
    parser.add_argument("--copies", type=int, default=6)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=RESULTS / "bucket.json")
    options = parser.parse_args()
    turns: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="mien-bench-") as name:
        folder = Path(name)
        (folder / "s3").mkdir()
        make_archive(folder / "made")
        copies_of(folder / "made", folder / "archive", options.copies)
        with s3_server(folder / "s3") as s3:
            os.environ |= {**s3.environment, "MIEN_KEY": secrets.token_hex(32)}
            source = s3.url("archive")
            s3.client().put(str(folder / "archive"), source, recursive=True)
            for turn in range(options.turns):
                local = scored(folder, str(folder / "archive"), str(folder / f"store-{turn}"))
                bucket = scored(folder, source, s3.url())
                turns.append({"folder": local, "bucket": bucket})
            listed = listing(s3, options.keys)
    result = {
        "machine": described(),
        "wall_ratio": ratio(turns, "wall_seconds"),
        "cpu_ratio": ratio(turns, "cpu_seconds"),
        "listing": listed,
        "turns": turns,
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({k: v for k, v in result.items() if k != "machine"}, indent=2))


def ratio(turns: list[dict[str, Any]], name: str) -> float:
    """The middle one of the turns' ratios, bucket over folder."""
    return round(statistics.median(t["bucket"][name] / t["folder"][name] for t in turns), 3)


if __name__ == "__main__":
    main()
