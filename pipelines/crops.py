"""Crops: anonymized faces of an archive in one Parquet file, for people to label."""

import hashlib
import heapq
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from infra.cluster import cluster
from infra.errors import ConfigurationError, SourceError, interruption
from infra.listing import list_sources
from infra.stopping import stoppable
from infra.store import Store
from operators.anonymize import resolved
from operators.core.crops import flatten_crops
from operators.core.operator import empty_values
from operators.resolve import resolve
from pipelines.faces import ANONYMIZER_KEY
from pipelines.gate import require_governance
from pipelines.plan import make_plan
from pipelines.planned import Plan, planned_table
from pipelines.progress import VideoProgress
from pipelines.publish import lost_rows
from pipelines.settings import resolve_settings
from pipelines.steps import crop_segments
from pipelines.work import batches
from schemas.config import Config, Score
from schemas.flow import FACES_FILE, STAGED

ROWS_A_GROUP = 1000

Face = dict[str, Any]
#: A segment's row as resolve reads it, and the PNG of each of its faces.
Cropped = tuple[pa.Table, list[bytes]]


def write_crops(cfg: Config, out: Path, sample: int | None, console: Console) -> tuple[int, int]:
    """Write safe crops of the faces in `cfg.source` to `out`; counts of (faces, broken spans).

    With `sample`, that many faces are drawn, each as likely as any other; the same ones however
    often and on however many workers it is done. `out` appears whole or not at all.

    Raises the errors of `infra.errors`; nothing is done before all is checked.
    """
    require_governance(cfg)
    settings = resolve_settings(cfg.model_copy(update={"score": Score()}))  # nothing is scored
    if not cfg.source:
        raise ConfigurationError("no source: name it on the command line or as `source:`")
    if cfg.privacy.anonymizer.name == "none":
        raise ConfigurationError(
            "privacy.anonymizer=none: the file would hold raw faces; choose an anonymizer"
        )
    if not out.parent.is_dir():
        raise ConfigurationError(f"{out.parent}: no such folder")
    if out.exists():
        raise ConfigurationError(
            f"{out}: is there already, perhaps with labels: name another file, or remove it"
        )
    sources, skipped = list_sources(
        cfg.source, cfg.plan.include, cfg.plan.exclude, cfg.plan.min_age_seconds
    )
    partial = out.with_name(f".{out.name}.new")
    with (
        tempfile.TemporaryDirectory() as scratch,  # ids of a key that is forgotten, unless given
        interruption("nothing was written; the same command starts again"),
        stoppable(cfg.run.stop_at),
        cluster(cfg),
    ):
        store = Store.open(scratch, create=True)
        plan = make_plan(cfg, settings, store, sources, skipped)
        if not plan.count:
            raise SourceError(f"{cfg.source}: none of {len(sources)} files is a video to read")
        flow = crop_segments(planned_table(list(plan.segments)), settings)
        broken: list[str] = []
        anonymizer, strength = resolved(cfg.privacy)
        note = json.dumps({"name": anonymizer.name, "strength": strength}).encode()
        schema = FACES_FILE.with_metadata({ANONYMIZER_KEY: note})
        try:
            what = "cropping"
            with VideoProgress(console, plan.seconds, plan.count, what) as progress:
                faces = _faces(batches(flow), plan, progress, broken)
                chosen = faces if sample is None else _sampled(faces, sample)
                count = _write(partial, chosen, schema)
            partial.replace(out)
        finally:
            partial.unlink(missing_ok=True)
    return count, len(broken) + plan.unread


def _faces(
    found: Iterable[pa.Table], plan: Plan, progress: VideoProgress, broken: list[str]
) -> Iterator[Face]:
    """The faces of all videos in the plan's order, whatever order their segments come in.

    A video's tracks are known once all its segments are there. What never comes is `broken`.
    """
    videos = [video for video in plan.videos if video.count]
    rows: dict[str, list[Cropped]] = defaultdict(list)
    turn = 0
    for batch in found:
        for index in range(len(batch)):
            row = batch.slice(index, 1)
            video_id, begin, end = (
                row[name][0].as_py() for name in ("video_id", "start_seconds", "end_seconds")
            )
            if row["reason"][0].as_py():
                broken.append(row["segment_id"][0].as_py())
            _, crops = flatten_crops(row["crops"])
            rows[video_id].append((_as_staged(row), [_png(crop) for crop in crops]))
            progress.count(end - begin, len(crops))
        while turn < len(videos) and len(rows[videos[turn].video_id]) == videos[turn].count:
            yield from _tracked(rows.pop(videos[turn].video_id), turn)
            turn += 1
    for number, video in enumerate(videos[turn:], start=turn):
        came = {table["segment_id"][0].as_py() for table, _ in rows[video.video_id]}
        lost = [segment for segment in video.segments if segment["segment_id"] not in came]
        broken += [segment["segment_id"] for segment in lost]
        empty = [(lost_rows([segment]), []) for segment in lost]
        yield from _tracked([*rows.pop(video.video_id), *empty], number)


def _as_staged(row: pa.Table) -> pa.Table:
    """The row as resolve reads it: without crops and without scores."""
    columns: dict[str, Any] = dict(empty_values(STAGED, 1))
    columns |= {name: row[name] for name in row.column_names if name in STAGED.names}
    return pa.table([columns[name] for name in STAGED.names], schema=STAGED)


def _tracked(segments: list[Cropped], number: int) -> Iterator[Face]:
    segments.sort(key=lambda item: item[0]["start_seconds"][0].as_py())
    faces = resolve(pa.concat_tables([table for table, _ in segments]), None, 0.0)["faces"]
    images = [image for _, images in segments for image in images]
    names = ("face_id", "video_id", "track_id", "pts_seconds")
    columns = (faces[name].to_pylist() for name in names)
    for image, face_id, video_id, track_id, pts in zip(images, *columns, strict=True):
        yield {
            "image": image,
            "label": None,
            "subject": None,
            "clip_id": track_id,
            "pts_seconds": pts,
            # a place in the draw that does not change with the key
            "draw": (number, face_id.removeprefix(video_id)),
        }


def _sampled(faces: Iterator[Face], count: int) -> list[Face]:
    """The `count` faces whose places hash lowest: a fair draw that order does not change."""

    def place(face: Face) -> bytes:
        return hashlib.sha256("{}{}".format(*face["draw"]).encode()).digest()

    return sorted(heapq.nsmallest(count, faces, key=place), key=lambda face: face["draw"])


def _png(crop: np.ndarray) -> bytes:
    done, data = cv2.imencode(".png", crop[..., ::-1])
    assert done
    return data.tobytes()


def _write(path: Path, faces: Iterable[Face], schema: pa.Schema) -> int:
    count = 0
    group: list[Face] = []
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for face in faces:
            group.append(face)
            if len(group) == ROWS_A_GROUP:
                writer.write_table(pa.Table.from_pylist(group, schema))
                count, group = count + len(group), []
        writer.write_table(pa.Table.from_pylist(group, schema))
    return count + len(group)
