"""Alignment: the same face comes out the same, wherever and however large it is."""

import cv2
import numpy as np
import pytest

from operators.core.align import TEMPLATE, align, alignable, alignment
from operators.core.geometry import transform_points
from tests.videos import paste, portraits

#: Landmarks of the first portrait, in its own pixels.
POINTS = np.array([[122.8, 101.1], [169.0, 106.1], [143.7, 125.8], [121.5, 142.8], [161.8, 147.0]])


def placed(left: float, top: float, scale: float, canvas_hw=(700, 900)):
    """The portrait on a canvas, and where its landmarks are then."""
    face = portraits()[0]
    canvas = np.full((*canvas_hw, 3), 127, np.uint8)
    image = paste(canvas, face, left, top, round(face.shape[0] * scale))
    exact = round(face.shape[0] * scale) / face.shape[0]
    # `paste` counts from pixel centres.
    points = (POINTS - 0.5) * exact + [left, top] + 0.5
    return image, points[None]


def difference(a, b) -> float:
    return float(np.abs(a.astype(float) - b.astype(float)).mean())


def test_landmarks_come_to_lie_on_the_template():
    square = TEMPLATE * 48
    for points in (square * 3 + 20, square[:, ::-1] * [1, -1] + 100):
        moved = transform_points(alignment(points[None], 48), points[None])[0]
        assert moved == pytest.approx(square, abs=1e-6)


def test_a_margin_shows_more_around_the_face():
    plain = transform_points(alignment(POINTS[None], 100), POINTS[None])[0]
    wide = transform_points(alignment(POINTS[None], 100, margin=0.5), POINTS[None])[0]
    assert wide == pytest.approx((plain + 50) / 2, abs=1e-6)


@pytest.mark.parametrize("face_px", [200, 90])
def test_pixels_follow_the_landmarks_to_a_fraction_of_a_pixel(face_px):
    """A dot drawn at each template point of a face lands there in the crop."""
    image = np.zeros((400, 400, 3), np.uint8)
    points = TEMPLATE * face_px + 100
    for x, y in points:
        rows, columns = np.mgrid[0:400, 0:400] + 0.5
        image += (
            np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (face_px / 28) ** 2)[..., None] * 250
        ).astype("u1")
    for crop_px in (48, 112, 224):
        crop = align(image, points[None], crop_px)[0, :, :, 0].astype(float)
        for x, y in TEMPLATE * crop_px:
            rows, columns = np.mgrid[0:crop_px, 0:crop_px] + 0.5
            near = (abs(columns - x) < crop_px / 14) & (abs(rows - y) < crop_px / 14)
            weight = crop * near
            center = [(weight * axis).sum() / weight.sum() for axis in (columns, rows)]
            assert center == pytest.approx([x, y], abs=0.15)


@pytest.mark.parametrize("scale", [0.6, 1.0, 1.7, 2.3])
@pytest.mark.parametrize("shift", [(100.0, 80.0), (137.37, 41.73)])
def test_a_crop_does_not_depend_on_where_the_face_is_or_how_large(scale, shift):
    # At half the scale and less, the source has fewer pixels than the crop.
    reference = align(*placed(60, 60, 1.0), 48)[0]
    crop = align(*placed(*shift, scale), 48)[0]
    assert difference(crop, reference) < 4


def test_a_tilted_face_comes_out_upright():
    image, points = placed(200, 150, 1.0)
    turn = cv2.getRotationMatrix2D((350, 300), 25, 1.0)
    tilted = cv2.warpAffine(image, turn, (900, 700), flags=cv2.INTER_CUBIC)
    moved = transform_points(np.asarray(turn)[None], points - 0.5) + 0.5
    assert difference(align(tilted, moved, 48), align(image, points, 48)) < 4


def test_shrinking_averages_instead_of_aliasing():
    """Stripes finer than the crop's pixels come out grey; sampling points would keep them."""
    stripes = np.zeros((600, 600, 3), np.uint8)
    stripes[::2] = 255
    crop = align(stripes, (TEMPLATE * 433.7 + 61.3)[None], 48)[0]
    assert crop[6:-6, 6:-6].std() < 12
    assert crop.mean() == pytest.approx(127.5, abs=3)


def test_beyond_the_frame_its_border_is_repeated():
    image = np.full((100, 100, 3), 50, np.uint8)
    image[:, :10] = 200
    crop = align(image, (TEMPLATE * 80 + [-40, 10])[None], 48)[0]
    assert (crop[:, :20] == 200).all()
    assert not (crop == 0).any()


def test_no_face_is_no_crop():
    assert align(np.zeros((9, 9, 3), np.uint8), np.zeros((0, 5, 2)), 32).shape == (0, 32, 32, 3)


def test_landmarks_without_extent_fall_back_on_the_box_and_touch_no_other_face():
    image, points = placed(60, 60, 1.0)
    both = np.concatenate([points, np.full((1, 5, 2), 300.0), np.full((1, 5, 2), np.nan)])
    boxes = np.array([[0, 0, 1, 1], [100, 100, 180, 200], [100, 100, 180, 200]], np.float32)
    assert alignable(both).tolist() == [True, False, False]
    crops = align(image, both, 48, xyxy_px=boxes)
    assert (crops[0] == align(image, points, 48)[0]).all()
    box = cv2.resize(image[100:200, 90:190], (48, 48), interpolation=cv2.INTER_AREA)
    assert difference(crops[1], box) < 3
    assert (crops[1] == crops[2]).all()


def test_the_template_is_a_face_and_symmetric():
    mirrored = TEMPLATE[[1, 0, 2, 4, 3]] * [-1, 1] + [1, 0]
    assert mirrored == pytest.approx(TEMPLATE)
