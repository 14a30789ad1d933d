"""Properties of boxes and similarities."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.core.geometry import (
    box_areas,
    boxes_to_square,
    clip_boxes,
    iou_matrix,
    similarity,
    similarity_scale,
    transform_points,
)

SHAPE = np.array([[30.0, 40], [70, 42], [50, 60], [35, 75], [66, 76]])


def test_iou_is_one_with_itself_zero_apart_and_a_third_for_half_overlap():
    boxes = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [3, 3, 3, 9]])
    expected = [[1, 1 / 3, 0, 0], [1 / 3, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert iou_matrix(boxes, boxes) == pytest.approx(np.array(expected))


def test_clipped_boxes_lie_inside_the_frame_and_keep_what_was_inside():
    boxes = np.array([[-5, -5, 5, 5], [90, 40, 200, 60], [10, 10, 20, 20]], np.float32)
    clipped = clip_boxes(boxes, 100, 50)
    assert clipped.tolist() == [[0, 0, 5, 5], [90, 40, 100, 50], [10, 10, 20, 20]]
    assert clipped.dtype == np.float32


def test_area_of_an_inverted_box_is_zero():
    assert box_areas(np.array([[5.0, 5, 1, 9], [0, 0, 2, 3]])).tolist() == [0, 6]


@settings(max_examples=50, deadline=None)
@given(
    angle=st.floats(-3.1, 3.1),
    scale=st.floats(0.05, 20),
    shift=st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
)
def test_similarity_undoes_any_rotation_scale_and_shift(angle, scale, shift):
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = (SHAPE @ turn.T + shift)[None]
    back = similarity(moved, SHAPE)
    assert transform_points(back, moved)[0] == pytest.approx(SHAPE, abs=1e-6)
    assert similarity_scale(back)[0] == pytest.approx(1 / scale)


def test_similarity_never_mirrors():
    mirrored = SHAPE * [-1, 1]
    linear = similarity(mirrored[None], SHAPE)[0, :, :2]
    assert np.linalg.det(linear) > 0


def test_similarity_is_the_least_squares_one():
    rng = np.random.default_rng(3)
    noisy = SHAPE[None] + rng.normal(0, 3, (1, 5, 2))
    best = similarity(noisy, SHAPE)
    error = np.square(transform_points(best, noisy) - SHAPE).sum()
    for nudge in rng.normal(0, 0.01, (50, 2, 2)):
        other = best.copy()
        other[0, :, :2] += [[nudge[0, 0], -nudge[0, 1]], [nudge[0, 1], nudge[0, 0]]]
        other[0, :, 2] += nudge[1]
        assert np.square(transform_points(other, noisy) - SHAPE).sum() >= error


def test_similarity_of_coinciding_points_is_nan_and_leaves_the_others_alone():
    nearly = 7 + np.random.default_rng(0).normal(0, 1e-12, (5, 2))
    shapes = np.stack([SHAPE, np.full((5, 2), 7.0), nearly])
    transforms = similarity(shapes, SHAPE)
    assert np.isnan(transforms[1:, :, :2]).all()
    assert transforms[0] == pytest.approx(np.array([[1.0, 0, 0], [0, 1, 0]]), abs=1e-9)


def test_box_square_centres_the_box():
    transforms = boxes_to_square(np.array([[10.0, 20, 30, 60]]), 48)
    corners = np.array([[[20.0, 40], [20, 20], [20, 60]]])
    assert transform_points(transforms, corners)[0].tolist() == [[24, 24], [24, 0], [24, 48]]
