"""Resolve: one video's segments become flat tables, with its faces linked into tracks.

Linking happens here, once for the whole video, on the boxes that Extract handed over. So tracks
cannot depend on where the video was cut, and need no repair at the borders.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators.core.ids import face_id, track_id
from operators.core.link import link
from operators.core.operator import flatten
from operators.core.tracks import Spans, track_rows, track_score_rows
from schemas.tables import EMBEDDINGS, FACE_MEASURES, FACES, KEPT, SCORES


@dataclass(frozen=True)
class Linked:
    """Tracks of one video: `of_face (faces,)` indexes the ids of `spans`."""

    of_face: NDArray[np.int64]
    spans: Spans


def resolve(
    segments: pa.Table, session_id: str | None, abstain_below: float
) -> dict[str, pa.Table]:
    """Flat `faces`, `tracks`, `scores` and `track_scores` of one video, and `embeddings` if any.

    `segments` are all its rows as staged, sorted by start; those that failed are empty.
    """
    face_offsets, faces = flatten(segments["faces"])
    linked = link_video(segments, face_offsets.to_numpy(), len(faces))
    video_id = segments["video_id"][0].as_py()
    face_table = _faces(segments, face_offsets.to_numpy(), faces, linked, video_id)
    scores = _scores(segments, face_offsets.to_numpy(), face_table)
    flat = {
        "faces": face_table,
        "tracks": track_rows(face_table, linked.spans, video_id, session_id),
        "scores": scores,
        "track_scores": track_score_rows(scores, linked.spans, abstain_below),
    }
    _, kept = flatten(segments["kept_embeddings"])
    return {**flat, "embeddings": _embeddings(kept, face_table)} if len(kept) else flat


def link_video(segments: pa.Table, face_offsets: NDArray[np.int32], faces: int) -> Linked:
    """Link every sample of the video; keep the tracks that hold a scored face."""
    sample_offsets, samples = flatten(segments["handover"])
    first_face = np.repeat(face_offsets[:-1], np.diff(sample_offsets.to_numpy()))
    ticks = samples.field("pts_ticks").to_numpy()
    seconds = samples.field("pts_seconds").to_numpy()
    boxes = _per_sample(samples.field("xyxy_px"), width=4)
    scores = _per_sample(samples.field("detection_scores"))
    face_index = _per_sample(samples.field("face_index"))
    cuts = samples.field("cut").to_numpy(zero_copy_only=False)
    labels = link(seconds, boxes, scores, cuts)

    of_face = np.full(faces, -1, np.int64)
    spans: dict[int, tuple[int, int]] = {}
    for sample, (tracks, rows) in enumerate(zip(labels, face_index, strict=True)):
        for track, row in zip(tracks, rows, strict=True):
            first, _ = spans.get(int(track), (sample, sample))
            spans[int(track)] = (first, sample)
            if row >= 0:
                of_face[first_face[sample] + row] = track
    kept = sorted(set(of_face.tolist()), key=lambda track: (spans[track][0], track))
    place = {track: number for number, track in enumerate(kept)}
    ids: list[str] = []
    peers: dict[int, int] = {}
    video_id = segments["video_id"][0].as_py()
    for track in kept:
        tick = int(ticks[spans[track][0]])
        ids.append(track_id(video_id, tick, peers.get(tick, 0)))
        peers[tick] = peers.get(tick, 0) + 1
    firsts = [spans[track][0] for track in kept]
    lasts = [spans[track][1] for track in kept]
    renumbered = np.array([place[int(track)] for track in of_face], np.int64)
    return Linked(renumbered, Spans(ids, seconds[firsts], seconds[lasts]))


def _per_sample(column: pa.Array, width: int = 1) -> list[NDArray]:
    offsets = column.offsets.to_numpy()
    values = column.values.flatten() if width > 1 else column.values
    flat = values.to_numpy()
    return [
        flat[low * width : high * width].reshape(-1, width) if width > 1 else flat[low:high]
        for low, high in itertools.pairwise(offsets)
    ]


def _faces(
    segments: pa.Table,
    offsets: NDArray[np.int32],
    faces: pa.StructArray,
    linked: Linked,
    video_id: str,
) -> pa.Table:
    counts = np.diff(offsets)
    ticks = faces.field("pts_ticks").to_numpy()
    ids, place, last = [], 0, None
    for tick in ticks.tolist():
        place = place + 1 if tick == last else 0
        last = tick
        ids.append(face_id(video_id, tick, place))
    columns: dict[str, object] = {
        "face_id": pa.array(ids, pa.string()),
        "segment_id": _repeat(segments["segment_id"], counts),
        "video_id": pa.array([video_id] * len(ids), pa.string()),
        "track_id": pa.array([linked.spans.ids[track] for track in linked.of_face], pa.string()),
        "anonymizer": _repeat(segments["anonymizer"], counts),
        **{name.name: faces.field(name.name) for name in FACE_MEASURES},
    }
    return pa.table([columns[name] for name in FACES.names], schema=FACES)


def _repeat(column: pa.ChunkedArray, counts: NDArray[np.int32]) -> pa.Array:
    return column.combine_chunks().take(pa.array(np.repeat(np.arange(len(column)), counts)))


def _scores(segments: pa.Table, offsets: NDArray[np.int32], faces: pa.Table) -> pa.Table:
    score_offsets, scores = flatten(segments["scores"])
    first_face = np.repeat(offsets[:-1], np.diff(score_offsets.to_numpy()))
    rows = pa.array(scores.field("face_index").to_numpy() + first_face)
    columns = {
        name: faces[name].combine_chunks().take(rows)
        for name in ("face_id", "video_id", "track_id", "pts_seconds")
    }
    for name in SCORES.names[len(columns) :]:
        columns[name] = scores.field(name)
    return pa.table([columns[name] for name in SCORES.names], schema=SCORES)


def _embeddings(kept: pa.StructArray, faces: pa.Table) -> pa.Table:
    """One row a face: a segment whose vectors are kept keeps that of each of its faces."""
    if len(kept) != len(faces):
        raise ValueError(f"{len(faces)} faces, and {len(kept)} of their vectors were kept")
    columns = {name: faces[name] for name in ("face_id", "video_id", "track_id", "pts_seconds")} | {
        field.name: kept.field(field.name) for field in KEPT
    }
    return pa.table([columns[name] for name in EMBEDDINGS.names], schema=EMBEDDINGS)
