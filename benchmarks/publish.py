"""Publishing ten million faces, reading a hundred million scores: time, the driver's memory.

    python -m benchmarks.publish

The videos are synthetic, of 20 minutes; what their segments found lies in staging, one file a
segment, as a run leaves it. `mien publish` then does all of it in a process of its own. The rest
of the day is written straight into the tables, by the writer that publish uses: waves of three
parts, whose rows are the first wave's under other videos' names. One snapshot lists all.
"""

import argparse
import functools
import json
import multiprocessing
import os
import secrets
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from rich.console import Console

from benchmarks.archive import JOB, listed, measured, probed
from benchmarks.machine import RESULTS, described
from benchmarks.processes import CpuSeconds, PeakPss
from benchmarks.synthetic import SCORED_A_SECOND, staged_video
from infra import staging
from infra.offline import disable_telemetry
from infra.store import Store
from infra.tables import write_part
from pipelines.configuration import load_config
from pipelines.plan import make_plan
from pipelines.publish import make_visible
from pipelines.query import open_store
from pipelines.record import begin_run
from pipelines.score import publish_staged
from pipelines.settings import resolve_settings
from schemas.tables import TABLES

pc: Any = pyarrow.compute  # its functions are made at import: type checkers see none

MINUTES = 20
WAVE_PARTS = 3
LATER = "20990101T000000000Z-aaaaaa"
BY_VIDEO = "SELECT video_id, avg(anger) FROM scores GROUP BY 1"
ONE_VIDEO = "SELECT * FROM scores WHERE video_id = ?"


def stage(url: str, videos: int) -> int:
    """Leave a run that has staged all its segments. How many there are."""
    cfg = load_config(JOB, [f"store={url}", "tracking.enabled=false"])
    store, settings = Store.open(url, create=True), resolve_settings(cfg)
    sources = listed(videos)
    probed(store, sources, MINUTES * 60.0)
    plan = make_plan(cfg, settings, store, sources, {})
    run_id = begin_run(cfg, settings, store, plan, retry=False).run_id
    hashes = {item.spec.name: item.score_hash for item in settings.chosen}
    write = functools.partial(_stage_video, url, run_id, hashes, cfg.score.abstain_below)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        return sum(pool.imap_unordered(write, (video.segments for video in plan.videos), 8))


def _stage_video(
    url: str, run_id: str, hashes: dict[str, str], below: float, segments: list[dict[str, Any]]
) -> int:
    rows = staged_video(segments, hashes, below)
    return len(staging.write_segments(rows, Store.open(url, create=False).root, run_id))


def published(url: str) -> int:
    """`mien publish`. How many segments it published."""
    disable_telemetry()
    outcome = publish_staged(url, None, [], Console(stderr=True))
    assert outcome.exit_code == 0
    return outcome.record.counts["segments"]


def fill_day(url: str, rows: int) -> int:
    """Write waves into `scores` until it has so many rows. How many it has then."""
    store = Store.open(url, create=False)
    there = store.latest().of("scores")
    held, wave, files = sum(file.rows for file in there), 1, []
    rng = np.random.default_rng(0)
    template = pq.read_table(store.root.full(there[0].path))
    while held < rows:
        wave += 1
        for part in range(WAVE_PARTS):
            renamed = _renamed(template, part / WAVE_PARTS, 1 / WAVE_PARTS, rng)
            name = f"{LATER}-{wave:04d}-{part:05d}"
            files += write_part(store.root, "scores", renamed, name, {"mien.run_id": LATER})
            held += len(renamed)
    make_visible(store, LATER, files, {table: [] for table in TABLES})
    return held


