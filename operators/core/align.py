"""PROVISIONAL, to be replaced by its owner: the caller's signature is right, the rest is simple."""

import cv2
import numpy as np
from numpy.typing import NDArray

TEMPLATE = np.array([[0.31, 0.38], [0.69, 0.38], [0.5, 0.6], [0.35, 0.78], [0.65, 0.78]])


def align(
    image: NDArray[np.uint8], landmarks: NDArray[np.float32], crop_px: int
) -> NDArray[np.uint8]:
    out = np.zeros((len(landmarks), crop_px, crop_px, 3), np.uint8)
    for i, points in enumerate(landmarks):
        matrix, _ = cv2.estimateAffinePartial2D(points.astype(np.float64), TEMPLATE * crop_px, method=cv2.LMEDS)
        out[i] = cv2.warpAffine(image, matrix, (crop_px, crop_px), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    return out
