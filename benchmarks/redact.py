"""Redacted frames a second, verification included, against the `deface` command line.

    python -m benchmarks.redact --clip CLIP.mp4

Both are processes of their own, on all cores, and take turns. Start-up is excluded by difference:
the same on the clip's first two frames. mien runs in its isolated child, without Ray; both draw
solid boxes at full size. deface runs on OpenCV, its only backend among the pinned packages: its
other one needs `onnx` and `onnxruntime`, and `--backend onnxrt` measures that where they are. What
is left is counted on both copies by one detector, at one threshold.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import av
import pyarrow as pa

from benchmarks.end_to_end import CLIP
from benchmarks.machine import RESULTS, described
from infra.child import Isolated, Limits
from infra.listing import list_sources
from infra.served import parent_file
from infra.sources import open_source
from operators.core.detect import FaceDetector
from operators.core.operator import Step, empty_values
from operators.core.source import FrameSource
from operators.probe import Probe
from operators.redact import Means, Redact
from schemas.config import Config
from schemas.flow import SOURCE_FILES
from schemas.redaction import TO_REDACT

LEFT_THRESHOLD = 0.2


def first_frames(clip: Path, out: Path, count: int | None) -> int:
    """Copy the clip's first packets of video; how many there are."""
    written = 0
    with av.open(str(clip), "r") as source, av.open(str(out), "w") as copy:
        video = copy.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is None or written == count:
                break
            packet.stream = video
            copy.mux(packet)
            written += 1
    return written


def mien(clip: Path, out: Path) -> None:
    """Redact one clip as an actor of `mien redact` does."""
    cfg = Config()
    listed, _ = list_sources(str(clip), (), (), 0)
    listed = listed.append_column(SOURCE_FILES.field("source_id"), pa.array(["0"]))
    files = listed.select(SOURCE_FILES.names)
    with clip.open("rb") as file:
        probed = Probe(lambda row: file)(files.drop_columns(["uri"]))
    row = pa.Table.from_pylist([{**files.to_pylist()[0], **probed.to_pylist()[0]}], TO_REDACT)
    steps = (Step(Redact, (cfg.redact, Means(threads=os.cpu_count() or 1), parent_file)),)
    isolated = Isolated(steps, TO_REDACT, open_source, empty_values, Limits())
    with closing(isolated):
        done = isolated(row).to_pylist()[0]
    assert done["status"] == "ok", done["reason"]
    out.write_bytes(done["copy"])


def commands(clip: Path, out: Path, backend: str) -> dict[str, list[str]]:
    deface = Path(sys.executable).with_name("deface")
    drawn = ["--replacewith", "solid", "--boxes", "--backend", backend]
    return {
        "deface": [str(deface), str(clip), "-o", str(out), *drawn],
        "mien": [sys.executable, "-m", "benchmarks.redact", "--one", str(clip), str(out)],
    }


def timed(command: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a process and its children."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - begin
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def left(path: Path) -> int:
    """Detections in a copy, wherever they lie: under masks too."""
    with path.open("rb") as file:
        from operators.core.frames import Pixels
        from operators.core.media import probe

        info, pixels = probe(file), Pixels()
        detector = FaceDetector("cpu", max(info.width_px, info.height_px), precision="f32")
        height, width = detector.fit_size(info.width_px, info.height_px)
        return sum(
            len(detector([pixels.rgb_fit(frame, width, height)], LEFT_THRESHOLD)[0])
            for _, frame in FrameSource(file, info).frames(0)
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.redact")
    parser.add_argument("--clip", type=Path, default=CLIP)
    parser.add_argument("--frames", type=int, help="of the clip; by default all")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--backend", default="opencv", help="of deface: onnxrt or opencv")
    parser.add_argument("--one", type=Path, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS / "redact.json")
    options = parser.parse_args()
    if options.one:
        mien(*options.one)
        return
    turns: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="mien-bench-", dir="/dev/shm") as name:
        folder = Path(name)
        clip, start, out = folder / "clip.mp4", folder / "start.mp4", folder / "out.mp4"
        frames = first_frames(options.clip, clip, options.frames) - 2
        first_frames(options.clip, start, 2)
        faces: dict[str, int] = {}
        for _ in range(options.turns):
            turn: dict[str, Any] = {}
            for way in ("deface", "mien"):
                idle = timed(commands(start, out, options.backend)[way])
                whole = timed(commands(clip, out, options.backend)[way])
                wall, cpu = (b - a for a, b in zip(idle, whole, strict=True))
                turn[way] = {
                    "frames_per_second": round(frames / wall, 1),
                    "frames_per_cpu_second": round(frames / cpu, 1),
                    "start_up_seconds": round(idle[0], 1),
                }
                if way not in faces:
                    faces[way] = left(out)
            turns.append(turn)
            print(json.dumps(turn), flush=True)
    result = {
        "machine": described(),
        "frames": frames + 2,
        "deface_backend": options.backend,
        **{
            f"ratio_of_{unit}": round(
                statistics.median(t["mien"][unit] / t["deface"][unit] for t in turns), 2
            )
            for unit in ("frames_per_second", "frames_per_cpu_second")
        },
        "detections_left": faces,
        "turns": turns,
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({k: v for k, v in result.items() if k != "machine"}, indent=2))


if __name__ == "__main__":
    main()
