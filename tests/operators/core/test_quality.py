"""Quality: each measure moves with what it names, and not with what it does not."""

import cv2
import numpy as np
import pytest

from operators.core.align import TEMPLATE, align
from operators.core.quality import brightness, head_pose, occlusion, sharpness, size_px
from tests.videos import portraits

POINTS = (
    np.array([[122.8, 101.1], [169.0, 106.1], [143.7, 125.8], [121.5, 142.8], [161.8, 147.0]]),
    np.array([[227.5, 202.5], [308.6, 199.7], [268.6, 241.3], [235.4, 280.2], [302.7, 278.6]]),
)
#: An average head, x right, y down, z towards the camera, in mm.
HEAD = np.array([[-31.0, 0, 0], [31, 0, 0], [0, 36, 24], [-25, 64, 2], [25, 64, 2]])


def crops(side_px: int = 48) -> np.ndarray:
    found = zip(portraits(), POINTS, strict=True)
    return np.concatenate([align(image, points[None], side_px) for image, points in found])


def seen(yaw: float = 0, pitch: float = 0, roll: float = 0) -> np.ndarray:
    """The head's points in a picture, turned to the right, up, and clockwise, in degrees."""
    a, b, c = np.radians([yaw, pitch, roll])
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    lift = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    tilt = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return (HEAD @ (tilt @ turn @ lift).T)[None, :, :2] * 1.7 + 300


def test_blur_lowers_sharpness_and_more_blur_more():
    faces = crops(96)
    levels = [faces] + [
        np.stack([cv2.GaussianBlur(f, (0, 0), sigma) for f in faces]) for sigma in (2, 4, 8)
    ]
    measured = np.array([sharpness(level) for level in levels])
    assert (measured[1:] < measured[:-1] / 1.5).all()


def test_sharpness_compares_between_crop_sizes_and_lights():
    faces = crops(96)
    dimmed = (faces * 0.5).astype(np.uint8)
    assert sharpness(dimmed) == pytest.approx(sharpness(faces), rel=0.1)
    assert sharpness(crops(192)) == pytest.approx(sharpness(faces), rel=0.25)


def test_a_small_face_enlarged_is_less_sharp():
    faces = crops(96)
    small = np.stack(
        [cv2.resize(cv2.resize(f, (16, 16), interpolation=cv2.INTER_AREA), (96, 96)) for f in faces]
    )
    assert (sharpness(small) < sharpness(faces) / 3).all()


def test_brightness_is_mean_luma():
    plain = np.zeros((4, 8, 8, 3), np.uint8)
    plain[1], plain[2], plain[3] = 255, (255, 0, 0), (0, 255, 0)
    assert brightness(plain) == pytest.approx([0, 1, 0.299, 0.587], abs=1e-6)


def test_size_is_the_side_of_a_square_as_large():
    assert size_px(np.array([[0, 0, 30, 120], [5, 5, 5, 9]], np.float32)).tolist() == [60, 0]


@pytest.mark.parametrize("degrees", [-40, -20, 20, 40])
def test_pose_has_the_documented_sign_and_about_the_size(degrees):
    for axis, name in enumerate(("yaw", "pitch", "roll")):
        pose = np.array(head_pose(seen(**{name: degrees})))[:, 0]
        assert pose[axis] == pytest.approx(degrees, abs=6)
        assert np.delete(pose, axis) == pytest.approx([0, 0], abs=4)


def test_a_mirror_image_turns_and_tilts_the_other_way():
    points = seen(yaw=25, pitch=10, roll=8)
    mirrored = (points * [-1, 1])[:, [1, 0, 2, 4, 3]]
    yaw, pitch, roll = head_pose(points)
    other = head_pose(mirrored)
    assert np.array(other)[:, 0] == pytest.approx([-yaw[0], pitch[0], -roll[0]], abs=1e-3)


def test_an_average_face_looks_straight_ahead():
    assert np.array(head_pose(TEMPLATE[None] * 48))[:, 0] == pytest.approx([0, 0, 0], abs=1)


def test_degenerate_points_give_finite_angles():
    assert np.isfinite(np.array(head_pose(np.zeros((2, 5, 2))))).all()


def test_covered_eyes_and_mouths_are_hinted_at_and_bare_faces_are_not():
    bare = crops()
    covers = {
        "mask": np.s_[:, 28:, 6:42],
        "glasses": np.s_[:, 13:24, 6:42],
        "eye": np.s_[:, 10:26, 4:24],
    }
    assert (occlusion(bare) < 0.2).all()
    for area in covers.values():
        covered = bare.copy()
        covered[area] = 40
        assert (occlusion(covered) > 0.6).all()


def test_no_face_is_no_measure():
    none = np.zeros((0, 48, 48, 3), np.uint8)
    for measure in (sharpness, brightness, occlusion):
        assert measure(none).shape == (0,)
    assert [len(x) for x in head_pose(np.zeros((0, 5, 2)))] == [0, 0, 0]
    assert size_px(np.zeros((0, 4))).shape == (0,)
