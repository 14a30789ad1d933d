"""Shot cuts: content that changes, not motion and not light."""

import itertools

import cv2
import numpy as np
import pytest
from skimage import data

from operators.core.cuts import is_cut
from operators.core.frames import THUMB_HW
from tests.videos import paste, portraits

GREY = np.full((360, 640, 3), 127, np.uint8)


def thumb(image) -> np.ndarray:
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(luma, THUMB_HW[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def person(which: int, left: float = 200, height: int = 240, canvas=GREY) -> np.ndarray:
    return paste(canvas, portraits()[which], left, 20, height)


@pytest.mark.parametrize("shade", [16, 127, 240])
@pytest.mark.parametrize("height", [160, 240, 340])
def test_another_person_at_the_same_place_before_a_plain_wall_is_a_cut(shade, height):
    wall = np.full_like(GREY, shade)
    first, second = (thumb(person(i, height=height, canvas=wall)) for i in (0, 1))
    assert is_cut(first, second)
    assert is_cut(second, first)


def test_another_person_in_the_same_room_is_a_cut():
    room = cv2.resize(data.coffee(), (640, 360))
    assert is_cut(
        thumb(person(0, height=300, canvas=room)), thumb(person(1, height=300, canvas=room))
    )


@pytest.mark.parametrize("step_px", [5, 20, 40, 80])
def test_a_person_moving_up_to_an_eighth_of_the_width_a_sample_is_no_cut(step_px):
    film = [thumb(person(0, left=60 + i * step_px)) for i in range(5)]
    assert not any(is_cut(a, b) for a, b in itertools.pairwise(film))


@pytest.mark.parametrize("picture", ["astronaut", "rocket", "stereo_motorcycle"])
def test_a_pan_and_a_zoom_are_no_cut(picture):
    image = getattr(data, picture)()
    image = image[0] if isinstance(image, tuple) else image
    wide = cv2.resize(image, (1280, 900), interpolation=cv2.INTER_AREA)
    pan = [thumb(wide[100:460, i * 40 : i * 40 + 640]) for i in range(6)]
    zoom = [thumb(wide[i * 9 : 720 - i * 9, i * 16 : 1280 - i * 16]) for i in range(6)]
    for film in (pan, zoom):
        assert not any(is_cut(a, b) for a, b in itertools.pairwise(film))


@pytest.mark.parametrize(("gain", "offset"), [(1.5, 20), (0.4, 0), (1.0, 60), (2.0, 30)])
def test_a_flash_or_a_dimmed_light_is_no_cut(gain, offset):
    before = person(0, height=300)
    after = np.clip(before * gain + offset, 0, 255).astype(np.uint8)
    assert not is_cut(thumb(before), thumb(after))
    assert not is_cut(thumb(after), thumb(before))


def test_noise_alone_is_no_cut():
    rng = np.random.default_rng(0)
    quiet = thumb(person(0))
    noisy = np.clip(quiet + rng.normal(0, 4, quiet.shape), 0, 255).astype(np.uint8)
    assert not is_cut(quiet, noisy)


def test_a_blank_picture_counts_as_a_cut_and_so_does_what_follows_it():
    face, black = thumb(person(0)), np.zeros(THUMB_HW, np.uint8)
    assert is_cut(face, black)
    assert is_cut(black, face)


def test_a_fade_to_black_counts_as_a_cut_however_slow():
    face = person(0)
    film = [thumb((face * (1 - i / 20)).astype(np.uint8)) for i in range(21)]
    assert any(is_cut(a, b) for a, b in itertools.pairwise(film))


def test_one_picture_is_no_cut_from_itself():
    assert not is_cut(thumb(person(0)), thumb(person(0)))
