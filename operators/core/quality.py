"""How far a face can be trusted: sharpness, brightness, size, pose, cover. Rough, and cheap."""

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.core.geometry import box_areas

Crops = NDArray[np.uint8]
Measures = NDArray[np.float32]

#: Sharpness and cover are measured at this size, whatever the crop's, so that they compare.
MEASURE_PX = 48
#: Rows and columns of the eyes and the mouth in an aligned crop of `MEASURE_PX`.
PARTS = (
    (slice(15, 23), slice(10, 21)),
    (slice(15, 23), slice(27, 38)),
    (slice(32, 40), slice(15, 33)),
)
#: Where the nose tip of a frontal face lies between eyes (0) and mouth (1): as in FER2013.
NOSE_SHARE = 0.56
#: Distance of the eyes (62 mm), and of eyes and mouth (64 mm), over how far an average nose tip
#: stands out of their plane (24 mm).
EYES_TO_NOSE, DROP_TO_NOSE = 2.6, 2.7
#: ITU-R BT.601 luma of RGB.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def luma(crops: Crops) -> NDArray[np.float32]:
    """Brightness of every pixel: (N, H, W, 3) uint8 RGB -> (N, H, W) float32 in 0..1."""
    return np.asarray(crops.astype(np.float32) @ (LUMA / 255), np.float32)


def sharpness(crops: Crops) -> Measures:
    """Variance of the Laplacian, relative to the variance of luma: (N, H, W, 3) uint8 -> (N,).

    Measured at `MEASURE_PX`, and divided by the crop's contrast: neither the crop's size nor the
    light changes it, blur does. About 0.02 for a blurred face, 0.3 and more for a sharp one.
    Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000.
    """
    small = _at_measure_size(luma(crops))
    edges = np.array([cv2.Laplacian(f, cv2.CV_32F) for f in small], np.float32).reshape(small.shape)
    contrast = small.var(axis=(1, 2))
    return (edges.var(axis=(1, 2)) / (contrast + 1e-4)).astype(np.float32)


def brightness(crops: Crops) -> Measures:
    """Mean luma: (N, H, W, 3) uint8 -> (N,) in 0 (black) .. 1 (white)."""
    return luma(crops).mean(axis=(1, 2)).astype(np.float32)


def size_px(xyxy_px: NDArray[np.floating]) -> Measures:
    """Square root of the box's area: (N, 4) -> (N,) in pixels of the frame."""
    return np.sqrt(box_areas(xyxy_px)).astype(np.float32)


def head_pose(
    landmarks_px: NDArray[np.floating],
) -> tuple[Measures, Measures, Measures]:
    """Yaw, pitch and roll in degrees from five points, (N, 5, 2) -> three of (N,). Rough.

    Positive: yaw turns the face to the picture's right, pitch lifts it, roll tilts the eyes' line
    clockwise. The nose tip stands out of the plane of eyes and mouth, so it moves against them as
    the head turns. Proportions are an average head's, the view is taken as parallel, and a face's
    own shape is read as a turn: errors of 10 degrees are common, beyond 45 the angle only ranks.
    """
    eye_left, eye_right, nose, mouth_left, mouth_right = np.moveaxis(
        np.asarray(landmarks_px, np.float64), 1, 0
    )
    along = eye_right - eye_left
    roll = np.arctan2(along[:, 1], along[:, 0])
    across = np.stack([np.cos(roll), np.sin(roll)], axis=1)
    down = np.stack([-np.sin(roll), np.cos(roll)], axis=1)
    eyes, mouth = (eye_left + eye_right) / 2, (mouth_left + mouth_right) / 2

    drop = np.einsum("nd,nd->n", mouth - eyes, down)
    nose_drop = np.einsum("nd,nd->n", nose - eyes, down)
    share = np.divide(nose_drop, drop, out=np.full_like(drop, NOSE_SHARE), where=drop > 0)
    axis = eyes + (mouth - eyes) * NOSE_SHARE
    aside = np.einsum("nd,nd->n", nose - axis, across)
    width = np.linalg.norm(along, axis=1)
    yaw = np.arctan2(aside * EYES_TO_NOSE, width)
    pitch = np.arctan((NOSE_SHARE - share) * DROP_TO_NOSE)
    yaw, pitch, roll = (np.degrees(a).astype(np.float32) for a in (yaw, pitch, roll))
    return yaw, pitch, roll


def occlusion(crops: Crops) -> Measures:
    """Hint that an eye or the mouth is covered: aligned crops (N, H, W, 3) uint8 -> (N,) in 0..1.

    A mask, a hand or dark glasses have fewer edges than what they cover. The least of the edge
    strengths at both eyes and the mouth, beside the whole face's, becomes 0 from 0.8 on and 1 from
    0.3 down. Of uncovered faces 5 in 100 come out above 0.15; patterned covers come out as none.
    """
    if not len(crops):
        return np.zeros(0, np.float32)
    faces = _at_measure_size(luma(crops))
    edges = np.array([_edge_strength(face) for face in faces])
    whole = edges[:, 8:44, 6:42].mean(axis=(1, 2)) + 0.01
    parts = [edges[:, rows, columns].mean(axis=(1, 2)) / whole for rows, columns in PARTS]
    return np.clip((0.8 - np.min(parts, axis=0)) / 0.5, 0, 1).astype(np.float32)


def _edge_strength(face: NDArray[np.float32]) -> NDArray[np.float32]:
    across, down = (cv2.Sobel(face, cv2.CV_32F, dx, 1 - dx) for dx in (1, 0))
    return np.hypot(across, down)


def _at_measure_size(faces: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, H, W) float32 -> (N, MEASURE_PX, MEASURE_PX) float32, area-averaged when shrunk."""
    if faces.shape[1:] == (MEASURE_PX, MEASURE_PX) or not len(faces):
        return faces.reshape(-1, MEASURE_PX, MEASURE_PX)
    how = cv2.INTER_AREA if faces.shape[1] > MEASURE_PX else cv2.INTER_LINEAR
    sized = [cv2.resize(f, (MEASURE_PX, MEASURE_PX), interpolation=how) for f in faces]
    return np.stack(sized).astype(np.float32)
