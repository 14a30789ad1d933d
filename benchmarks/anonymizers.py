"""What each anonymizer costs, against everything else that scores a face.

    python -m benchmarks.anonymizers --clip CLIP.mp4

No Ray; one thread each. Segments of the clip are extracted, embedded and scored, every frame of
them; in between each anonymizer works on the same crops, all of them in turn, segment by segment.
Seconds are those of the processor, which other work on the machine stretches less than the wall's.
"""

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # before what reads them

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.child import segments
from benchmarks.end_to_end import CLIP
from benchmarks.machine import RESULTS, described
from infra.offline import disable_telemetry
from operators.anonymize import Anonymize
from operators.core.anonymizers import anonymizers
from operators.embed import Embed
from operators.extract import Extract
from operators.score import Score
from pipelines.configuration import config_from
from pipelines.settings import resolve_settings
from schemas.config import Privacy


def timed(operator: Callable[[pa.Table], pa.Table], rows: pa.Table) -> tuple[pa.Table, float]:
    begin = time.process_time()
    return operator(rows), time.process_time() - begin


def measure(clip: Path, segment_seconds: float) -> dict[str, Any]:
    """CPU-seconds of the run's own stages, and of each anonymizer at its default strength."""
    settings = resolve_settings(config_from({"extract": {"frames_per_second": "all"}}))
    cfg, crop_px = settings.cfg, settings.crop_px
    extract = Extract(cfg.extract, crop_px, lambda row: clip.open("rb"))
    embed = Embed(cfg.embed, "cpu")
    score = Score(cfg.score, cfg.embed.backbone, settings.chosen)
    ways = {
        entry.name: Anonymize(Privacy.model_validate({"anonymizer": entry.name}), crop_px)
        for entry in anonymizers()
    }
    spent: dict[str, float] = {"extract": 0, "embed": 0, "score": 0}
    cost: dict[str, float] = dict.fromkeys(ways, 0.0)
    default, faces = ways[cfg.privacy.anonymizer.name], 0
    rows = segments(clip, segment_seconds).drop_columns(["uri"])
    for index in range(-1, len(rows)):  # -1: the first is done twice, to warm up
        raw, seconds = timed(extract, rows.slice(max(0, index), 1))
        found = [seconds]
        table = default(raw)
        for operator in (embed, score):
            table, seconds = timed(operator, table)
            found.append(seconds)
        took = {name: timed(way, raw)[1] for name, way in ways.items()}
        if index >= 0:
            faces += len(raw["crops_raw"].combine_chunks().flatten())
            spent = {key: spent[key] + more for key, more in zip(spent, found, strict=True)}
            cost = {name: cost[name] + took[name] for name in cost}
    whole = sum(spent.values())
    return {
        "machine": described(),
        "default": cfg.privacy.anonymizer.name,
        "faces": faces,
        "scoring_cpu_seconds": {key: round(value, 3) for key, value in spent.items()},
        "anonymizer_cpu_seconds": {name: round(value, 4) for name, value in cost.items()},
        "share_of_scoring": {name: round(value / whole, 4) for name, value in cost.items()},
    }


def main() -> None:
    disable_telemetry()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.anonymizers")
    parser.add_argument("--clip", type=Path, default=CLIP)
    parser.add_argument("--segment-seconds", type=float, default=3.0)
    parser.add_argument("--out", type=Path, default=RESULTS / "anonymizers.json")
    options = parser.parse_args()
    result = measure(options.clip, options.segment_seconds)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({k: v for k, v in result.items() if k != "machine"}, indent=2))


if __name__ == "__main__":
    main()
