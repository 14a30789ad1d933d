"""Anonymizers: what each destroys, proven on the pixels."""

import numpy as np
import pytest
from numpy.typing import NDArray

from operators.core.anonymizers import anonymizer, anonymizers, register

NAMES = [entry.name for entry in anonymizers()]


def crops(count: int = 3, side_px: int = 96, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, side_px, side_px, 3), np.uint8)


def apply(name: str, faces: NDArray[np.uint8], strength: float | None = None) -> NDArray[np.uint8]:
    entry = anonymizer(name)
    return entry.apply(faces, strength or entry.default_strength)


@pytest.mark.parametrize("name", NAMES)
def test_says_the_size_that_it_gives(name: str) -> None:
    entry = anonymizer(name)
    for side_px in (24, 48, 96):
        out = apply(name, crops(side_px=side_px))
        assert out.shape[1:] == (*[entry.output_px(side_px, entry.default_strength)] * 2, 3)
        assert out.dtype == np.uint8


@pytest.mark.parametrize("name", NAMES)
def test_a_crop_does_not_depend_on_its_neighbours(name: str) -> None:
    faces = crops(5)
    together = apply(name, faces)
    for index in range(5):
        np.testing.assert_array_equal(apply(name, faces[index : index + 1])[0], together[index])


@pytest.mark.parametrize("name", NAMES)
def test_takes_no_face_at_all_and_leaves_its_input_alone(name: str) -> None:
    assert len(apply(name, crops(0))) == 0
    faces = crops()
    faces.flags.writeable = False
    before = faces.copy()
    apply(name, faces)
    np.testing.assert_array_equal(faces, before)


def test_pixelate_keeps_cell_means_only() -> None:
    cells, side_px = 8, 96
    cell = side_px // cells
    faces = crops(1, side_px)
    blocks = faces.reshape(1, cells, cell, cells, cell, 3).swapaxes(2, 3).copy()
    rng = np.random.default_rng(1)
    for row in range(cells):
        for column in range(cells):
            pixels = blocks[0, row, column].reshape(-1, 3)
            blocks[0, row, column] = rng.permutation(pixels).reshape(cell, cell, 3)
    shuffled = blocks.swapaxes(2, 3).reshape(faces.shape)
    np.testing.assert_array_equal(
        apply("pixelate", faces, cells), apply("pixelate", shuffled, cells)
    )
    assert (apply("pixelate", faces, cells) != apply("pixelate", crops(1, side_px, 2), cells)).any()


def test_downsample_keeps_no_colour_and_few_pixels() -> None:
    out = apply("downsample", crops(2, 224))
    assert out.shape == (2, 48, 48, 3)
    np.testing.assert_array_equal(out[..., 0], out[..., 1])
    np.testing.assert_array_equal(out[..., 0], out[..., 2])


def test_solid_keeps_nothing() -> None:
    np.testing.assert_array_equal(
        apply("solid", crops(2, seed=1)), apply("solid", crops(2, seed=2))
    )


def test_blur_removes_what_is_finer_than_its_sigma() -> None:
    fine = np.tile(np.array([0, 255], np.uint8), 48)[None, None, :, None].repeat(96, 1).repeat(3, 3)
    inner = apply("blur", fine)[:, :, 24:-24].astype(int)  # away from the replicated border
    assert np.ptp(inner) <= 1


def test_more_strength_leaves_less() -> None:
    faces = crops(1)
    spread = [apply("blur", faces, sigma).std() for sigma in (1, 4, 12)]
    assert spread == sorted(spread, reverse=True)


def test_a_name_is_taken_once_and_an_unknown_one_lists_the_known() -> None:
    with pytest.raises(ValueError, match="registered already"):
        register(anonymizer("blur"))
    with pytest.raises(
        ValueError, match="known: blur, downsample, k-same, noise, none, pixelate, solid"
    ):
        anonymizer("hat")
