"""The sample run: drawn segments through the real stages, and what that gave and took.

The rows come to this process and go into a scratch store here: nothing is written on other nodes.
"""

import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from rich.console import Console

from infra import staging
from infra.errors import Resumable
from infra.runs import new_run_id
from infra.store import Store
from infra.tables import write_part
from operators.resolve import resolve
from pipelines.actors import never
from pipelines.finishing import Arrival
from pipelines.forecast import STAGES, Sampled
from pipelines.frame import Segment
from pipelines.planned import FULL, Video, planned_table
from pipelines.pools import Pools
from pipelines.progress import VideoProgress
from pipelines.publish import Batch, Part, build_part, lost_rows, part_rows
from pipelines.settings import Settings
from pipelines.steps import scored_rows
from pipelines.work import batches
from schemas.flow import STAGED, WRITTEN
from schemas.reasons import DEFERRED


class Published(NamedTuple):
    """What a first part of a publish took, a further one in a warm process, and what it gave."""

    first_seconds: float
    further_seconds: float
    part: Part


@dataclass(frozen=True)
class Excerpt(Video):
    """A video as if it consisted of some of its segments alone."""

    chosen: list[Segment]

    @property
    def segments(self) -> list[Segment]:
        return self.chosen

    @property
    def count(self) -> int:
        return len(self.chosen)


def run_sample(
    segments: list[Segment], settings: Settings, pools: Pools, console: Console
) -> tuple[pa.Table, list[Arrival]]:
    """STAGED rows of the segments, in their order, and when each came.

    Raises `Resumable` where the source did not answer.
    """
    flow = scored_rows(planned_table(segments), settings, pools, never)
    came: list[pa.Table] = []
    arrivals: list[Arrival] = []
    seconds = sum(segment["end_seconds"] - segment["start_seconds"] for segment in segments)
    begin = time.perf_counter()
    with VideoProgress(console, seconds, len(segments), "sampling") as progress:
        for batch in batches(flow):
            now = time.perf_counter() - begin
            rows = batch.select(STAGED.names).cast(STAGED)
            came.append(rows)
            for row in rows.select(WRITTEN.names).to_pylist():
                if row["status"] == DEFERRED:
                    raise Resumable("the source did not answer: nothing was changed, run again")
                busy = {stage: row[f"{stage}_seconds"] for stage in STAGES}
                arrivals.append(Arrival(now, busy))
                progress.count(row["end_seconds"] - row["start_seconds"], row["faces_found"])
    found = pa.concat_tables([STAGED.empty_table(), *came])
    known = set(found["segment_id"].to_pylist())
    lost = [segment for segment in segments if segment["segment_id"] not in known]
    if lost:
        found = pa.concat_tables([found, lost_rows(lost)])
    place = {name: index for index, name in enumerate(found["segment_id"].to_pylist())}
    order = pa.array([place[segment["segment_id"]] for segment in segments], pa.int64())
    return found.take(order), arrivals


def measure(
    rows: pa.Table, videos: list[Video], settings: Settings, scratch: Store
) -> tuple[Sampled, Published]:
    """What the sampled STAGED rows weigh, and what publishing them takes; in a scratch store."""
    batch = Batch(
        scratch.root,
        new_run_id(),
        settings.extract_hash,
        settings.cfg.score.abstain_below,
        part_rows(settings.cfg),
    )
    written = staging.write_segments(rows, scratch.root, batch.run_id)
    sizes = dict(scratch.root.list(f"{staging.FOLDER}/{batch.run_id}"))
    by_id = {rel.rsplit("/", 1)[-1].removesuffix(".parquet"): size for rel, size in sizes.items()}
    ids = written["segment_id"].to_pylist()
    tracks, took = [], []
    for index in range(len(rows)):
        row = rows.slice(index, 1)
        begin = time.perf_counter()
        flat = resolve(row, None, batch.abstain_below)
        took.append(time.perf_counter() - begin)
        tracks.append(_begun(row, flat["tracks"]))
    published = _publish(batch, _only_sampled(videos, rows))
    sampled = Sampled(
        written,
        np.array(tracks, np.float64),
        np.array([by_id[name] for name in ids], np.float64),
        np.array(took),
        _table_bytes(batch, published.part),
    )
    return sampled, published


def _begun(segment: pa.Table, tracks: pa.Table) -> int:
    """Tracks that begin here: one that is there at a segment's first sample began before, except
    in a video's first segment."""
    starts = np.asarray(tracks["start_seconds"].to_pylist(), np.float64)
    samples = segment["handover"][0].as_py()
    if segment["start_seconds"][0].as_py() == 0 or not samples:
        return len(starts)
    return int((starts > samples[0]["pts_seconds"]).sum())


def _only_sampled(videos: list[Video], rows: pa.Table) -> list[Video]:
    """The videos of the rows, as if they consisted of these alone and were new."""
    segments: dict[str, list[Segment]] = {}
    for row in rows.select(["segment_id", "video_id", "start_seconds", "end_seconds"]).to_pylist():
        segments.setdefault(row["video_id"], []).append(row)
    return [
        Excerpt(video.row, FULL, video.methods, video.segment_seconds, segments[video.video_id])
        for video in videos
        if video.video_id in segments
    ]


def _publish(batch: Batch, videos: list[Video]) -> Published:
    """Build the parts as a publish does, twice: the first pays for starting a process."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    build = ray.remote(num_cpus=0)(_build_twice).options(scheduling_strategy=here)
    begin = time.perf_counter()
    part, further = ray.get(build.remote(batch, videos))
    return Published(time.perf_counter() - begin - further, further, part)


def _build_twice(batch: Batch, videos: list[Video]) -> tuple[Part, float]:
    build_part(batch, videos, "first")
    begin = time.perf_counter()
    return build_part(batch, videos, "further"), time.perf_counter() - begin


def _table_bytes(batch: Batch, part: Part) -> dict[str, tuple[float, float]]:
    """For each table, the bytes of a file of one row, and of each further row."""
    found = {}
    for file in part.files:
        with batch.store.open(file.path) as source:
            row = pq.read_table(source).slice(0, 1)
        (one,) = write_part(batch.store, file.table, row, "one", batch.footer)
        found[file.table] = (
            float(one.bytes),
            max(0.0, file.bytes - one.bytes) / max(1, file.rows - 1),
        )
    return found
