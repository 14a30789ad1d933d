"""The driver's time and memory for an archive of a million segments: planned, then gone on with.

    python -m benchmarks.archive

The archive is synthetic: its videos are listed and probed already (what probing found is put into
the store), and nothing is decoded. Planned: the plan is made and kept, and all waves are cut. Gone
on with: half of the videos are published, and a wave's segments are staged.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.machine import RESULTS, described
from infra import staging
from infra.store import Store
from infra.tables import write_part, write_small_table
from infra.traces import PROBES
from pipelines.configuration import load_config
from pipelines.plan import PROBE_CACHE, make_plan
from pipelines.planned import Plan, planned_table
from pipelines.publish import lost_rows, make_visible
from pipelines.record import begin_run
from pipelines.settings import resolve_settings
from pipelines.waves import waves
from schemas.config import Config
from schemas.flow import SOURCE
from schemas.tables import VIDEOS

JOB = Path(__file__).parents[1] / "job.yaml"
WAVE = 2_000
LATER = "20990101T000000000Z-aaaaaa"


def listed(videos: int) -> pa.Table:
    rows = [
        {
            "uri": f"s3://archive/{n // 1000:05d}/{n:09d}.mp4",
            "size_bytes": 10**8 + n,
            "changed": "1",
        }
        for n in range(videos)
    ]
    return pa.Table.from_pylist(rows, SOURCE)


def probed(store: Store, sources: pa.Table, seconds: float) -> None:
    """Put what probing would find into the store."""
    found: dict[str, Any] = dict.fromkeys(PROBE_CACHE.names)
    found |= {"container": "mov", "codec": "h264", "width_px": 1280, "height_px": 720}
    found |= {"time_base": "1/12800", "duration_seconds": seconds, "has_audio": True}
    found |= {"start_ticks": 0, "frame_rate": 25.0, "rotation_degrees": 0}
    rows = [
        {
            **found,
            "source_id": store.identity.source_id(row["uri"]),
            "size_bytes": row["size_bytes"],
            "changed": "1",
            "fingerprint": f"{number:064d}",
        }
        for number, row in enumerate(sources.to_pylist())
    ]
    write_small_table(store.root, PROBES, pa.Table.from_pylist(rows, PROBE_CACHE))


def gone_through(cfg: Config, videos: int) -> int:
    """Plan, keep the plan, and cut every wave as the main job does. The number of segments."""
    store, sources = Store.open(str(cfg.store), create=False), listed(videos)
    settings = resolve_settings(cfg)
    plan = make_plan(cfg, settings, store, sources, {})
    record = begin_run(cfg, settings, store, plan, retry=False)
    staged = staging.staged_segments(store.root, record.run_id)
    cutting = waves(plan.videos, staged, plan.count, lambda: WAVE)
    return sum(planned_table([*wave.todo, *wave.staged]).num_rows for wave in cutting)


def half_done(store: Store, plan: Plan, run_id: str) -> None:
    """Make half of the videos live, and stage a wave's segments of the others."""
    half = len(plan.videos) // 2
    rows = [
        {**video.row, "seconds_scored": 1.0, "status": "ok", "run_id": LATER}
        for video in plan.videos[:half]
    ]
    files = write_part(store.root, "videos", pa.Table.from_pylist(rows, VIDEOS), LATER, {})
    make_visible(store, LATER, files, {"videos": []})
    segments = [s for video in plan.videos[half : half + WAVE // 20] for s in video.segments]
    staging.write_segments(lost_rows(segments), store.root, run_id)


def measured(job: Any, *arguments: Any) -> dict[str, float]:
    """What `job` took in a process of its own."""
    context = multiprocessing.get_context("spawn")
    mine, its = context.Pipe()
    process = context.Process(target=_timed, args=(its, job, *arguments))
    process.start()
    result = mine.recv()
    process.join()
    return result


def _timed(out: Any, job: Any, *arguments: Any) -> None:
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak, which is the parent's
    before = peak_mib()
    begin = time.perf_counter()
    segments = job(*arguments)
    out.send(
        {
            "segments": segments,
            "seconds": round(time.perf_counter() - begin, 1),
            "imports_mib": before,
            "peak_mib": peak_mib(),
        }
    )


def peak_mib() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) >> 10


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.archive")
    parser.add_argument("--videos", type=int, default=50_000)
    parser.add_argument("--minutes", type=int, default=20, help="length of each video")
    parser.add_argument("--out", type=Path, default=RESULTS / "archive.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mien-bench-") as name:
        cfg = load_config(JOB, [f"store={name}/store", "tracking.enabled=false"])
        store = Store.open(f"{name}/store", create=True)
        sources = listed(options.videos)
        probed(store, sources, options.minutes * 60.0)
        planned = measured(gone_through, cfg, options.videos)
        settings = resolve_settings(cfg)
        plan = make_plan(cfg, settings, store, sources, {})
        half_done(store, plan, begin_run(cfg, settings, store, plan, retry=False).run_id)
        again = measured(gone_through, cfg, options.videos)
    result = {"machine": described(), "planned": planned, "gone_on_with": again}
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({k: v for k, v in result.items() if k != "machine"}, indent=2))


if __name__ == "__main__":
    main()
