"""What lies under a mask is gone, and nothing else is touched."""

import av
import numpy as np
import pytest

from operators.core.masks import STYLES, Masks, own_copy, planes

BOX = np.array([[20.0, 12.0, 60.0, 52.0]])


def picture(seed: int = 0, height: int = 72, width: int = 96) -> av.VideoFrame:
    rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return own_copy(av.VideoFrame.from_ndarray(rgb, format="rgb24"), "yuv420p")


def arrays(frame: av.VideoFrame) -> list[np.ndarray]:
    return [plane.copy() for plane in planes(frame)]


def redrawn(frame: av.VideoFrame, masks: Masks, turns: int = 0) -> list[np.ndarray]:
    copy = own_copy(frame, "yuv420p")
    masks.draw(copy, BOX, turns)
    return arrays(copy)


@pytest.mark.parametrize("style", STYLES)
def test_outside_the_box_no_sample_changes(style: str) -> None:
    frame = picture()
    for step, (before, after) in enumerate(
        zip(arrays(frame), redrawn(frame, Masks(style)), strict=True)
    ):
        part = 1 if step == 0 else 2
        inside = np.zeros(before.shape, bool)
        inside[12 // part : 52 // part, 20 // part : 60 // part] = True
        np.testing.assert_array_equal(before[~inside], after[~inside])
        assert (before[inside] != after[inside]).mean() > 0.9


def test_solid_leaves_one_value_whatever_was_there() -> None:
    for luma, cb, cr in (redrawn(picture(seed), Masks()) for seed in range(2)):
        assert set(np.unique(luma[12:52, 20:60])) == {16}
        assert set(np.unique(cb[6:26, 10:30])) == set(np.unique(cr[6:26, 10:30])) == {128}


def test_an_ellipse_covers_its_middle_and_leaves_the_corners() -> None:
    frame = picture()
    luma = redrawn(frame, Masks(shape="ellipse"))[0]
    assert luma[32, 40] == luma[13, 40] == luma[32, 21] == 16
    np.testing.assert_array_equal(luma[12:15, 20:23], arrays(frame)[0][12:15, 20:23])


def test_pixelate_keeps_cell_means_alone() -> None:
    """Shuffling the samples inside cells changes nothing that is left."""
    frame, shuffled = picture(), picture()
    rng = np.random.default_rng(3)
    luma = planes(shuffled)[0]
    for top in range(12, 52, 8):
        for left in range(20, 60, 8):
            cell = luma[top : top + 8, left : left + 8]
            cell[...] = rng.permutation(cell.ravel()).reshape(8, 8)
    masks = Masks("pixelate", strength=5)
    np.testing.assert_array_equal(
        redrawn(frame, masks)[0][12:52, 20:60], redrawn(shuffled, masks)[0][12:52, 20:60]
    )


def test_a_turned_picture_is_covered_where_the_box_is_upright() -> None:
    frame = picture()
    upright = np.rot90(redrawn(frame, Masks(), turns=1)[0], 1)
    assert set(np.unique(upright[12:52, 20:60])) == {16}


def test_what_lies_half_outside_the_picture_is_covered_inside() -> None:
    copy = own_copy(picture(), "yuv420p")
    Masks().draw(copy, np.array([[-30.0, -30.0, 10.0, 10.0], [200.0, 200.0, 300.0, 300.0]]), 0)
    assert set(np.unique(planes(copy)[0][:10, :10])) == {16}


def test_how_much_of_a_box_lies_under_masks() -> None:
    masks = Masks()
    boxes = np.array([[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0]])
    halves = np.array([[0.0, 0.0, 5.0, 10.0], [5.0, 0.0, 7.5, 10.0]])
    assert masks.covered(boxes, halves) == pytest.approx([0.75, 0.0], abs=0.1)
    circle = Masks(shape="ellipse").covered(boxes[:1], boxes[:1])
    assert circle == pytest.approx([np.pi / 4], abs=0.03)


def test_an_unknown_style_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown style"):
        Masks("smile")
