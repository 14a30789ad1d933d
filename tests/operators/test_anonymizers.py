"""Anonymizers: what each destroys, proven on the pixels."""

import numpy as np
import pytest
from numpy.typing import NDArray

from operators.core.anonymizers import anonymizer, anonymizers, reference_swap, register
from operators.core.k_same import in_steps

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


def test_noise_depends_on_epsilon_as_fan_says() -> None:
    """Cells of 64 px: the scale of the noise is 255 m / (64 epsilon)."""
    faces = np.full((400, 96, 96, 3), 128, np.uint8)
    faces[:, 0, 0, 0] = np.arange(400) % 256  # crops that differ have other noise
    faces[:, 0, 1, 0] = np.arange(400) // 256
    out = apply("noise", faces, 10.0)[:, 4::8, 4::8, 0].astype(float)
    scale = 255 * 16 / (64 * 10)
    assert np.abs(out[:, 1:] - 128).mean() == pytest.approx(scale, rel=0.03)
    assert len(np.unique(out[:, 1, 1])) > 20


def test_k_same_gives_one_of_seven_pictures_of_nobody() -> None:
    out = apply("k-same", crops(40))
    assert len(np.unique(out, axis=0)) <= 7
    np.testing.assert_array_equal(out[..., 0], out[..., 2])


def test_steps_round_probabilities_and_keep_their_sum() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    np.testing.assert_allclose(in_steps(probabilities, 1), [[1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(in_steps(probabilities, 2), [[0.5, 0.5, 0], [0, 0, 1]])
    many = np.random.default_rng(0).dirichlet(np.ones(7), 50)
    for steps in (1, 3, 10):
        np.testing.assert_allclose(in_steps(many, steps).sum(axis=1), 1)


def test_reference_swap_leaves_the_difference_only() -> None:
    """A picture that a track carries is gone; what changes in it stays."""
    change = np.zeros((4, 24, 24, 3), np.uint8)
    change[1::2, 4:8] = 40
    population = np.full((24, 24, 3), 100.0)
    track = np.array([0, 0, 1, 1])
    ground = np.zeros((4, 24, 24, 3), np.uint8)
    ground[:2], ground[2:, :, ::2] = 30, 160
    out = reference_swap(change + ground, track, population)
    np.testing.assert_array_equal(out[:2], out[2:])
    assert np.ptp(out[1].astype(int) - out[0]) == 40
