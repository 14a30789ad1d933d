"""Erase: the flat tables of one video without some of its spans, or without one person's track.

The same function acts on rows that are live and on rows that were scored again, so that both give
the same tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from operators.core.geometry import iou_pairs
from operators.core.tracks import Spans, track_rows, track_score_rows

pc: Any = pyarrow.compute  # its functions are made at import: type checkers see none

Bools = NDArray[np.bool_]

#: A face is the erased one where its box overlaps the erased path's so much at that time. Two faces
#: of one frame rarely do; another detector's or another rate's box of the same face does.
SAME_BOX_IOU = 0.4
#: A track of which so large a share of the faces within the erased span lies on the path is the
#: erased person's, and goes whole: other settings may have linked more faces to it.
SAME_TRACK_SHARE = 0.5


@dataclass(frozen=True)
class Cut:
    """What is to go of a video: a half-open span, or the faces on a path of boxes.

    path_seconds: (P,) rising; path_xyxy: (P, 4) as shares of the frame's width and height. Empty
    for a span of time. A path's span is closed.
    """

    start_seconds: float
    end_seconds: float
    path_seconds: NDArray[np.float64]
    path_xyxy: NDArray[np.float64]

    @property
    def is_path(self) -> bool:
        return len(self.path_seconds) > 0


def without(
    flat: dict[str, pa.Table],
    cuts: Sequence[Cut],
    frame_px: tuple[int, int],
    abstain_below: float,
) -> dict[str, pa.Table]:
    """The tables of one video without what is cut out of it.

    `flat` holds `faces`, `tracks`, `scores`, `track_scores` and perhaps more; `faces_found` of its
    `segments` is counted anew. A track that loses faces begins and ends with those that stay, and
    is scored by them; one without any is gone. `frame_px` is width and height.
    """
    faces = flat["faces"]
    gone = erased_faces(faces, cuts, frame_px)
    inside = _starts_inside(flat["tracks"], cuts)
    if not gone.any() and not inside.any():
        return flat
    left = faces.filter(pa.array(~gone))
    touched = {
        *faces.filter(pa.array(gone))["track_id"].to_pylist(),
        *flat["tracks"].filter(pa.array(inside))["track_id"].to_pylist(),
    }
    spans = _spans(flat["tracks"], faces, gone, cuts)
    scores = flat["scores"].filter(_is_in(flat["scores"]["face_id"], left["face_id"]))
    names = pa.array(sorted(touched), pa.string())
    again = track_score_rows(scores.filter(_is_in(scores["track_id"], names)), spans, abstain_below)
    same = flat["track_scores"].filter(pc.invert(_is_in(flat["track_scores"]["track_id"], names)))
    video_id = faces["video_id"][0].as_py()
    session_id = flat["tracks"]["session_id"][0].as_py()
    cut = {
        **flat,
        "faces": left,
        "tracks": track_rows(left, spans, video_id, session_id),
        "scores": scores,
        "track_scores": pa.concat_tables([same, again]),
    }
    if "embeddings" in flat:
        cut["embeddings"] = flat["embeddings"].filter(
            _is_in(flat["embeddings"]["face_id"], left["face_id"])
        )
    if "segments" in flat:
        cut["segments"] = _counted(flat["segments"], left)
    return cut


def erased_faces(faces: pa.Table, cuts: Sequence[Cut], frame_px: tuple[int, int]) -> Bools:
    """Which faces of one video go. `faces` has FACES columns; returns (N,)."""
    seconds = faces["pts_seconds"].to_numpy()
    tracks = faces["track_id"].to_numpy(zero_copy_only=False)
    boxes = faces["xyxy_px"].combine_chunks().flatten().to_numpy().reshape(-1, 4)
    boxes = boxes / np.array([*frame_px, *frame_px], np.float64)
    gone = np.zeros(len(seconds), np.bool_)
    for cut in cuts:
        if cut.is_path:
            gone |= _on_path(seconds, boxes, tracks, cut)
        else:
            gone |= (seconds >= cut.start_seconds) & (seconds < cut.end_seconds)
    return gone


def _on_path(
    seconds: NDArray[np.float64], boxes: NDArray[np.float64], tracks: NDArray, cut: Cut
) -> Bools:
    within = (seconds >= cut.start_seconds) & (seconds <= cut.end_seconds)
    expected = np.stack(
        [np.interp(seconds, cut.path_seconds, side) for side in cut.path_xyxy.T], axis=1
    )
    same = within & (iou_pairs(boxes, expected) >= SAME_BOX_IOU)
    names, of_face = np.unique(tracks, return_inverse=True)
    there = np.bincount(of_face[within], minlength=len(names))
    matched = np.bincount(of_face[same], minlength=len(names))
    theirs = (matched > 0) & (matched >= SAME_TRACK_SHARE * there)
    return same | theirs[of_face]


def _spans(tracks: pa.Table, faces: pa.Table, gone: Bools, cuts: Sequence[Cut]) -> Spans:
    """Where the tracks that keep faces start and end, in the order of `tracks`."""
    seconds = faces["pts_seconds"].to_numpy()
    names, of_face = np.unique(
        faces["track_id"].to_numpy(zero_copy_only=False), return_inverse=True
    )
    first, last = _ends(seconds, of_face, len(names))
    low, high = _ends(seconds[~gone], of_face[~gone], len(names))
    index = {name: number for number, name in enumerate(names.tolist())}
    kept, starts, ends = [], [], []
    for row in tracks.select(["track_id", "start_seconds", "end_seconds"]).to_pylist():
        at = index[row["track_id"]]
        if low[at] > high[at]:  # no face is left
            continue
        start, end = row["start_seconds"], row["end_seconds"]
        kept.append(row["track_id"])
        starts.append(low[at] if low[at] > first[at] or _inside(start, cuts) else start)
        ends.append(high[at] if high[at] < last[at] or _inside(end, cuts) else end)
    return Spans(kept, np.array(starts, np.float64), np.array(ends, np.float64))


def _ends(
    seconds: NDArray[np.float64], group: NDArray[np.int64], groups: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """First and last time of each group: (groups,) each; inf and -inf where it is empty."""
    low, high = np.full(groups, np.inf), np.full(groups, -np.inf)
    np.minimum.at(low, group, seconds)
    np.maximum.at(high, group, seconds)
    return low, high


def _inside(seconds: float, cuts: Sequence[Cut]) -> bool:
    """Whether a time lies in a span that is cut out."""
    return any(not c.is_path and c.start_seconds <= seconds < c.end_seconds for c in cuts)


def _starts_inside(tracks: pa.Table, cuts: Sequence[Cut]) -> Bools:
    """Tracks with an end in a span that is cut out: samples that only link may lie there alone."""
    ends = [tracks[name].to_pylist() for name in ("start_seconds", "end_seconds")]
    found = [_inside(low, cuts) or _inside(high, cuts) for low, high in zip(*ends, strict=True)]
    return np.array(found, np.bool_)


def _counted(segments: pa.Table, faces: pa.Table) -> pa.Table:
    found = faces["segment_id"].value_counts()
    counts = dict(
        zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True)
    )
    place = segments.schema.get_field_index("faces_found")
    numbers = [counts.get(name, 0) for name in segments["segment_id"].to_pylist()]
    column = segments.schema.field(place)
    return segments.set_column(place, column, pa.array(numbers, column.type))


def _is_in(column: pa.ChunkedArray, values: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    return pc.is_in(column, values)
