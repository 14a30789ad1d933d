"""What Exp-CLIP adds to a weak backbone, and what it costs a good one.

    python -m benchmarks.exp_clip --train TRAIN.PARQUET --val VAL.PARQUET

The weak backbone is an early mien-lite: `pipelines.pretrain` for one epoch. On each backbone a
projection is fitted on 4,000 faces and measured on `--val` beside plain zero-shot.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from benchmarks.machine import RESULTS, described
from infra.offline import disable_telemetry
from pipelines.configuration import config_from
from pipelines.evaluate import evaluate
from pipelines.fit import fit
from pipelines.pretrain import main as pretrain

FACES = 4000
KEYS = ("accuracy", "uar", "ece", "accuracy_surest_80_percent", "ci95")


def some_faces(path: str, folder: Path) -> str:
    """4,000 faces of a file, drawn with a fixed seed."""
    table = pq.read_table(path)
    rows = np.sort(np.random.default_rng(0).permutation(len(table))[:FACES])
    out = folder / "some.parquet"
    pq.write_table(table.take(pa.array(rows)), out)
    return str(out)


def measure(backbone: str, some: str, val: str, folder: Path, console: Console) -> dict[str, Any]:
    """Zero-shot and Exp-CLIP on one backbone."""
    cfg = config_from({"embed": {"backbone": backbone}, "tracking": {"enabled": False}})
    out = folder / "artifact"
    artifact = fit(cfg, "exp_clip", some, out, console)
    plain = evaluate(cfg, val, folder / "plain", console, name="zero_shot")
    fitted = evaluate(cfg, val, folder / "fitted", console, reference=str(out))
    return {
        "backbone_sha256": plain["backbone_sha256"],
        "teacher": artifact.card["teacher"],
        "recipe": artifact.card["recipe"],
        "zero_shot": {key: plain[key] for key in KEYS},
        "exp_clip": {key: fitted[key] for key in KEYS},
        "points_gained": round(100 * (fitted["accuracy"] - plain["accuracy"]), 2),
    }


def main() -> None:
    disable_telemetry()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exp_clip")
    parser.add_argument("--train", required=True)
    parser.add_argument("--val", required=True)
    parser.add_argument("--weak-epochs", type=int, default=1)
    parser.add_argument("--weak", default=None, help="a weak backbone made before")
    parser.add_argument("--out", type=Path, default=RESULTS / "exp_clip.json")
    args = parser.parse_args()
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:  # faces stay off the disk
        home = Path(folder)
        weak = args.weak or str(home / "weak")
        if args.weak is None:
            data = ["--data", args.train, "--val", args.val, "--out", weak]
            pretrain([*data, "--work", str(home / "work"), "--epochs", str(args.weak_epochs)])
        some = some_faces(args.train, home)
        result = {
            "machine": described(),
            "faces": FACES,
            "weak": {"epochs": args.weak_epochs, **measure(weak, some, args.val, home, console)},
            "mien-lite": measure("mien-lite", some, args.val, home, console),
        }
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
