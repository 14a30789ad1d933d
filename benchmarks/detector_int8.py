"""CenterFace in 8 bits: measure its layers' bounds, and what is lost by them.

    python -m benchmarks.detector_int8 --people PEOPLE.PARQUET --faces FACES.PARQUET --clip CLIP.mp4
    python -m benchmarks.detector_int8 ... --bounds      # measures the bounds anew before

Faces are pasted on frames of a clip that has none: half of the people (`image`, `subject`) and the
clip's first half give the bounds, the others and all of `--faces` (`image`) the recall at each
size and precision. Bounds go to `operators/core/centerface_int8.json`: two numbers a layer.
"""

import argparse
import io
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.machine import RESULTS, described
from operators.core.centerface import INT8_BOUNDS
from operators.core.detect import FaceDetector, padded_size, weights_path
from operators.core.eight_bits import convolutions
from operators.core.frames import Pixels
from operators.core.media import probe
from operators.core.openvino_core import openvino_core
from operators.core.source import FrameSource

SIZE_HW = 360, 640
SIZES_PX = 20, 24, 28, 32, 40, 48, 64, 96, 140, 240
#: The first layers at full size, where rounding costs most and 8 bits gain nothing.
KEPT = ("366", "369")
PRECISIONS = ("f32", "auto", "int8")
THRESHOLDS = 0.2, 0.3
LOWEST = 0.05

Image = NDArray[np.uint8]
Box = tuple[int, int, int]


def backgrounds(clip: Path) -> list[Image]:
    height, width = SIZE_HW
    with clip.open("rb") as file:
        info = probe(file)
        pixels = Pixels(info.rotation_degrees)
        frames = FrameSource(file, info).frames(0)
        return [
            pixels.rgb_fit(frame, width, height)
            for i, (_, frame) in enumerate(frames)
            if i % 5 == 0
        ]


def pictures(images: Iterable[bytes]) -> list[Image]:
    from PIL import Image as PillowImage

    return [np.asarray(PillowImage.open(io.BytesIO(b)).convert("RGB")) for b in images]


def scenes(
    walls: list[Image], faces: list[Image], count: int, largest_px: int, seed: int
) -> Iterator[tuple[Image, list[Box]]]:
    """Frames with faces on them, and their left, top and width."""
    rng = np.random.default_rng(seed)
    height, width = SIZE_HW
    for _ in range(count):
        scene = walls[rng.integers(len(walls))].copy()
        boxes: list[Box] = []
        for _ in range(4):
            face = faces[rng.integers(len(faces))]
            wide = int(rng.choice([size for size in SIZES_PX if size <= largest_px]))
            high = round(wide * face.shape[0] / face.shape[1])
            left, top = int(rng.integers(width - wide)), int(rng.integers(height - high))
            apart = all(abs(left - x) > max(wide, w) or abs(top - y) > 180 for x, y, w in boxes)
            if apart:
                _paste(scene, face, left, top, wide, high, rng)
                boxes.append((left, top, wide))
        yield scene, boxes


def _paste(
    scene: Image, face: Image, left: int, top: int, wide: int, high: int, rng: np.random.Generator
) -> None:
    """A face in a soft ellipse, in a light and contrast of its own."""
    small = cv2.resize(face, (wide, high), interpolation=cv2.INTER_AREA).astype(np.float64)
    small = (small - 128) * rng.uniform(0.4, 1) + 128 + rng.uniform(-50, 40)
    small = np.clip(small * np.array([1, 0.85, 0.75]) ** rng.random(), 0, 255)
    ys, xs = np.mgrid[0:high, 0:wide]
    away = ((xs + 0.5) / wide * 2 - 1) ** 2 + ((ys + 0.5) / high * 2 - 1) ** 2
    share = np.clip((1.1 - away) * 5, 0, 1)[..., None]
    part = scene[top : top + high, left : left + wide]
    part[...] = part * (1 - share) + small * share


