"""Cut faces out upright, at one size and one place of eyes and mouth."""

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.core.geometry import (
    boxes_to_square,
    similarity,
    similarity_scale,
    transform_points,
)

#: Eyes, nose tip and mouth corners of a FER2013 face, (5, 2) in fractions of the crop's side: the
#: mean of 566 faces of its training split and their mirror images, by the procedure of
#: `benchmarks/alignment_template.py`.
TEMPLATE = np.array(
    [[0.324, 0.390], [0.676, 0.390], [0.500, 0.588], [0.358, 0.743], [0.642, 0.743]]
)
#: Landmarks that lie within so many pixels of each other say nothing about the face's pose.
MIN_SPREAD_PX = 1.0


def alignable(landmarks_px: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which faces' landmarks give a pose: finite, and not all at one point. (N, 5, 2) -> (N,)."""
    finite = np.isfinite(landmarks_px).all(axis=(1, 2))
    spread = np.ptp(np.where(np.isfinite(landmarks_px), landmarks_px, 0), axis=1).max(axis=1)
    return finite & (spread >= MIN_SPREAD_PX)


def alignment(
    landmarks_px: NDArray[np.floating],
    crop_px: int,
    margin: float = 0.0,
    xyxy_px: NDArray[np.floating] | None = None,
) -> NDArray[np.float64]:
    """The similarities from frame to crop, (N, 2, 3), in coordinates that count pixel edges.

    margin: what is shown beyond the FER2013 frame on each side, in fractions of that frame. Faces
    that are not `alignable` use their box (N, 4) instead, as it is; without one, their first
    point.
    """
    target = (TEMPLATE + margin) / (1 + 2 * margin) * crop_px
    usable = alignable(landmarks_px)
    points = np.asarray(np.where(usable[:, None, None], landmarks_px, TEMPLATE), np.float64)
    transforms = similarity(points, target)
    if not usable.all():
        point = np.nan_to_num(landmarks_px[:, 0])
        boxes = np.concatenate([point, point], axis=1) if xyxy_px is None else xyxy_px
        transforms[~usable] = boxes_to_square(boxes[~usable], crop_px)
    return transforms


def align(
    image: NDArray[np.uint8],
    landmarks_px: NDArray[np.floating],
    crop_px: int,
    margin: float = 0.0,
    xyxy_px: NDArray[np.floating] | None = None,
) -> NDArray[np.uint8]:
    """Upright crops in which eyes and mouth lie as in FER2013: (N, crop_px, crop_px, 3) uint8.

    image: (H, W, 3) uint8 RGB; landmarks_px: (N, 5, 2) as the detector gives them; margin and
    xyxy_px as in `alignment`. Large faces are area-averaged, so that no detail folds over; small
    ones are enlarged by cubic interpolation. Beyond the image its border is repeated.
    """
    crops = np.empty((len(landmarks_px), crop_px, crop_px, 3), np.uint8)
    transforms = alignment(landmarks_px, crop_px, margin, xyxy_px)
    scales = similarity_scale(transforms)
    for i, (transform, scale) in enumerate(zip(transforms, scales, strict=True)):
        crops[i] = _warp(image, transform, float(scale), crop_px)
    return crops


def _warp(
    image: NDArray[np.uint8], transform: NDArray[np.float64], scale: float, crop_px: int
) -> NDArray[np.uint8]:
    """One crop. Where it is smaller than its source, the source is first shrunk by area."""
    left, top, right, bottom = _source_window(image, transform, crop_px)
    window = image[top:bottom, left:right]
    shrink = np.array([1.0, 1.0])
    if scale < 1:
        width = max(1, round((right - left) * scale))
        height = max(1, round((bottom - top) * scale))
        window = cv2.resize(window, (width, height), interpolation=cv2.INTER_AREA)
        shrink = np.array([width / (right - left), height / (bottom - top)])
    linear = transform[:, :2] / shrink
    shift = transform[:, 2] + transform[:, :2] @ np.array([left, top], np.float64)
    # OpenCV counts from pixel centres, landmarks from pixel edges.
    shift = shift + linear @ np.array([0.5, 0.5]) - 0.5
    warped = cv2.warpAffine(
        window,
        np.column_stack([linear, shift]),
        (crop_px, crop_px),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(warped, np.uint8)


def _source_window(
    image: NDArray[np.uint8], transform: NDArray[np.float64], crop_px: int
) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what the crop shows, with room for interpolation, inside."""
    inverse = np.asarray(cv2.invertAffineTransform(transform), np.float64)
    side = float(crop_px)
    corners = np.array([[[0, 0], [side, 0], [0, side], [side, side]]], np.float64)
    shown = transform_points(inverse[None], corners)[0]
    room = 3 / min(1.0, max(1e-6, float(similarity_scale(transform[None])[0]))) + 1
    limit = np.array([image.shape[1], image.shape[0]])
    low = np.clip(np.floor(shown.min(axis=0) - room), 0, limit - 1).astype(int)
    high = np.clip(np.ceil(shown.max(axis=0) + room), low + 1, limit).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])
