"""Synthetic rows that meet every expectation: two people side by side, four times a second.

A test takes them as they are, or breaks one thing and asks who notices.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators.core.ids import face_id, segment_id, track_id
from schemas.flow import STAGED
from schemas.tables import (
    EMBEDDINGS,
    FACE_MEASURES,
    FACES,
    KEPT,
    LABELS,
    PROBABILITIES,
    SCORES,
    SEGMENTS,
    TRACK_SCORES,
    TRACKS,
    VERDICT,
    VIDEOS,
)

SPACING_SECONDS = 0.25
TICKS_A_SECOND = 1000
PEOPLE = 2
WIDTH_PX, HEIGHT_PX = 640, 360
SCORE_HASH = "5" * 64
EXTRACT_HASH = "e" * 64
EMBED_HASH = "b" * 16
WIDTH = 8  # of the vectors that are kept
RUN_ID = "20260101T000000000Z-000000"


def video_ids(videos: int, seed: int = 0) -> list[str]:
    """The ids of the videos that `store_tables` and `staged_rows` make, sorted."""
    return sorted(
        hashlib.sha256(f"{seed}/{number}".encode()).hexdigest()[:24] for number in range(videos)
    )


def store_tables(
    videos: int = 2,
    faces_per_video: int = 10,
    methods: Sequence[str] = ("zero_shot",),
    seed: int = 0,
    run_id: str = RUN_ID,
) -> dict[str, pa.Table]:
    """All published tables of some videos, each of two segments."""
    parts: dict[str, list[pa.Table]] = {}
    for number, video_id in enumerate(video_ids(videos, seed)):
        rng = np.random.default_rng([seed, number])
        for table, rows in _video(video_id, faces_per_video, methods, rng, run_id).items():
            parts.setdefault(table, []).append(rows)
    return {table: pa.concat_tables(rows) for table, rows in parts.items()}


def staged_rows(
    videos: int = 2,
    faces_per_video: int = 10,
    methods: Sequence[str] = ("zero_shot",),
    seed: int = 0,
) -> pa.Table:
    """The segments of the same videos as Write puts them into staging, by video and start."""
    tables = store_tables(videos, faces_per_video, methods, seed)
    faces = tables["faces"].to_pylist()
    vectors = {
        row["face_id"]: {field.name: row[field.name] for field in KEPT}
        for row in tables["embeddings"].to_pylist()
    }
    scores: dict[str, list[dict[str, Any]]] = {}
    for score in tables["scores"].to_pylist():
        scores.setdefault(score["face_id"], []).append(score)
    rows = []
    for segment in tables["segments"].to_pylist():
        own = [face for face in faces if face["segment_id"] == segment["segment_id"]]
        rows.append(
            {
                **{name: segment[name] for name in SEGMENTS.names if name in STAGED.names},
                "faces": [
                    {field.name: face[field.name] for field in FACE_MEASURES} for face in own
                ],
                "handover": _handover(own),
                "anonymizer": "downsample",
                "scores": [
                    {**score, "face_index": index}
                    for index, face in enumerate(own)
                    for score in scores[face["face_id"]]
                ],
                "kept_embeddings": [vectors[face["face_id"]] for face in own],
            }
        )
    return pa.Table.from_pylist(rows, STAGED)


def _handover(faces: list[dict[str, Any]]) -> list[dict[str, Any]]:
    samples: dict[int, dict[str, Any]] = {}
    for index, face in enumerate(faces):
        empty = {"cut": False, "xyxy_px": [], "detection_scores": [], "face_index": []}
        times = {name: face[name] for name in ("pts_ticks", "pts_seconds")}
        sample = samples.setdefault(face["pts_ticks"], {**times, **empty})
        sample["xyxy_px"].append(face["xyxy_px"])
        sample["detection_scores"].append(face["detection_score"])
        sample["face_index"].append(index)
    return list(samples.values())


def _video(
    video_id: str, faces: int, methods: Sequence[str], rng: np.random.Generator, run_id: str
) -> dict[str, pa.Table]:
    sample, person = np.divmod(np.arange(faces), PEOPLE)
    samples = max(2, -(-faces // PEOPLE))
    ticks = np.round(sample * SPACING_SECONDS * TICKS_A_SECOND).astype(np.int64)
    seconds = ticks / TICKS_A_SECOND
    border = max(1.0, samples // 2 * SPACING_SECONDS)
    duration = max(samples * SPACING_SECONDS, border + 1.25)  # cut at the border, it is cut in two
    bounds = [(0.0, border), (border, duration)]
    segment_ids = [segment_id(video_id, *span) for span in bounds]
    of_segment = (seconds >= border).astype(np.int64)
    people = range(min(PEOPLE, faces))
    track_ids = [track_id(video_id, 0, place) for place in people]

    face_columns: dict[str, Any] = {
        "face_id": [
            face_id(video_id, tick, place)
            for tick, place in zip(ticks.tolist(), person.tolist(), strict=True)
        ],
        "segment_id": np.array(segment_ids)[of_segment],
        "video_id": [video_id] * faces,
        "track_id": np.array(track_ids or [""])[person],
        "pts_seconds": seconds,
        "pts_ticks": ticks,
        **_measures(person, rng),
        "anonymizer": ["downsample"] * faces,
    }
    score_rows, track_rows = [], []
    for method in methods:
        same = {"method": method, "score_hash": SCORE_HASH}
        keys = {name: face_columns[name] for name in ("face_id", "video_id", "track_id")}
        values = {**keys, "pts_seconds": seconds, **_repeat(same, faces), **_scores(faces, rng)}
        score_rows.append(_table(values, SCORES))
        spans = _spans(seconds, person, people)
        values = {"track_id": track_ids, "video_id": [video_id] * len(people), **spans}
        values |= {**_repeat(same, len(people)), **_scores(len(people), rng)}
        track_rows.append(_table(values, TRACK_SCORES))
    return {
        "videos": _videos(video_id, duration, methods, run_id),
        "segments": _segments(video_id, bounds, segment_ids, of_segment, run_id),
        "faces": _table(face_columns, FACES),
        "tracks": _tracks(track_ids, video_id, _spans(seconds, person, people)),
        "scores": pa.concat_tables(score_rows) if score_rows else SCORES.empty_table(),
        "track_scores": pa.concat_tables(track_rows) if track_rows else TRACK_SCORES.empty_table(),
        "embeddings": _embeddings(face_columns, rng),
    }


def _embeddings(faces: dict[str, Any], rng: np.random.Generator) -> pa.Table:
    rows = len(faces["face_id"])
    vectors = rng.standard_normal((rows, WIDTH))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    values = {
        **{name: faces[name] for name in ("face_id", "video_id", "track_id", "pts_seconds")},
        **_repeat({"protection": "raw", "embed_hash": EMBED_HASH}, rows),
        "embedding": list(vectors.astype(np.float32)),
    }
    return _table(values, EMBEDDINGS)


def _table(columns: dict[str, Any], schema: pa.Schema) -> pa.Table:
    return pa.table([pa.array(columns[f.name], f.type) for f in schema], schema=schema)


def _repeat(values: dict[str, str], rows: int) -> dict[str, list[str]]:
    return {name: [value] * rows for name, value in values.items()}


def _measures(person: NDArray[np.int64], rng: np.random.Generator) -> dict[str, Any]:
    rows = len(person)
    left = (60 + 300 * person + rng.uniform(0, 20, rows)).astype(np.float32)
    top = rng.uniform(40, 60, rows).astype(np.float32)
    side = rng.uniform(80, 120, rows).astype(np.float32)
    box = np.stack([left, top, left + side, top + side], axis=1)
    eyes_nose_mouth = np.array([0.3, 0.4, 0.7, 0.4, 0.5, 0.6, 0.35, 0.8, 0.65, 0.8], np.float32)
    origin = np.tile(np.stack([left, top], axis=1), 5)
    landmarks = origin + side[:, None] * eyes_nose_mouth
    return {
        "xyxy_px": pa.FixedSizeListArray.from_arrays(pa.array(box.ravel()), 4),
        "detection_score": rng.uniform(0.6, 1, rows),
        "landmarks_px": pa.FixedSizeListArray.from_arrays(pa.array(landmarks.ravel()), 10),
        "sharpness": rng.uniform(10, 500, rows),
        "brightness": rng.uniform(0.2, 0.8, rows),
        "size_px": side,
        "yaw_degrees": rng.uniform(-30, 30, rows),
        "pitch_degrees": rng.uniform(-20, 20, rows),
        "roll_degrees": rng.uniform(-10, 10, rows),
        "occlusion": rng.uniform(0, 0.5, rows),
    }


def _scores(rows: int, rng: np.random.Generator) -> dict[str, Any]:
    logits = rng.normal(0, 2, (rows, len(LABELS)))
    odds = np.exp(logits)
    shares = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
    top = shares.argmax(axis=1)
    confidence = shares.max(axis=1) if rows else np.zeros(0, np.float32)
    values: dict[str, Any] = {label: shares[:, column] for column, label in enumerate(LABELS)}
    values["contempt"] = [None] * rows
    values["top_label"] = np.array(LABELS)[top]
    values["confidence"] = confidence
    values["entropy"] = -(shares * np.log(shares)).sum(axis=1)
    values["abstained"] = confidence < 0.4
    values |= {"nearest_prototype": [None] * rows, "prototype_similarity": [None] * rows}
    assert set(values) == {field.name for field in (*PROBABILITIES, *VERDICT)}
    return values


def _spans(
    seconds: NDArray[np.float64], person: NDArray[np.int64], people: range
) -> dict[str, Any]:
    own = [seconds[person == place] for place in people]
    return {
        "start_seconds": [times[0] for times in own],
        "end_seconds": [times[-1] for times in own],
        "faces": [len(times) for times in own],
    }


def _videos(video_id: str, duration: float, methods: Sequence[str], run_id: str) -> pa.Table:
    row = {
        "video_id": video_id,
        "source_id": video_id[::-1],
        "content_id": hashlib.sha256(video_id.encode()).hexdigest()[:24],
        "uri": f"/archive/{video_id}.mp4",
        "size_bytes": 1_000_000,
        "container": "mov,mp4,m4a,3gp,3g2,mj2",
        "codec": "h264",
        "width_px": WIDTH_PX,
        "height_px": HEIGHT_PX,
        "time_base": f"1/{TICKS_A_SECOND}",
        "duration_seconds": duration,
        "has_audio": False,
        "seconds_scored": duration,
        "session_id": None,
        "view_id": None,
        "recorded_at": None,
        "status": "ok",
        "reason": None,
        "extract_hash": EXTRACT_HASH,
        "scored_by": [f"{method}:{SCORE_HASH}" for method in methods],
        "run_id": run_id,
    }
    return pa.Table.from_pylist([row], VIDEOS)


def _segments(
    video_id: str,
    bounds: list[tuple[float, float]],
    segment_ids: list[str],
    of_segment: NDArray[np.int64],
    run_id: str,
) -> pa.Table:
    rows = [
        {
            "segment_id": segment_ids[number],
            "video_id": video_id,
            "start_seconds": start,
            "end_seconds": end,
            "frames_sampled": round((end - start) / SPACING_SECONDS),
            "faces_found": int((of_segment == number).sum()),
            "faces_dropped": 0,
            "cuts": 0,
            "seconds_read": end - start,
            "decoder": "pyav",
            "device": "cpu",
            "status": "ok",
            "reason": None,
            **{f"{step}_seconds": 0.01 for step in ("extract", "anonymize", "embed", "score")},
            "extract_hash": EXTRACT_HASH,
            "run_id": run_id,
        }
        for number, (start, end) in enumerate(bounds)
    ]
    return pa.Table.from_pylist(rows, SEGMENTS)


def _tracks(track_ids: list[str], video_id: str, spans: dict[str, Any]) -> pa.Table:
    rows = len(track_ids)
    means = {"sharpness": 200.0, "brightness": 0.5, "size_px": 100.0, "detection_score": 0.8}
    columns = {
        "track_id": track_ids,
        "video_id": [video_id] * rows,
        "session_id": [None] * rows,
        **spans,
        **{f"mean_{name}": [value] * rows for name, value in means.items()},
    }
    return _table(columns, TRACKS)