def measured_bounds(images: list[Image]) -> dict[str, list[float]]:
    """The least and the largest input of each layer over all pictures, in f32."""
    import openvino

    core = openvino_core()
    model = core.read_model(weights_path())
    model.reshape([1, 3, *padded_size(*SIZE_HW)])
    layers = {name: node for name, node in convolutions(model).items() if name not in KEPT}
    inputs = [openvino.opset13.result(node.input_value(0)) for node in layers.values()]
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    inside = openvino.Model(inputs, model.get_parameters(), "inside")  # pyright: ignore
    compiled = core.compile_model(inside, "CPU", exact)
    bounds = {name: [0.0, 0.0] for name in layers}
    for image in images:
        padded = np.zeros((1, *padded_size(*SIZE_HW), 3), np.float32)
        padded[0, : image.shape[0], : image.shape[1]] = image
        seen = compiled([padded.transpose(0, 3, 1, 2)])
        for i, bound in enumerate(bounds.values()):
            bound[0] = min(bound[0], round(float(seen[i].min()), 3))
            bound[1] = max(bound[1], round(float(seen[i].max()), 3))
    first = next(iter(layers))
    bounds[first] = [0.0, 255.0]  # pixels: nothing is lost
    return bounds


def scores(detector: FaceDetector, image: Image, boxes: list[Box]) -> tuple[list[float], int]:
    """The best score at each face, and how many detections are none of them."""
    found = detector([image], LOWEST)[0]
    middles = (found.xyxy_px[:, :2] + found.xyxy_px[:, 2:]) / 2
    wide = found.xyxy_px[:, 2] - found.xyxy_px[:, 0]
    best, other = [], np.ones(len(found), bool)
    for left, top, size in boxes:
        inside = (np.abs(middles - [left + size / 2, top + size * 0.6]) < size * 0.6).all(axis=1)
        other &= ~inside
        fits = inside & (wide > 0.4 * size) & (wide < 1.8 * size)
        best.append(float(found.scores[fits].max(initial=0)))
    return best, int((found.scores[other] > THRESHOLDS[0]).sum())


def compared(made: list[tuple[Image, list[Box]]]) -> dict[str, Any]:
    """Recall of each precision, by size and threshold; how far scores are from those of f32."""
    sizes = np.array([wide for _, boxes in made for _, _, wide in boxes])
    known: dict[str, NDArray[np.float64]] = {}
    result: dict[str, Any] = {"faces": len(sizes)}
    for precision in PRECISIONS:
        detector = FaceDetector(long_side_px=max(SIZE_HW), precision=precision)
        detector([made[0][0]])
        begin = time.process_time()
        found = [scores(detector, image, boxes) for image, boxes in made]
        seconds = (time.process_time() - begin) / len(made)
        known[detector.name] = np.array([score for best, _ in found for score in best])
        score, exact = known[detector.name], next(iter(known.values()))
        result[detector.name] = {
            "milliseconds_of_cpu": round(1000 * seconds, 1),
            "recall": {f"{t}": round(float((score > t).mean()), 3) for t in THRESHOLDS},
            "recall_by_px": {
                int(size): round(float((score[sizes == size] > THRESHOLDS[0]).mean()), 2)
                for size in np.unique(sizes)
            },
            "score_off_by": round(float(np.abs(score - exact).mean()), 3),
            # what was to be covered, and would not be seen where it is left
            "above_0.3_in_f32_and_not_above_0.2": int(((exact > 0.3) & (score <= 0.2)).sum()),
            "others": sum(other for _, other in found),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detector_int8")
    parser.add_argument("--people", type=Path, required=True)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--clip", type=Path, required=True, help="without any face")
    parser.add_argument("--bounds", action="store_true", help="measure them anew")
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--out", type=Path, default=RESULTS / "detector_int8.json")
    options = parser.parse_args()
    walls = backgrounds(options.clip)
    half = len(walls) // 2
    people = pd.read_parquet(options.people)
    first = (people["subject"] <= people["subject"].median()).to_numpy()
    images = people["image"].to_numpy()
    if options.bounds:
        made = scenes(walls[:half], pictures(images[first]), 60, max(SIZES_PX), seed=0)
        bounds = measured_bounds([*walls[:half], *(image for image, _ in made)])
        lines = (f" {json.dumps(name)}: {json.dumps(bound)}" for name, bound in bounds.items())
        INT8_BOUNDS.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    others = pictures(images[~first])
    faces = pictures(pd.read_parquet(options.faces)["image"].sample(500, random_state=0))
    result = {
        "machine": described(),
        "people": compared([*scenes(walls[half:], others, options.scenes, 240, seed=1)]),
        "faces": compared([*scenes(walls[half:], faces, options.scenes, 64, seed=2)]),
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
