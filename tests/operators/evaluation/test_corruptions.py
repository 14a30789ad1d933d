"""Disturbances: each does what its name says, more of it at each strength, and repeatably."""

import numpy as np
import pytest

from operators.evaluation.corruptions import Corruption, corrupt, corruptions, register


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    """Two smooth pictures with some detail, grey as archives may be."""
    y, x = np.mgrid[0:48, 0:48] / 48
    base = 120 + 60 * np.sin(9 * x) * np.cos(7 * y) + 30 * (x - y)
    grey = np.stack([base, base.T + 10]).clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=3)


@pytest.mark.parametrize("entry", corruptions(), ids=lambda entry: entry.name)
def test_stronger_is_further_from_the_crop_and_equal_calls_are_equal(
    entry: Corruption, crops: np.ndarray
) -> None:
    before = crops.copy()
    far = []
    for strength in entry.strengths:
        out = corrupt(crops, entry.name, strength)
        assert out.shape == crops.shape
        assert out.dtype == np.uint8
        assert np.array_equal(out, corrupt(crops, entry.name, strength))
        far.append(np.abs(out.astype(int) - crops).mean())
    assert 0 < far[0] < far[1] < far[2]
    assert np.array_equal(before, crops)


@pytest.mark.parametrize("entry", corruptions(), ids=lambda entry: entry.name)
def test_a_crop_is_disturbed_by_its_place_not_by_its_neighbours(
    entry: Corruption, crops: np.ndarray
) -> None:
    both = corrupt(crops, entry.name, entry.strengths[1], first=10)
    alone = corrupt(crops[1:], entry.name, entry.strengths[1], first=11)
    assert np.array_equal(both[1:], alone)


def test_covers_hide_their_part_and_no_more(crops: np.ndarray) -> None:
    masked = corrupt(crops, "mouth_mask", 0.25)
    assert np.array_equal(masked[:, :36], crops[:, :36])
    assert (masked[:, 36:] == 200).all()
    barred = corrupt(crops, "eye_bar", 0.25)
    assert (barred[:, 13:24] == 20).all()  # the eyes of an aligned crop lie in row 19
    assert np.array_equal(barred[:, 26:], crops[:, 26:])


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ValueError, match="registered already"):
        register(corruptions()[0])
