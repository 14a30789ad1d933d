"""Resolve: one video's segments become flat tables, with its faces linked into tracks.

Linking happens here, once for the whole video, on the boxes that Extract handed over. So tracks
cannot depend on where the video was cut, and need no repair at the borders.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from operators.core.ids import face_id, track_id
from operators.core.link import link
from operators.core.operator import flatten, typed
from operators.core.verdict import ALL_LABELS, verdict_columns
from schemas.tables import FACE_MEASURES, FACES, SCORES, TABLES, TRACK_SCORES, TRACKS


@dataclass(frozen=True)
class Linked:
    """Tracks of one video: `of_face (faces,)` indexes `ids`; starts and ends in seconds."""

    of_face: NDArray[np.int64]
    ids: list[str]
    starts_seconds: NDArray[np.float64]
    ends_seconds: NDArray[np.float64]


def resolve(
    segments: pa.Table, session_id: str | None, abstain_below: float
) -> dict[str, pa.Table]:
    """Flat `faces`, `tracks`, `scores` and `track_scores` of one video.

    `segments` are all its rows as staged, sorted by start; those that failed are empty.
    """
    face_offsets, faces = flatten(segments["faces"])
    linked = link_video(segments, face_offsets.to_numpy(), len(faces))
    video_id = segments["video_id"][0].as_py()
    face_table = _faces(segments, face_offsets.to_numpy(), faces, linked, video_id)
    scores = _scores(segments, face_offsets.to_numpy(), face_table)
    return {
        "faces": face_table,
        "tracks": _tracks(face_table, linked, video_id, session_id),
        "scores": scores,
        "track_scores": _track_scores(scores, linked, abstain_below),
    }


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
    return Linked(renumbered, ids, seconds[firsts], seconds[lasts])


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
        "track_id": pa.array([linked.ids[track] for track in linked.of_face], pa.string()),
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


def _tracks(faces: pa.Table, linked: Linked, video_id: str, session_id: str | None) -> pa.Table:
    counts = np.bincount(linked.of_face, minlength=len(linked.ids))

    def mean(column: str) -> NDArray[np.float32]:
        values = faces[column].to_numpy().astype(np.float64)
        sums = np.bincount(linked.of_face, values, minlength=len(linked.ids))
        return (sums / counts).astype(np.float32)

    columns = {
        "track_id": linked.ids,
        "video_id": [video_id] * len(linked.ids),
        "session_id": pa.array([session_id] * len(linked.ids), pa.string()),
        "start_seconds": linked.starts_seconds,
        "end_seconds": linked.ends_seconds,
        "faces": counts.astype(np.int32),
        "mean_sharpness": mean("sharpness"),
        "mean_brightness": mean("brightness"),
        "mean_size_px": mean("size_px"),
        "mean_detection_score": mean("detection_score"),
    }
    return pa.table(columns, schema=TRACKS)


def _track_scores(scores: pa.Table, linked: Linked, abstain_below: float) -> pa.Table:
    """Mean probabilities over the track's faces, method by method."""
    tables = []
    for method in scores["method"].unique().to_pylist():
        rows = scores.filter(pc.field("method") == method)
        names, inverse = np.unique(rows["track_id"].to_numpy(), return_inverse=True)
        counts = np.bincount(inverse, minlength=len(names))
        known = [label for label in ALL_LABELS if rows[label].null_count == 0]
        means = np.stack(
            [
                np.bincount(inverse, rows[label].to_numpy().astype(np.float64)) / counts
                for label in known
            ],
            axis=1,
        )
        place = {track: index for index, track in enumerate(linked.ids)}
        track = [place[name] for name in names]
        columns = {
            "track_id": names,
            "video_id": pa.array([rows["video_id"][0].as_py()] * len(names)),
            "start_seconds": linked.starts_seconds[track],
            "end_seconds": linked.ends_seconds[track],
            "faces": counts.astype(np.int32),
            "method": [method] * len(names),
            "score_hash": [rows["score_hash"][0].as_py()] * len(names),
            **verdict_columns(means.astype(np.float32), abstain_below),
        }
        arrays = [
            typed(columns[name], TRACK_SCORES.field(name).type) for name in TRACK_SCORES.names
        ]
        tables.append(pa.table(arrays, schema=TRACK_SCORES))
    return pa.concat_tables(tables) if tables else TABLES["track_scores"].empty_table()
