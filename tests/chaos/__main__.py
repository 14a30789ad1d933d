"""Chaos over the main job, from the command line.

python -m tests.chaos --kills 100 --seed 0
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import RESULTS, described
from tests.chaos.run import SHORT_VIDEOS, VIDEOS, chaos, in_shares


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=chaos.__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backbone", default="mien-lite")
    parser.add_argument("--short", action="store_true", help="two videos, and no lost cluster")
    parser.add_argument("--out", type=Path, default=RESULTS / "chaos.json")
    options = parser.parse_args()
    begin = time.monotonic()

    def say(text: str) -> None:
        sys.stderr.write(f"{time.monotonic() - begin:7.1f} s  {text}\n")

    with tempfile.TemporaryDirectory(prefix="mien-chaos-") as folder:
        rng = random.Random(options.seed)
        kinds = in_shares(options.kills, rng)
        videos = SHORT_VIDEOS if options.short else VIDEOS
        tally = chaos(Path(folder), rng, say, kinds, videos, options.backbone, not options.short)
    result = {"machine": described(), "seed": options.seed, **tally.summary()}
    result["seconds"] = round(time.monotonic() - begin)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    sys.stdout.write(json.dumps({k: v for k, v in result.items() if k != "machine"}, indent=2))
    sys.stdout.write("\n")
    return 1 if tally.trouble else 0


if __name__ == "__main__":
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # everything here is on loopback
    raise SystemExit(main())