def _renamed(rows: pa.Table, low: float, width: float, rng: np.random.Generator) -> pa.Table:
    """The same rows of other videos, whose ids lie anywhere in that share of all ids."""
    videos = pc.dictionary_encode(rows["video_id"].combine_chunks())
    digits = len(videos.dictionary[0].as_py())
    first = (low + width * np.sort(rng.random(len(videos.dictionary)))) * 2**32
    names = [f"{int(head):08x}{rng.bytes(digits // 2 - 4).hex()}" for head in first]
    own = pa.array(names).take(videos.indices)
    for name in ("video_id", "face_id", "track_id"):
        at = rows.schema.get_field_index(name)
        rest = pc.utf8_slice_codeunits(rows[name].combine_chunks(), digits)
        values = pc.binary_join_element_wise(own, rest, "")
        rows = rows.set_column(at, rows.schema.field(at), values)
    return rows


def forget(folder: Path) -> None:
    """Take the store's files out of the page cache."""
    for path in folder.rglob("*.parquet"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read(url: str, turns: int) -> dict[str, Any]:
    """Seconds of the queries: on files that nobody has read yet, and again."""
    with open_store(url) as con:
        names = [row[0] for row in con.execute("SELECT DISTINCT video_id FROM scores").fetchall()]
    some = secrets.SystemRandom().sample(sorted(names), turns)
    result: dict[str, Any] = {"videos": len(names)}
    for state, before in (("cold", lambda: forget(Path(url))), ("warm", lambda: None)):
        opened, grouped, single = [], [], []
        for video_id in some:
            before()
            with _timed(opened):
                con = open_store(url)
            with _timed(grouped):
                assert len(con.execute(BY_VIDEO).fetchall()) == len(names)
            con.close()
            before()
            con = open_store(url)
            with _timed(single):
                assert con.sql(ONE_VIDEO, params=[video_id]).to_arrow_table().num_rows
            con.close()
        result[state] = {
            "open_store": _seconds(opened),
            "by_video": _seconds(grouped),
            "one_video": _seconds(single),
        }
    return result


class _timed:
    def __init__(self, into: list[float]) -> None:
        self._into = into

    def __enter__(self) -> None:
        self._begin = time.perf_counter()

    def __exit__(self, *failure: object) -> None:
        self._into.append(time.perf_counter() - self._begin)


def _seconds(taken: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(taken), 3), "least": round(min(taken), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.publish")
    parser.add_argument("--faces", type=int, default=10_000_000)
    parser.add_argument("--day", type=int, default=100_000_000, help="rows of scores to read")
    parser.add_argument("--turns", type=int, default=5, help="how often each query runs")
    parser.add_argument("--folder", type=Path, help="where the store lies for the time")
    parser.add_argument("--out", type=Path, default=RESULTS / "publish.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mien-bench-", dir=options.folder) as name:
        url = f"{name}/store"
        faces_a_video = MINUTES * 60 * SCORED_A_SECOND
        videos = -(-options.faces // faces_a_video)
        begin = time.perf_counter()
        segments = stage(url, videos)
        staged = {"faces": videos * faces_a_video, "segments": segments, **_sizes(url, "staging")}
        _say(f"staged in {time.perf_counter() - begin:.0f} s: {staged}")
        own = sum(psutil.Process().cpu_times()[:2])
        with PeakPss(5.0) as memory, CpuSeconds(os.getpid(), 0.5) as cpu:
            driver = measured(published, url)
        driver |= {
            "cpu_seconds": round(cpu.total - own, 1),  # of the driver, Ray and the tasks together
            "all_processes_peak_pss_mib": round(memory.peak_mib),
            **_sizes(url, "tables"),
        }
        _say(f"published: {driver}")
        rows = fill_day(url, options.day)
        day = {"score_rows": rows, **_sizes(url, "tables/scores")}
        _say(f"the day: {day}")
        result = {"machine": described(), "staged": staged, "published": driver, "day": day}
        result["read"] = read(url, options.turns)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({k: v for k, v in result.items() if k != "machine"}, indent=2))


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _sizes(url: str, folder: str) -> dict[str, int]:
    sizes = [path.stat().st_size for path in Path(url, folder).rglob("*.parquet")]
    return {"files": len(sizes), "mib": sum(sizes) >> 20}


if __name__ == "__main__":
    main()
