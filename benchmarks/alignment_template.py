"""Where the five landmarks lie in a FER2013 face on average: the template of the alignment.

Enlarges faces of the training split, places each on a plain grey canvas, runs the detector on it,
and averages the landmarks of the faces found with those of their mirror images, since a face is as
often turned one way as the other. Prints ten numbers, in fractions of the crop's side.

    python benchmarks/alignment_template.py ../shared/data/fer2013/train.parquet [faces]
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from operators.core.detect import FaceDetector

FACE_PX, CANVAS_PX = 192, 384
#: A mirror image swaps the eyes and the mouth's corners.
MIRRORED = [1, 0, 2, 4, 3]


def face_on_canvas(encoded: bytes) -> NDArray[np.uint8]:
    """One face of the data set, enlarged, in the middle of a plain canvas, (H, W, 3) uint8."""
    face = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert face is not None
    large = cv2.resize(face, (FACE_PX, FACE_PX), interpolation=cv2.INTER_CUBIC)
    canvas = np.full((CANVAS_PX, CANVAS_PX), 127, np.uint8)
    edge = (CANVAS_PX - FACE_PX) // 2
    canvas[edge : edge + FACE_PX, edge : edge + FACE_PX] = np.asarray(large, np.uint8)
    return np.repeat(canvas[:, :, None], 3, axis=2)


def template(images: list[bytes]) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Mean and standard deviation of the landmarks, (5, 2) in crop sides, and faces found."""
    detector = FaceDetector(precision="f32")
    points = []
    for encoded in images:
        found = detector([face_on_canvas(encoded)])[0]
        if len(found) == 1:
            points.append((found.landmarks_px[0] - (CANVAS_PX - FACE_PX) / 2) / FACE_PX)
    seen = np.array(points, np.float64)
    mirrored = seen[:, MIRRORED] * [-1, 1] + [1, 0]
    both = np.concatenate([seen, mirrored])
    return both.mean(axis=0), both.std(axis=0), len(seen)


def main() -> None:
    path, count = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 800
    column = pq.read_table(path, columns=["image"]).column("image").to_pylist()
    chosen = column[:: max(1, len(column) // count)][:count]
    encoded = [c["bytes"] if isinstance(c, dict) else c for c in chosen]
    mean, deviation, found = template(encoded)
    print(f"{found} of {len(encoded)} faces found")
    print("mean      ", np.round(mean, 3).tolist())
    print("deviation ", np.round(deviation, 3).tolist())


if __name__ == "__main__":
    main()
