"""A second face detector that shares nothing with the first: a cascade of local binary patterns.

The trained cascade ships inside scikit-image: frontal faces, OpenCV's `lbpcascade_frontalface`.
Liao et al., "Learning multi-scale block local binary patterns for face recognition", 2007. It finds
upright faces that look at the camera, and now and then what is none.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LONG_SIDE_PX = 480
SMALLEST_PX = 32


class CascadeDetector:
    """Boxes of frontal faces in a grey picture."""

    name = "lbpcascade_frontalface (scikit-image)"

    def __init__(self) -> None:
        from skimage.feature import Cascade

        self._cascade: Any = Cascade(str(cascade_path()))

    def __call__(self, grey: NDArray[np.uint8]) -> NDArray[np.float64]:
        """(H, W) uint8 -> (N, 4) xyxy in its pixels; no face under `SMALLEST_PX`."""
        largest = min(grey.shape)
        if largest < SMALLEST_PX:
            return np.zeros((0, 4))
        found = self._cascade.detect_multi_scale(
            img=grey,
            scale_factor=1.2,
            step_ratio=1,
            min_size=(SMALLEST_PX, SMALLEST_PX),
            max_size=(largest, largest),
        )
        boxes = [
            (face["c"], face["r"], face["c"] + face["width"], face["r"] + face["height"])
            for face in found
        ]
        return np.array(boxes, np.float64).reshape(-1, 4)


def cascade_path() -> Path:
    """Where scikit-image keeps the cascade. Raises FileNotFoundError where it is not installed."""
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the second detector ships in `scikit-image`: install it")
    return Path(spec.origin).with_name("data") / "lbpcascade_frontalface_opencv.xml"
