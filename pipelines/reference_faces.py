"""Make the averages that the anonymizer `k-same` puts in a face's place.

    python -m pipelines.reference_faces --data train.parquet

`train.parquet` has `image` and `label`: FER2013's Training split for the file that ships. Each
average is of the 400 images of a label that mien-lite is surest of, brought to one brightness and
contrast, mirrored, and drawn apart from the common mean so that the average is read as its label.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from operators.backbone import MIEN_LITE, load_backbone
from operators.core.k_same import REFERENCES_FILE, SIDE_PX
from operators.core.tower import ImageTower
from operators.methods.prompts import CLASS_PROMPTS
from operators.methods.zero_shot import ZeroShot, class_embeddings
from pipelines.faces import read_faces
from schemas.config import Score
from schemas.tables import LABELS

#: Faces in an average: k. The rarest label of FER2013's Training split has 436.
COUNT = 400
GAIN = 2.0
MIDDLE, CONTRAST = 128.0, 55.0


def make_references(data: str) -> bytes:
    """The file's content; `ValueError` where an average is not read as its label."""
    faces = read_faces(data, ("label",))
    backbone = load_backbone(MIEN_LITE)
    tower, scorer = ImageTower(backbone), ZeroShot(Score(), backbone)
    grey, sure = [], []
    for _, crops in faces.crops(SIDE_PX):
        grey.append(crops[..., 0])
        sure.append(scorer.score(tower(crops)))
    images, probabilities = np.concatenate(grey), np.concatenate(sure)
    labels = faces.labels
    assert labels is not None
    if (np.bincount(labels[labels >= 0], minlength=len(LABELS)) < COUNT).any():
        raise ValueError(f"{data}: every label needs {COUNT} faces")
    means = []
    for label in range(len(LABELS)):
        surest = np.argsort(-probabilities[:, label] * (labels == label), kind="stable")[:COUNT]
        means.append(_average(images[surest]))
    references = np.stack(means)
    common = references.mean(axis=0)
    apart = np.clip(np.rint(common + GAIN * (references - common)), 0, 255).astype(np.uint8)
    read = scorer.score(tower(np.repeat(apart[..., None], 3, axis=-1)))
    print(dict(zip(LABELS, read.max(axis=1).round(2).tolist(), strict=True)))  # noqa: T201
    if (read.argmax(axis=1) != np.arange(len(LABELS))).any():
        raise ValueError("an average is not read as its label")
    card = {
        "backbone_sha256": backbone.sha256,
        "faces_an_average": COUNT,
        "gain": GAIN,
        "data_sha256": faces.sha256,
        "data": "FER2013, official Training split; its terms are those of mien-lite's card",
    }
    classes = class_embeddings(backbone, CLASS_PROMPTS).astype(np.float32)
    return save({"references": apart, "classes": classes}, {"card": json.dumps(card)})


def _average(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The mean of `(k, S, S)` faces, each at the same brightness and contrast, and mirrored."""
    wide = images.astype(np.float64)
    wide -= wide.mean(axis=(1, 2), keepdims=True)
    wide /= np.maximum(wide.std(axis=(1, 2), keepdims=True), 1e-3)
    mean = MIDDLE + CONTRAST * wide.mean(axis=0)
    return (mean + mean[:, ::-1]) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, default=REFERENCES_FILE)
    given = parser.parse_args()
    given.out.write_bytes(make_references(given.data))


if __name__ == "__main__":
    main()
