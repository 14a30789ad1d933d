"""What the child process costs: the same segments extracted in it, and in the caller itself.

    python -m benchmarks.child --clip CLIP.mp4

No Ray; one thread each. Both ways are built and warmed first, then take turns, segment by segment.
"""

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # before what reads them

import argparse
import json
import statistics
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from benchmarks.end_to_end import CLIP
from benchmarks.machine import RESULTS, described
from infra.child import Isolated, Limits
from infra.listing import list_sources
from infra.served import parent_file
from infra.sources import open_source
from operators.anonymize import Anonymize
from operators.core.operator import Step, empty_values
from operators.extract import Extract
from operators.probe import Probe
from pipelines.planned import cut, planned_table
from schemas.config import Config
from schemas.flow import PLANNED, SOURCE_FILES

CROP_PX = 48


def steps(opener: Callable[[dict[str, Any]], BinaryIO], cfg: Config) -> tuple[Step, ...]:
    """What runs in the child by default."""
    return (
        Step(Extract, (cfg.extract, CROP_PX, opener)),
        Step(Anonymize, (cfg.privacy, CROP_PX)),
    )


def segments(clip: Path, seconds: float) -> pa.Table:
    """The clip's PLANNED rows."""
    listed, _ = list_sources(str(clip.parent), (clip.name,), (), 0)
    listed = listed.append_column(SOURCE_FILES.field("source_id"), pa.array(["s"]))
    rows = listed.select(SOURCE_FILES.names)
    probe = Isolated((Step(Probe, (parent_file,)),), SOURCE_FILES, open_source, empty_values)
    with closing(probe):
        probed = probe(rows).to_pylist()[0]
    return planned_table(cut({**rows.to_pylist()[0], **probed, "video_id": "v"}, seconds))


def timed(operator: Callable[[pa.Table], pa.Table], row: pa.Table) -> float:
    begin = time.perf_counter()
    result = operator(row)
    assert result["status"].to_pylist() == ["ok"]
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.child")
    parser.add_argument("--clip", type=Path, default=CLIP)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--segment-seconds", type=float, default=3.0)
    parser.add_argument("--out", type=Path, default=RESULTS / "child.json")
    options = parser.parse_args()
    rows = segments(options.clip, options.segment_seconds)
    cfg = Config.model_validate({"extract": {"frames_per_second": "all"}})
    operators = [step.build() for step in steps(lambda row: options.clip.open("rb"), cfg)]

    def here(row: pa.Table) -> pa.Table:
        table = row.drop_columns(["uri"])
        for operator in operators:
            table = operator(table)
        return table

    isolated = Isolated(steps(parent_file, cfg), PLANNED, open_source, empty_values, Limits())
    turns = []
    with closing(isolated):
        for way in (here, isolated):
            timed(way, rows.slice(0, 1))
        for _ in range(options.turns):
            spent = [0.0, 0.0]
            for index in range(len(rows)):
                for number, way in enumerate((here, isolated)):
                    spent[number] += timed(way, rows.slice(index, 1))
            turns.append(spent)
    result = {
        "machine": described(),
        "ratio": round(statistics.median(child / caller for caller, child in turns), 3),
        "seconds": [{"caller": round(a, 3), "child": round(b, 3)} for a, b in turns],
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({k: v for k, v in result.items() if k != "machine"}, indent=2))


if __name__ == "__main__":
    main()
