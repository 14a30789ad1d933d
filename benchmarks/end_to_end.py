"""Decode to published rows: frames a second, the share of each stage, peak memory.

    python -m benchmarks.end_to_end --clip CLIP.mp4

Start-up is excluded by difference: the same job on one copy of the clip and on many; what the
others add is the work. Every run has a store of its own and starts its own local cluster.
"""

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.machine import RESULTS, described
from benchmarks.processes import PeakPss
from infra.offline import disable_telemetry
from pipelines.demo import GOVERNANCE
from pipelines.score import score
from schemas.config import Config

CLIP = Path(__file__).parents[2] / "shared/data/media/WolfgangLanger_Pexels.mp4"


def run(
    folder: Path, clip: Path, copies: int, frames: str, segment_seconds: float
) -> dict[str, Any]:
    """Score `copies` of the clip into a new store; wall seconds, counts, stages, peak PSS."""
    archive, store = folder / f"archive-{copies}", folder / f"store-{time.monotonic_ns()}"
    archive.mkdir(exist_ok=True)
    for number in range(copies):
        path = archive / f"{number:05d}{clip.suffix}"
        if not path.exists():
            shutil.copy(clip, path)
    cfg = Config.model_validate(
        {
            "source": str(archive),
            "store": str(store),
            "governance": GOVERNANCE.model_dump(),
            "extract": {"frames_per_second": frames},
            "plan": {"segment_seconds": segment_seconds},
            "tracking": {"enabled": False},
        }
    )
    begin = time.perf_counter()
    with PeakPss() as memory:
        record = score(cfg, Console(stderr=True, quiet=True)).record
    wall = time.perf_counter() - begin
    shutil.rmtree(store)
    return {
        "copies": copies,
        "wall_seconds": round(wall, 2),
        "peak_pss_mib": round(memory.peak_mib),
        "segments": record.counts["segments"],
        "frames": record.counts["frames"],
        "faces": record.counts["faces"],
        "stage_seconds": {name: round(s.wall_seconds, 2) for name, s in record.stages.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--clip", type=Path, default=CLIP)
    parser.add_argument("--copies", type=int, default=20)
    parser.add_argument("--segments", type=int, nargs=2, default=(30, 300), help="for memory")
    parser.add_argument("--out", type=Path, default=RESULTS / "end_to_end.json")
    options = parser.parse_args()
    disable_telemetry()
    with tempfile.TemporaryDirectory(prefix="mien-bench-") as name:
        folder = Path(name)
        one = run(folder, options.clip, 1, "all", 60)
        many = run(folder, options.clip, options.copies, "all", 60)
        few_segments, many_segments = (
            run(folder, options.clip, count // 10, "4", 2) for count in options.segments
        )
    frames = many["frames"] - one["frames"]
    seconds = many["wall_seconds"] - one["wall_seconds"]
    total = sum(many["stage_seconds"].values())
    result = {
        "machine": described(),
        "frames_per_second": round(frames / seconds, 1),
        "stage_share": {k: round(v / total, 3) for k, v in many["stage_seconds"].items()},
        "peak_pss_ratio": round(many_segments["peak_pss_mib"] / few_segments["peak_pss_mib"], 3),
        "start_up_seconds": round(one["wall_seconds"] - one["frames"] / (frames / seconds), 1),
        "runs": {
            "one_copy": one,
            "many_copies": many,
            "few_segments": few_segments,
            "many_segments": many_segments,
        },
    }
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({k: v for k, v in result.items() if k != "runs"}, indent=2))


if __name__ == "__main__":
    main()
