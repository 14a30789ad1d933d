"""How work grows with workers: extraction alone, the whole job, two encoders.

    python -m benchmarks.scaling

One worker and two, in turn, on the same clips. Extraction alone is timed while all its actors have
work, so that starting Ray is not in it; the whole job is timed from its start to its end, as is the
slowest stage alone beside it. Driver and raylet share the cores with the workers. What the machine
itself allows is measured in the same turn: the same chain in one process and in two that have
nothing in common, without Ray. The two encoders run on GPUs that Ray counts and nobody has, with a
slow backbone, so that both have work.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.child import segments, steps
from benchmarks.jobs import BUSY, config, extract_alone, make_copies, on_two_gpus, ran, whole_job
from benchmarks.machine import RESULTS, described
from infra.child import Isolated, Limits
from infra.served import parent_file
from infra.sources import open_source
from infra.store import Store
from infra.tables import table_rows
from operators.core.operator import empty_values
from schemas.config import Config
from schemas.flow import PLANNED
from tests.backbones import TINY, write_backbone

KEY = "ab" * 32
#: What a run writes of itself, and not of the video.
CIRCUMSTANCE = {"run_id"}
#: Segments that a process takes to measure the machine: some twenty seconds of work.
ALONE = 20
#: Segments that are enough to see both encoders work, and an encoder slow enough that they must:
#: a ViT-B of random weights on small patches. mien-lite would wait for faces most of the time.
ENCODED = 24
SLOW: dict[str, Any] = {
    **TINY,
    "model_cfg": {
        **TINY["model_cfg"],
        "vision_cfg": {"image_size": 48, "layers": 12, "width": 768, "patch_size": 8},
    },
}
TARGETS = {"extract": 1.85, "whole_job": 1.5, "whole_job_over_slowest_stage": 1.15}


def turn(folder: Path, archive: Path, number: int) -> dict[str, float]:
    """One worker and two, of both kinds of work."""
    found: dict[str, float] = {}
    for workers in (1, 2) if number % 2 else (2, 1):
        for job in (extract_alone, whole_job):
            store = folder / f"store-{number}-{workers}-{job.__name__}"
            # One wave: what a further one costs is measured in benchmarks.waves.
            cfg = config(
                archive, store, extract={"actors": workers}, run={"wave_segments": 1_000_000}
            )
            done = ran(job, cfg)
            print(f"turn {number}, {job.__name__}, {workers} workers: {done}", flush=True)
            found[f"{job.__name__}_{workers}_seconds"] = done.wall_seconds
            found[f"{job.__name__}_{workers}_seconds_a_segment"] = done.steady(workers)[0]
    return {
        "ceiling": ceiling(next(archive.iterdir())),
        "extract": _ratio(found, "extract_alone_{}_seconds_a_segment"),
        "whole_job_while_busy": _ratio(found, "whole_job_{}_seconds_a_segment"),
        "whole_job": _ratio(found, "whole_job_{}_seconds"),
        "whole_job_over_slowest_stage": found["whole_job_2_seconds"]
        / found["extract_alone_2_seconds"],
        **found,
    }


def _ratio(found: dict[str, float], name: str) -> float:
    return found[name.format(1)] / found[name.format(2)]


def ceiling(clip: Path) -> float:
    """How much more two processes extract than one, when they share nothing but the machine."""
    one, two = (_extracted_a_second(clip, processes) for processes in (1, 2))
    return two / one


def _extracted_a_second(clip: Path, processes: int) -> float:
    """Segments a second of so many processes, timed from when all are warm."""
    context = multiprocessing.get_context("spawn")
    warm = context.Barrier(processes)
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with (
        mock.patch.dict(os.environ, one_thread),
        context.Pool(processes, _meet_at, (warm,)) as pool,
    ):
        spent = pool.map(_extract, [clip] * processes, chunksize=1)
    return sum(ALONE / seconds for seconds in spent)


_warm: Any = None


def _meet_at(barrier: Any) -> None:
    global _warm
    _warm = barrier


def _extract(clip: Path) -> float:
    """Seconds that the chain took for `ALONE` segments, in a child as in a run."""
    row = segments(clip, 10.0).slice(0, 1)
    chain = steps(parent_file, Config())
    with closing(Isolated(chain, PLANNED, open_source, empty_values, Limits())) as operator:
        operator(row)
        _warm.wait()
        begin = time.perf_counter()
        for _ in range(ALONE):
            assert operator(row)["status"].to_pylist() == ["ok"]
        return time.perf_counter() - begin


def encoders(folder: Path, archive: Path) -> dict[str, Any]:
    """Two encoders on two GPUs: how long each worked, and whether one alone gives equal rows."""
    backbone = str(write_backbone(folder / "encoder", config=SLOW))
    rows, busy = {}, {}
    for actors in (1, 2):
        store, noted = folder / f"store-gpu-{actors}", folder / f"busy-{actors}"
        store.mkdir()
        (store / "key").write_text(KEY)  # equal keys, equal ids
        (store / "key").chmod(0o600)
        with mock.patch.dict(os.environ, {BUSY: str(noted)}):
            embed = {"actors": actors, "backbone": backbone}
            print(ran(on_two_gpus, config(archive, store, embed=embed)), flush=True)
        opened = Store.open(str(store), create=False)
        table = table_rows(opened.root, opened.latest(), "scores")
        kept = [name for name in table.column_names if name not in CIRCUMSTANCE]
        rows[actors] = table.select(kept).sort_by([("face_id", "ascending")])
        spent: defaultdict[str, float] = defaultdict(float)
        for line in noted.read_text().splitlines():
            pid, begin, end = line.split()
            spent[pid] += float(end) - float(begin)
        busy[actors] = sorted(round(seconds, 2) for seconds in spent.values())
    return {
        "rows": len(rows[2]),
        "equal_rows": rows[1].equals(rows[2]),
        "busy_seconds_of_one": busy[1],
        "busy_seconds_of_two": busy[2],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling")
    parser.add_argument("--segments", type=int, default=60, help="of ten seconds")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS / "scaling.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mien-bench-") as name:
        folder = Path(name)
        archive = make_copies(folder / "archive", options.segments, 10.0)
        turns = [turn(folder, archive, number) for number in range(options.turns)]
        few = make_copies(folder / "few", min(options.segments, ENCODED), 10.0)
        two = encoders(folder, few)
    each = {
        key: round(statistics.median(one[key] for one in turns), 3)
        for key in (
            "ceiling",
            "extract",
            "whole_job_while_busy",
            "whole_job",
            "whole_job_over_slowest_stage",
        )
    }
    result = {
        "machine": described(),
        **each,
        "targets": TARGETS,
        "two_encoders": two,
        "turns": [{key: round(value, 3) for key, value in one.items()} for one in turns],
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({k: v for k, v in result.items() if k != "machine"}, indent=2))


if __name__ == "__main__":
    main()
