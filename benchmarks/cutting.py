"""Cutting never shows: one clip looped to minutes, scored at several segment lengths, compared.

    python -m benchmarks.cutting --clip CLIP.mp4

Faces, tracks and scores must be equal, to the bit, whatever `plan.segment_seconds` is.
"""

import argparse
import json
import tempfile
from pathlib import Path

import av
import pyarrow as pa
from rich.console import Console

from benchmarks.end_to_end import CLIP
from benchmarks.machine import RESULTS, described
from infra.offline import disable_telemetry
from infra.store import Store
from infra.tables import table_rows
from pipelines.demo import GOVERNANCE
from pipelines.score import score
from schemas.config import Config

TABLES = ("faces", "tracks", "scores", "track_scores")
#: A segment's length is part of what is hashed, so that these differ by intent.
BY_CUTTING = {"segment_id", "score_hash"}


def loop(clip: Path, out: Path, seconds: float) -> None:
    """Repeat the clip's coded video, as it is, until `seconds` are full."""
    with av.open(str(out), "w") as target:
        stream = None
        offset = 0
        tick = None
        while tick is None or offset * tick < seconds:
            with av.open(str(clip)) as source:
                video = source.streams.video[0]
                stream = stream or target.add_stream_from_template(video)
                step, tick = video.duration, video.time_base
                for packet in source.demux(video):
                    if packet.dts is None or packet.pts is None:
                        continue
                    packet.dts += offset
                    packet.pts += offset
                    packet.stream = stream
                    target.mux(packet)
            assert step is not None
            offset += step


def scored(archive: Path, store: Path, key: str, segment_seconds: float) -> dict[str, pa.Table]:
    """The published tables of the archive at one segment length; equal keys give equal ids."""
    store.mkdir()
    (store / "key").write_text(key)
    (store / "key").chmod(0o600)
    cfg = Config.model_validate(
        {
            "source": str(archive),
            "store": str(store),
            "governance": GOVERNANCE.model_dump(),
            "plan": {"segment_seconds": segment_seconds},
            "tracking": {"enabled": False},
        }
    )
    score(cfg, Console(stderr=True))
    opened = Store.open(str(store), create=False)
    return {name: table_rows(opened.root, opened.latest(), name) for name in TABLES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--clip", type=Path, default=CLIP)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--segment-seconds", type=float, nargs="+", default=(5, 60, 3600))
    parser.add_argument("--out", type=Path, default=RESULTS / "cutting.json")
    options = parser.parse_args()
    disable_telemetry()
    with tempfile.TemporaryDirectory(prefix="mien-cutting-") as name:
        folder = Path(name)
        (folder / "archive").mkdir()
        loop(options.clip, folder / "archive" / "loop.mp4", options.minutes * 60)
        results = {
            seconds: scored(folder / "archive", folder / f"store-{seconds}", "ab" * 32, seconds)
            for seconds in options.segment_seconds
        }
    first = results[options.segment_seconds[0]]
    equal = {}
    for seconds, tables in results.items():
        for table in TABLES:
            columns = [n for n in first[table].column_names if n not in BY_CUTTING]
            equal[f"{table} at {seconds:g} s"] = (
                tables[table].select(columns).equals(first[table].select(columns))
            )
    result = {
        "machine": described(),
        "minutes": options.minutes,
        "rows": {table: len(first[table]) for table in TABLES},
        "equal": equal,
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    if not all(equal.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
