"""k-same: a face becomes the average of k faces with the same apparent expression.

After Gross, Airoldi, Malin and Sweeney 2005, Integrating utility into face de-identification
(k-Same-Select): faces are grouped by what is to be kept, and each is replaced by its group's
average, so that nothing of the one face is left but its group. The groups here are the apparent
expressions as mien-lite reads them; the averages ship, each of 400 images
(`python -m pipelines.reference_faces` makes them), and no single one of those does.

The published algorithm groups the very faces of one collection, so that each result stands for k
people of it. Here the groups are made beforehand, from other people: a run sees its faces one by
one. Nothing of a face reaches the result but seven rounded probabilities.
"""

import hashlib
import json
import threading
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from operators.core.verdict import softmax

REFERENCES_FILE = Path(__file__).with_suffix(".safetensors")
SIDE_PX = 48
#: The tower is padded to so many crops: few, since a segment may hold few.
BATCH_SHAPE = 32


class Reader:
    """Apparent expressions `(N, L) float32` of crops, and the averages that stand for them."""

    def __init__(self) -> None:
        # torch and the weights: only where this anonymizer is chosen
        from operators.backbone import MIEN_LITE, BackboneError, load_backbone
        from operators.core.tower import ImageTower

        with safe_open(REFERENCES_FILE, "numpy") as file:
            card = json.loads(file.metadata()["card"])
            self.references: NDArray[np.float32] = file.get_tensor("references").astype(np.float32)
            self._classes: NDArray[np.float64] = file.get_tensor("classes").astype(np.float64)
        backbone = load_backbone(MIEN_LITE)
        if card["backbone_sha256"] != backbone.sha256:
            raise BackboneError(
                f"{REFERENCES_FILE.name} was made with another {MIEN_LITE}: make it again with "
                "`python -m pipelines.reference_faces`"
            )
        self._scale = backbone.logit_scale / backbone.zero_shot_temperature
        self._tower = ImageTower(backbone, "cpu", BATCH_SHAPE)
        self._turn = threading.Lock()  # a tower has one request

    def __call__(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        with self._turn:
            vectors = self._tower(crops)
        # einsum without BLAS: a row's sum must not depend on how many rows there are
        cosine = np.einsum("nd,cd->nc", vectors.astype(np.float64), self._classes)
        return softmax((self._scale * cosine).astype(np.float32))


def fingerprint() -> str:
    """What results depend on: the averages, and the mien-lite that the file names."""
    return hashlib.sha256(REFERENCES_FILE.read_bytes()).hexdigest()


@cache
def reader() -> Reader:
    """The process's one reader."""
    return Reader()


def k_same(crops: NDArray[np.uint8], strength: float) -> NDArray[np.uint8]:
    """`(N, P, P, 3) uint8 RGB` to `(N, 48, 48, 3)`: blends of the averages in `strength` steps.

    One step is the average of the likeliest expression alone: one of seven pictures. More steps
    keep more of the probabilities, and of the person: docs/privacy.md has the figures.
    """
    read = reader()
    weights = in_steps(read(crops), max(1, int(strength)))
    grey = np.einsum("nc,cij->nij", weights, read.references)
    return np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, axis=-1)


def in_steps(probabilities: NDArray[np.floating], steps: int) -> NDArray[np.float64]:
    """Probabilities `(N, L)` rounded to multiples of 1 / `steps`, by largest remainders.

    Each row still sums to one.
    """
    wanted = probabilities.astype(np.float64) * steps
    whole = np.floor(wanted)
    order = np.argsort(whole - wanted, axis=1, kind="stable")
    short = np.rint(steps - whole.sum(axis=1)).astype(int)
    extra = np.arange(wanted.shape[1]) < short[:, None]
    np.put_along_axis(whole, order, np.take_along_axis(whole, order, 1) + extra, 1)
    return whole / steps
