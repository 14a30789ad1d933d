"""Pixels of decoded frames: upright, scaled by swscale in one pass."""

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

#: Size of the luma picture on which shot cuts are found.
THUMB_HW = (36, 64)


class Pixels:
    """Turns frames into arrays; keeps swscale's tables between frames of one size.

    One for each reader: it is not for several threads.
    """

    def __init__(self, rotation_degrees: int = 0) -> None:
        self._turns = rotation_degrees // 90
        self._scalers: dict[str, VideoReformatter] = {}

    def rgb(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """The upright picture at its own size: (H, W, 3) uint8 RGB."""
        return self._upright(self._scale("full", frame, frame.width, frame.height, "rgb24"))

    def rgb_fit(self, frame: av.VideoFrame, width_px: int, height_px: int) -> NDArray[np.uint8]:
        """The upright picture scaled to (height_px, width_px, 3) uint8 RGB, area-averaged."""
        if self._turns % 2:
            width_px, height_px = height_px, width_px
        return self._upright(self._scale("fit", frame, width_px, height_px, "rgb24"))

    def luma(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """A small brightness picture, as coded, not turned: `THUMB_HW` uint8."""
        return self._scale("luma", frame, THUMB_HW[1], THUMB_HW[0], "gray")

    def _upright(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        # numpy's rot90 turns counterclockwise, as the display matrix counts.
        return np.ascontiguousarray(np.rot90(picture, self._turns)) if self._turns else picture

    def _scale(
        self, purpose: str, frame: av.VideoFrame, width: int, height: int, pixels: str
    ) -> NDArray[np.uint8]:
        scaler = self._scalers.setdefault(purpose, VideoReformatter())
        shrinks = width < frame.width or height < frame.height
        how = Interpolation.AREA if shrinks else Interpolation.BILINEAR
        scaled = scaler.reformat(frame, width, height, pixels, interpolation=int(how), threads=1)
        return np.asarray(scaled.to_ndarray(), np.uint8)


def rgb(frame: av.VideoFrame, rotation_degrees: int) -> NDArray[np.uint8]:
    """The upright picture at its own size: (H, W, 3) uint8 RGB. For one frame; else `Pixels`."""
    return Pixels(rotation_degrees).rgb(frame)


def rgb_fit(
    frame: av.VideoFrame, rotation_degrees: int, width_px: int, height_px: int
) -> NDArray[np.uint8]:
    """The upright picture scaled: (height_px, width_px, 3). For one frame; else `Pixels`."""
    return Pixels(rotation_degrees).rgb_fit(frame, width_px, height_px)
