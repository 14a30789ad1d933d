"""The rows of tracks: what their faces come to together."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from operators.core.operator import typed
from operators.core.verdict import ALL_LABELS, verdict_columns
from schemas.tables import TABLES, TRACK_SCORES, TRACKS

pc: Any = pyarrow.compute  # its functions are made at import: type checkers see none


@dataclass(frozen=True)
class Spans:
    """Tracks of one video, in their order: `ids`, and where each starts and ends, (T,) seconds."""

    ids: list[str]
    starts_seconds: NDArray[np.float64]
    ends_seconds: NDArray[np.float64]


def track_rows(faces: pa.Table, spans: Spans, video_id: str, session_id: str | None) -> pa.Table:
    """`tracks` of a video. `faces` are all of its FACES rows; each is of one of the tracks."""
    place = _places(spans)
    of_face = np.array([place[name] for name in faces["track_id"].to_pylist()], np.int64)
    counts = np.bincount(of_face, minlength=len(spans.ids))

    def mean(column: str) -> NDArray[np.float32]:
        values = faces[column].to_numpy().astype(np.float64)
        sums = np.bincount(of_face, values, minlength=len(spans.ids))
        return (sums / counts).astype(np.float32)

    columns = {
        "track_id": spans.ids,
        "video_id": [video_id] * len(spans.ids),
        "session_id": pa.array([session_id] * len(spans.ids), pa.string()),
        "start_seconds": spans.starts_seconds,
        "end_seconds": spans.ends_seconds,
        "faces": counts.astype(np.int32),
        "mean_sharpness": mean("sharpness"),
        "mean_brightness": mean("brightness"),
        "mean_size_px": mean("size_px"),
        "mean_detection_score": mean("detection_score"),
    }
    return pa.table(columns, schema=TRACKS)


def track_score_rows(scores: pa.Table, spans: Spans, abstain_below: float) -> pa.Table:
    """`track_scores` of a video: mean probabilities over a track's faces, method by method.

    `scores` are SCORES rows, in order of time, of some of the tracks.
    """
    place = _places(spans)
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
        track = [place[name] for name in names]
        columns = {
            "track_id": names,
            "video_id": pa.array([rows["video_id"][0].as_py()] * len(names)),
            "start_seconds": spans.starts_seconds[track],
            "end_seconds": spans.ends_seconds[track],
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


def _places(spans: Spans) -> dict[str, int]:
    return {name: index for index, name in enumerate(spans.ids)}
