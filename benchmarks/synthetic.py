"""Rows of videos that never were, as a run would have staged them: for stores of any size.

One face a sample, four samples a second, a shot cut every so often; every box twice as often, for
linking. Numbers are random, so nothing compresses better than real rows would.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators.core.verdict import softmax, verdict_columns
from schemas.flow import FACE, LINK_SAMPLE, SCORE, STAGED
from schemas.tables import LABELS

SCORED_A_SECOND, LINKED_A_SECOND = 4, 8
TICKS_A_SECOND = 12_800  # the time base that benchmarks.archive gives its videos
SHOT_SECONDS = 20
WIDTH_PX, HEIGHT_PX = 1280, 720


def staged_video(
    segments: Sequence[dict[str, Any]], hashes: dict[str, str], abstain_below: float
) -> pa.Table:
    """STAGED rows of one video's PLANNED rows, which lie end to end in whole seconds.

    `hashes` has the score_hash of every method.
    """
    rng = np.random.default_rng(int(segments[0]["video_id"][:12], 16))
    bounds = [(row["start_seconds"], row["end_seconds"]) for row in segments]
    samples = np.array([round((end - start) * LINKED_A_SECOND) for start, end in bounds])
    faces = samples * SCORED_A_SECOND // LINKED_A_SECOND
    boxes = _boxes(int(samples.sum()), rng)
    columns: dict[str, Any] = {
        name: [row[name] for row in segments]
        for name in ("segment_id", "video_id", "start_seconds", "end_seconds")
    }
    columns |= {
        "frames_sampled": faces,
        "faces_found": faces,
        "seconds_read": [end - start for start, end in bounds],
        "faces": _lists(faces, _faces(boxes, rng)),
        "handover": _lists(samples, _links(boxes, faces, rng)),
        "scores": _lists(faces * len(hashes), _scores(faces, hashes, abstain_below, rng)),
    }
    same = {"faces_dropped": 0, "cuts": 3, "decoder": "pyav", "device": "cpu", "status": "ok"}
    same |= {"reason": None, "anonymizer": "downsample", "kept_embeddings": []}
    same |= {f"{step}_seconds": 0.5 for step in ("extract", "anonymize", "embed", "score")}
    columns |= {name: [value] * len(segments) for name, value in same.items()}
    return pa.table([_array(columns[field.name], field.type) for field in STAGED], schema=STAGED)


def _boxes(samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(samples, 4) xyxy px of a face that sways, somewhere else in every shot."""
    shots = -(-samples // (SHOT_SECONDS * LINKED_A_SECOND))
    place = rng.uniform((100, 100), (800, 400), (shots, 2))
    center = np.repeat(place, SHOT_SECONDS * LINKED_A_SECOND, axis=0)[:samples]
    center += 20 * np.sin(np.arange(samples) / 10)[:, None] + rng.normal(0, 1, (samples, 2))
    side = 150 + rng.normal(0, 2, (samples, 1))
    return np.concatenate([center, center + side], axis=1).astype(np.float32)


def _faces(boxes: NDArray[np.float32], rng: np.random.Generator) -> pa.StructArray:
    scored = boxes[:: LINKED_A_SECOND // SCORED_A_SECOND]
    rows = len(scored)
    corner, side = np.tile(scored[:, :2], 5), scored[:, 2] - scored[:, 0]
    spots = np.array([0.3, 0.4, 0.7, 0.4, 0.5, 0.6, 0.35, 0.8, 0.65, 0.8], np.float32)
    landmarks = corner + side[:, None] * spots + rng.normal(0, 1, (rows, 10))
    ticks = np.arange(rows) * (TICKS_A_SECOND // SCORED_A_SECOND)
    columns = {
        "pts_seconds": ticks / TICKS_A_SECOND,
        "pts_ticks": ticks,
        "xyxy_px": _vectors(scored),
        "detection_score": rng.uniform(0.6, 1, rows),
        "landmarks_px": _vectors(landmarks.astype(np.float32)),
        "sharpness": rng.uniform(10, 500, rows),
        "brightness": rng.uniform(0.2, 0.8, rows),
        "size_px": side,
        "yaw_degrees": rng.uniform(-30, 30, rows),
        "pitch_degrees": rng.uniform(-20, 20, rows),
        "roll_degrees": rng.uniform(-10, 10, rows),
        "occlusion": rng.uniform(0, 0.5, rows),
    }
    return _struct(columns, FACE)


def _links(
    boxes: NDArray[np.float32], faces: NDArray[np.int64], rng: np.random.Generator
) -> pa.StructArray:
    rows, step = len(boxes), LINKED_A_SECOND // SCORED_A_SECOND
    ticks = np.arange(rows) * (TICKS_A_SECOND // LINKED_A_SECOND)
    index = np.full(rows, -1)
    index[::step] = np.concatenate([np.arange(count) for count in faces])
    cut = np.arange(rows) % (SHOT_SECONDS * LINKED_A_SECOND) == 0
    cut[0] = False
    one_each = np.ones(rows, np.int64)
    columns = {
        "pts_ticks": ticks,
        "pts_seconds": ticks / TICKS_A_SECOND,
        "cut": cut,
        "xyxy_px": _lists(one_each, _vectors(boxes)),
        "detection_scores": _lists(one_each, pa.array(rng.uniform(0.6, 1, rows), pa.float32())),
        "face_index": _lists(one_each, pa.array(index, pa.int32())),
    }
    return _struct(columns, LINK_SAMPLE)


def _scores(
    faces: NDArray[np.int64], hashes: dict[str, str], abstain_below: float, rng: np.random.Generator
) -> pa.StructArray:
    count, rows = len(hashes), int(faces.sum()) * len(hashes)
    shares = softmax(rng.normal(0, 2, (rows, len(LABELS))).astype(np.float32))
    columns: dict[str, Any] = {
        "face_index": np.concatenate([np.repeat(np.arange(each), count) for each in faces]),
        "method": list(hashes) * (rows // count),
        "score_hash": list(hashes.values()) * (rows // count),
        **verdict_columns(shares, abstain_below),
    }
    return _struct(columns, SCORE)


def _struct(columns: dict[str, Any], type: pa.StructType) -> pa.StructArray:
    arrays = [_array(columns[field.name], field.type) for field in type]
    return pa.StructArray.from_arrays(arrays, fields=list(type))


def _array(values: Any, type: pa.DataType) -> pa.Array:
    return values.cast(type) if isinstance(values, pa.Array) else pa.array(values, type)


def _vectors(values: NDArray[np.float32]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def _lists(counts: NDArray[np.int64], values: pa.Array) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)
