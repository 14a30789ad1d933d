"""Every frame of a track is covered: gaps, ends, frames that the detector never saw."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.core.cover import Cover, cover

FPS = 24.0


def moving(count: int, pace_px: float = 2.0, side_px: float = 40.0) -> list[np.ndarray]:
    """One face that moves to the right, a box a frame."""
    return [
        np.array([[20 + pace_px * i, 30, 20 + pace_px * i + side_px, 30 + side_px]])
        for i in range(count)
    ]


def run(boxes: list[np.ndarray], looked: list[bool] | None = None, **options: float) -> Cover:
    looked = looked or [True] * len(boxes)
    seen = [b if look else np.zeros((0, 4)) for b, look in zip(boxes, looked, strict=True)]
    scores = [np.full(len(b), 0.9) for b in seen]
    return cover(np.arange(len(boxes)) / FPS, looked, seen, scores, **options)


def encloses(covered: np.ndarray, box: np.ndarray, slack_px: float = 1e-6) -> bool:
    inside = (covered[:, :2] <= box[:2] + slack_px) & (covered[:, 2:] >= box[2:] - slack_px)
    return bool(inside.all(axis=1).any())


@given(
    missed=st.lists(st.booleans(), min_size=30, max_size=30),
    pace_px=st.floats(-3, 3),
)
def test_a_face_that_moves_evenly_is_covered_wherever_it_was_missed(
    missed: list[bool], pace_px: float
) -> None:
    truth = moving(30, pace_px)
    missed[0] = missed[-1] = False
    found = run([np.zeros((0, 4)) if m else b for m, b in zip(missed, truth, strict=True)])
    for box, covered in zip(truth, found.xyxy_px, strict=True):
        assert encloses(covered, box[0], slack_px=0.5)


def test_frames_that_the_detector_never_saw_are_covered_and_are_no_gaps() -> None:
    truth = moving(20)
    found = run(truth, [i % 2 == 0 for i in range(20)])
    assert all(encloses(c, b[0], 0.5) for b, c in zip(truth[:19], found.xyxy_px[:19], strict=True))
    assert found.tracks == 1
    assert found.gaps == 0
    assert found.filled == 10


def test_the_face_is_covered_before_it_is_found_and_after_it_is_lost() -> None:
    truth = moving(60)
    nothing = np.zeros((0, 4))
    shown = [b if 20 <= i < 40 else nothing for i, b in enumerate(truth)]
    found = run(shown, extend_seconds=0.25)
    for i in range(14, 46):
        assert encloses(found.xyxy_px[i], truth[i][0], 0.5), i
    for i in (*range(13), *range(47, 60)):
        assert len(found.xyxy_px[i]) == 0, i


def test_a_gap_within_the_limit_is_filled_and_counted_and_a_longer_one_is_not() -> None:
    truth = moving(80, pace_px=0.5)
    nothing = np.zeros((0, 4))
    shown = [nothing if 20 <= i < 35 else b for i, b in enumerate(truth)]
    found = run(shown, max_gap_seconds=1.0, extend_seconds=0.0)
    assert found.gaps == 1
    assert all(len(found.xyxy_px[i]) for i in range(20, 35))
    shown = [nothing if 20 <= i < 50 else b for i, b in enumerate(truth)]
    found = run(shown, max_gap_seconds=1.0, extend_seconds=0.0)
    assert found.gaps == 0
    assert not any(len(found.xyxy_px[i]) for i in range(20, 50))


def test_every_detection_stays_as_it_was() -> None:
    truth = moving(10)
    found = run(truth)
    for box, covered in zip(truth, found.xyxy_px, strict=True):
        np.testing.assert_array_equal(covered, box)
    assert found.filled == 0


def test_nothing_found_covers_nothing() -> None:
    found = run([np.zeros((0, 4))] * 5)
    assert [len(boxes) for boxes in found.xyxy_px] == [0] * 5
    assert (found.tracks, found.gaps, found.filled) == (0, 0, 0)
    assert run([]).xyxy_px == []


def test_times_must_rise() -> None:
    with pytest.raises(ValueError, match="rise"):
        cover([0.0, 0.0], [True, True], moving(2), [np.ones(1)] * 2)
