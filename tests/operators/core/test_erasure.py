"""Cutting spans and tracks out of a video's rows."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from operators.core.erasure import Cut, erased_faces, without
from schemas.tables import TABLES
from tests.rows import HEIGHT_PX, SPACING_SECONDS, WIDTH_PX, store_tables

FRAME = (WIDTH_PX, HEIGHT_PX)
ABSTAIN_BELOW = 0.4
NO_PATH = np.zeros(0), np.zeros((0, 4))


def span(start: float, end: float) -> Cut:
    return Cut(start, end, *NO_PATH)


def path(tables: dict[str, pa.Table], place: int, frame: tuple[int, int] = FRAME) -> Cut:
    """The path of one of the two people."""
    name = tables["tracks"]["track_id"][place].as_py()
    own = [face for face in tables["faces"].to_pylist() if face["track_id"] == name]
    seconds = np.array([face["pts_seconds"] for face in own])
    boxes = np.array([face["xyxy_px"] for face in own]) / np.array([*frame, *frame])
    return Cut(seconds[0], seconds[-1], seconds, boxes)


def video(faces: int = 40) -> dict[str, pa.Table]:
    return store_tables(1, faces, ("zero_shot", "exp_clip"))


def cut(tables: dict[str, pa.Table], *cuts: Cut) -> dict[str, pa.Table]:
    return without(tables, cuts, FRAME, ABSTAIN_BELOW)


@settings(max_examples=40, deadline=None)
@given(st.floats(-1, 6), st.floats(0.01, 6), st.integers(1, 40))
def test_a_span_leaves_what_lies_outside_and_nothing_else(
    start: float, length: float, faces: int
) -> None:
    tables = video(faces)
    left = cut(tables, span(start, start + length))
    outside = [
        face
        for face in tables["faces"].to_pylist()
        if not start <= face["pts_seconds"] < start + length
    ]
    assert left["faces"].to_pylist() == outside
    names = {face["face_id"] for face in outside}
    assert left["scores"].to_pylist() == [
        score for score in tables["scores"].to_pylist() if score["face_id"] in names
    ]
    assert left["embeddings"].to_pylist() == [
        row for row in tables["embeddings"].to_pylist() if row["face_id"] in names
    ]
    tracks = {face["track_id"] for face in outside}
    assert set(left["tracks"]["track_id"].to_pylist()) == tracks
    assert set(left["track_scores"]["track_id"].to_pylist()) == tracks
    for table in ("faces", "tracks", "scores", "track_scores", "segments"):
        assert left[table].schema.equals(TABLES[table])
    for track in left["tracks"].to_pylist():
        own = [face for face in outside if face["track_id"] == track["track_id"]]
        assert track["faces"] == len(own)
        for end in (track["start_seconds"], track["end_seconds"]):
            assert not start <= end < start + length
        assert track["start_seconds"] <= own[0]["pts_seconds"]
        assert track["end_seconds"] >= own[-1]["pts_seconds"]
    assert cut(left, span(start, start + length))["faces"].equals(left["faces"])


def test_a_track_is_scored_by_the_faces_that_stay() -> None:
    left = cut(video(), span(0, 2))
    for row in left["track_scores"].to_pylist():
        own = [
            score
            for score in left["scores"].to_pylist()
            if (score["track_id"], score["method"]) == (row["track_id"], row["method"])
        ]
        assert len(own) == row["faces"]
        expected = np.mean([score["anger"] for score in own])
        assert_allclose(row["anger"], expected, rtol=1e-5)  # float32


@pytest.mark.parametrize("place", [0, 1])
def test_a_person_goes_whole_and_the_other_is_untouched(place: int) -> None:
    tables = video()
    left = cut(tables, path(tables, place))
    other = tables["tracks"]["track_id"][1 - place].as_py()
    for table in ("faces", "scores", "track_scores"):
        kept = [row for row in tables[table].to_pylist() if row["track_id"] == other]
        assert left[table].to_pylist() == kept
    assert left["tracks"]["track_id"].to_pylist() == [other]


def test_a_person_is_found_again_by_another_rate_detector_and_size_of_the_copy() -> None:
    tables, rng = video(), np.random.default_rng(0)
    coarse = path(tables, 0)
    every_third = Cut(
        coarse.start_seconds,
        coarse.end_seconds,
        coarse.path_seconds[::3],
        coarse.path_xyxy[::3] + rng.normal(0, 0.005, coarse.path_xyxy[::3].shape),
    )
    rows: list[dict[str, Any]] = tables["faces"].to_pylist()
    half = [{**row, "xyxy_px": [side / 2 for side in row["xyxy_px"]]} for row in rows]
    faces = pa.Table.from_pylist(half, tables["faces"].schema)
    gone = erased_faces(faces, [every_third], (WIDTH_PX // 2, HEIGHT_PX // 2))
    assert gone.tolist() == [row["track_id"] == rows[0]["track_id"] for row in rows]


def test_who_passes_the_place_later_or_for_a_moment_stays() -> None:
    tables = video()
    whole = path(tables, 0)
    late = Cut(60, 90, whole.path_seconds + 60, whole.path_xyxy)
    assert cut(tables, late) is tables
    # the other person's box was mistaken for a moment: those faces go, the track does not
    other = path(tables, 1)
    mixed = whole.path_xyxy.copy()
    mixed[:2] = other.path_xyxy[:2]
    both = erased_faces(tables["faces"], [Cut(0, 90, whole.path_seconds, mixed)], FRAME).tolist()
    names = tables["faces"]["track_id"].to_pylist()
    first, second = tables["tracks"]["track_id"].to_pylist()
    assert all(gone for gone, name in zip(both, names, strict=True) if name == first)
    assert sum(gone for gone, name in zip(both, names, strict=True) if name == second) == 2


def test_segments_count_what_is_left() -> None:
    left = cut(video(), span(SPACING_SECONDS, 1))
    faces = left["faces"]["segment_id"].to_pylist()
    for row in left["segments"].to_pylist():
        assert row["faces_found"] == faces.count(row["segment_id"])
