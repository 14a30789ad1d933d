"""Resolve: tracks and scores of a video, whatever way it was cut."""

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.resolve import resolve
from schemas.flow import STAGED
from schemas.tables import FACE_MEASURES, LABELS

VIDEO = "v" * 24
FPS = 8
SECONDS = 12


def boxes_at(tick: int) -> list[list[float]]:
    """Two people: one walks to the right, one stands; the second leaves after 7 s."""
    left = 20 + 6.0 * tick / FPS
    people = [[left, 40, left + 60, 110]]
    if tick < 7 * FPS:
        people.append([300, 50, 370, 140])
    return people


def segment(start: float, end: float, cut_at: float = -1.0) -> dict[str, Any]:
    """One staged row of the scene above: linked at 8, scored at 4 frames a second."""
    faces: list[dict[str, Any]] = []
    links, scores, kept = [], [], []
    for tick in range(SECONDS * FPS):
        seconds = tick / FPS
        if not start <= seconds < end:
            continue
        boxes = boxes_at(tick)
        scored = tick % 2 == 0
        index = [len(faces) + i if scored else -1 for i in range(len(boxes))]
        links.append(
            {
                "pts_ticks": tick,
                "pts_seconds": seconds,
                "cut": seconds == cut_at,
                "xyxy_px": boxes,
                "detection_scores": [0.9] * len(boxes),
                "face_index": index,
            }
        )
        for box in boxes if scored else []:
            measures = {field.name: 0.5 for field in FACE_MEASURES}
            times = {"pts_ticks": tick, "pts_seconds": seconds}
            faces.append({**measures, **times, "xyxy_px": box, "landmarks_px": [0.0] * 10})
            scores.append(score(len(faces) - 1, tick))
            vector = [float(tick), box[0]]
            kept.append({"protection": "raw", "embed_hash": "h", "embedding": vector})
    return {
        **{field.name: _filler(field) for field in STAGED},
        "segment_id": f"{VIDEO}-{int(start * 1000):010d}-{int(end * 1000):010d}",
        "video_id": VIDEO,
        "start_seconds": start,
        "end_seconds": end,
        "status": "ok",
        "reason": None,
        "faces": faces,
        "handover": links,
        "scores": scores,
        "kept_embeddings": kept,
    }


def score(face: int, tick: int) -> dict[str, Any]:
    weights = np.random.default_rng(tick).random(len(LABELS))
    probabilities = dict(zip(LABELS, weights / weights.sum(), strict=True))
    top = max(probabilities, key=lambda label: probabilities[label])
    return {
        "face_index": face,
        "method": "zero_shot",
        "score_hash": "h",
        **probabilities,
        "contempt": None,
        "top_label": top,
        "confidence": probabilities[top],
        "entropy": 1.0,
        "abstained": False,
        "nearest_prototype": None,
        "prototype_similarity": None,
    }


def _filler(field: pa.Field) -> object:
    return [] if pa.types.is_list(field.type) else "" if pa.types.is_string(field.type) else 0


def resolved(borders: list[float], **options: float) -> dict[str, pa.Table]:
    edges = [0.0, *sorted(borders), float(SECONDS)]
    rows = [segment(low, high, **options) for low, high in itertools.pairwise(edges)]
    return resolve(pa.Table.from_pylist(rows, STAGED), None, abstain_below=0.4)


WHOLE = resolved([])


def same(left: pa.Table, right: pa.Table) -> bool:
    columns = [name for name in left.column_names if name != "segment_id"]
    return left.select(columns).equals(right.select(columns))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, SECONDS * FPS - 1), max_size=6, unique=True))
def test_cutting_never_shows(ticks: list[int]) -> None:
    pieces = resolved([tick / FPS for tick in ticks])
    for table, rows in WHOLE.items():
        assert same(pieces[table], rows), table


def test_two_people_are_two_tracks_and_every_face_is_in_one() -> None:
    tracks = WHOLE["tracks"].to_pylist()
    assert [track["faces"] for track in tracks] == [4 * SECONDS, 4 * 7]
    assert set(WHOLE["faces"]["track_id"].to_pylist()) == {track["track_id"] for track in tracks}
    assert tracks[1]["end_seconds"] == pytest.approx(7 - 1 / FPS)


def test_ids_are_unique_and_sort_in_time_order() -> None:
    ids = WHOLE["faces"]["face_id"].to_pylist()
    assert len(set(ids)) == len(ids)
    assert ids == sorted(ids)
    times = WHOLE["faces"]["pts_seconds"].to_pylist()
    assert times == sorted(times)


def test_a_cut_ends_every_track() -> None:
    tracks = resolved([], cut_at=3.0)["tracks"].to_pylist()
    assert len(tracks) == 4
    assert not any(track["start_seconds"] < 3 <= track["end_seconds"] for track in tracks)


def test_a_lost_segment_costs_its_own_span() -> None:
    rows = [segment(0, 4), segment(8, SECONDS)]
    tables = resolve(pa.Table.from_pylist(rows, STAGED), None, 0.4)
    kept = [t for t in WHOLE["faces"]["pts_seconds"].to_pylist() if not 4 <= t < 8]
    assert tables["faces"]["pts_seconds"].to_pylist() == kept


def test_scores_stay_with_their_faces() -> None:
    faces = dict(
        zip(*(WHOLE["faces"][n].to_pylist() for n in ("face_id", "pts_ticks")), strict=True)
    )
    for row in WHOLE["scores"].to_pylist():
        expected = score(0, faces[row["face_id"]])
        assert row["anger"] == pytest.approx(expected["anger"], abs=1e-6)


def test_vectors_stay_with_their_faces_and_where_none_is_kept_there_is_no_table() -> None:
    faces, vectors = WHOLE["faces"].to_pylist(), WHOLE["embeddings"].to_pylist()
    assert [row["face_id"] for row in vectors] == [face["face_id"] for face in faces]
    for face, row in zip(faces, vectors, strict=True):
        assert row["embedding"] == pytest.approx([face["pts_ticks"], face["xyxy_px"][0]])
        assert all(row[name] == face[name] for name in ("video_id", "track_id", "pts_seconds"))
    dropped = {**segment(0, SECONDS), "kept_embeddings": []}
    flat = resolve(pa.Table.from_pylist([dropped], STAGED), None, abstain_below=0.4)
    assert "embeddings" not in flat
    some = [segment(0, 6), {**segment(6, SECONDS), "kept_embeddings": []}]
    with pytest.raises(ValueError, match="of their vectors were kept"):
        resolve(pa.Table.from_pylist(some, STAGED), None, abstain_below=0.4)


def test_a_track_score_is_the_mean_over_its_faces() -> None:
    scores = WHOLE["scores"].to_pandas()
    for row in WHOLE["track_scores"].to_pylist():
        mine = scores[scores.track_id == row["track_id"]]
        assert row["faces"] == len(mine)
        for label in LABELS:
            assert row[label] == pytest.approx(mine[label].mean(), abs=1e-6)
        assert row["confidence"] == pytest.approx(max(row[label] for label in LABELS))


def test_a_video_without_a_face_gives_empty_tables() -> None:
    empty = {**segment(0, 1), "faces": [], "scores": [], "kept_embeddings": []}
    empty["handover"] = [
        {**link, "xyxy_px": [], "detection_scores": [], "face_index": []}
        for link in empty["handover"]
    ]
    tables = resolve(pa.Table.from_pylist([empty], STAGED), None, 0.4)
    assert {name: len(rows) for name, rows in tables.items()} == dict.fromkeys(
        WHOLE.keys() - {"embeddings"}, 0
    )
