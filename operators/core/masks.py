"""Cover parts of a frame for good, in the planes that the encoder takes."""

from dataclasses import dataclass

import av
import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.unsignedinteger]

STYLES = ("solid", "pixelate", "blur")
#: Cells across a mask, and sigma in percent of its longer side, where no strength is given.
PIXELATE_CELLS, BLUR_SIGMA_PERCENT = 5.0, 20.0
#: Points across a detection at which it is asked whether a mask lies over it.
COVER_POINTS = 12


@dataclass(frozen=True)
class Masks:
    """How a face is covered.

    style: `solid` is black; `pixelate` keeps `strength` cell means across the longer side; `blur`
    is a Gaussian of `strength` percent of it. shape: `box`, or the `ellipse` inside the box.
    """

    style: str = "solid"
    shape: str = "box"
    strength: float | None = None

    def __post_init__(self) -> None:
        if self.style not in STYLES or self.shape not in ("box", "ellipse"):
            raise ValueError(f"unknown style or shape: {self.style!r}, {self.shape!r}")

    def draw(self, frame: av.VideoFrame, xyxy_px: NDArray[np.floating], turns: int) -> None:
        """Cover boxes of the upright picture in a frame of planar YUV that is nobody else's.

        xyxy_px: (N, 4) pixels of the upright picture, which the coded one becomes by `turns`
        quarters counterclockwise.
        """
        black = solid_values(frame)
        shown = planes(frame)
        upright = [np.rot90(plane, turns) for plane in shown]
        height, width = upright[0].shape
        for plane, value in zip(upright, black, strict=True):
            sides = np.array([plane.shape[1] / width, plane.shape[0] / height] * 2)
            for box in xyxy_px * sides:
                self._cover(plane, box, value)

    def _cover(self, plane: Plane, box: NDArray[np.floating], black: int) -> None:
        left, top = np.maximum(np.floor(box[:2]), 0).astype(int)
        right, bottom = np.ceil(box[2:]).astype(int)
        part = plane[top:bottom, left:right]
        if not part.size:
            return
        if self.style == "solid":
            covered: Plane | int = black
        else:
            covered = self._weakened(np.ascontiguousarray(part))
        if self.shape == "box":
            part[...] = covered
            return
        ys = np.arange(top, top + part.shape[0])[:, None] + 0.5
        xs = np.arange(left, left + part.shape[1])[None] + 0.5
        np.copyto(part, covered, where=_inside(box, xs, ys, spare=1.0), casting="unsafe")

    def _weakened(self, part: Plane) -> Plane:
        height, width = part.shape
        long = max(height, width)
        if self.style == "pixelate":
            cell = long / (self.strength or PIXELATE_CELLS)
            few = (max(1, round(width / cell)), max(1, round(height / cell)))
            means = cv2.resize(part, few, interpolation=cv2.INTER_AREA)
            return np.asarray(
                cv2.resize(means, (width, height), interpolation=cv2.INTER_NEAREST), part.dtype
            )
        sigma = long * (self.strength or BLUR_SIGMA_PERCENT) / 100
        # in float: OpenCV's 8-bit kernel is rounded, and lets some of the finest detail through
        soft = cv2.GaussianBlur(
            part.astype(np.float32), (0, 0), sigma, borderType=cv2.BORDER_REPLICATE
        )
        return np.rint(soft).astype(part.dtype)

    def covered(
        self, xyxy_px: NDArray[np.floating], masks_px: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """Share of each box that lies under a mask: (N, 4) and (M, 4) -> (N,) in 0..1."""
        shares = np.zeros(len(xyxy_px))
        steps = (np.arange(COVER_POINTS) + 0.5) / COVER_POINTS
        for i, (left, top, right, bottom) in enumerate(xyxy_px):
            xs = (left + steps * (right - left))[None]
            ys = (top + steps * (bottom - top))[:, None]
            under = np.zeros((COVER_POINTS, COVER_POINTS), bool)
            for mask in masks_px:
                if self.shape == "ellipse":
                    under |= _inside(mask, xs, ys)
                else:
                    across = (xs >= mask[0]) & (xs <= mask[2])
                    under |= across & (ys >= mask[1]) & (ys <= mask[3])
            shares[i] = under.mean()
        return shares


def _inside(
    box: NDArray[np.floating],
    xs: NDArray[np.floating],
    ys: NDArray[np.floating],
    spare: float = 0.0,
) -> NDArray[np.bool_]:
    """Which points lie in the ellipse that a box encloses, made larger by `spare` pixels."""
    middle, half = (box[:2] + box[2:]) / 2, np.maximum((box[2:] - box[:2]) / 2 + spare, 1e-6)
    return ((xs - middle[0]) / half[0]) ** 2 + ((ys - middle[1]) / half[1]) ** 2 <= 1


def planes(frame: av.VideoFrame) -> list[Plane]:
    """The planes of a planar frame, without their padding: views, as writable as the frame is."""
    kind = np.uint16 if frame.format.components[0].bits > 8 else np.uint8
    views = []
    for plane in frame.planes:
        rows = np.frombuffer(plane, kind).reshape(plane.height, -1)  # pyright: ignore
        views.append(rows[:, : plane.width])
    return views


def solid_values(frame: av.VideoFrame) -> list[int]:
    """Black, plane by plane: limited range but where the frame says that it is full."""
    extra = frame.format.components[0].bits - 8
    full = frame.color_range == 2 or frame.format.name.startswith("yuvj")
    luma = 0 if full else 16 << extra
    return [luma, *[128 << extra] * (len(frame.planes) - 1)]


def own_copy(frame: av.VideoFrame, pixels: str) -> av.VideoFrame:
    """The same picture in a planar YUV format and memory of its own, without any side data.

    Where nothing but the format's name differs, the samples are copied as they are.
    """
    copy = av.VideoFrame(frame.width, frame.height, pixels)
    if frame.format.name.replace("yuvj", "yuv") != pixels:
        frame = frame.reformat(format=pixels, threads=1)
    for target, source in zip(planes(copy), planes(frame), strict=True):
        target[...] = source
    copy.color_range = 2 if frame.format.name.startswith("yuvj") else frame.color_range
    return copy
