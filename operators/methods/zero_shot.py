"""zero_shot: plain class prompts against the image embedding, the baseline of every other method.

Radford et al. 2021 (CLIP, arXiv 2103.00020), section 3.1: class text embeddings averaged over
prompts, cosine similarity, softmax at the model's logit scale; here divided by a temperature that
the backbone's card calibrated.
"""

import numpy as np
from numpy.typing import NDArray

from operators.backbone import Backbone
from operators.core.verdict import softmax
from operators.methods.artifact import Artifact
from operators.methods.prompts import CLASS_PROMPTS
from operators.methods.registry import MethodEntry, Reads, register
from schemas.config import Score
from schemas.tables import LABELS


class ZeroShot:
    """Scores embeddings by their cosine to each label's mean prompt embedding."""

    def __init__(self, cfg: Score, backbone: Backbone, artifact: Artifact | None = None) -> None:
        section = cfg.zero_shot
        prompts = section.prompts or CLASS_PROMPTS
        if set(prompts) != set(LABELS):
            raise ValueError(f"score.zero_shot.prompts needs exactly the labels {list(LABELS)}")
        calibrated = (backbone.card or {}).get("zero_shot_temperature", 1.0)
        self._scale = backbone.logit_scale / (section.temperature or calibrated)
        self._classes = class_embeddings(backbone, prompts)

    def score(self, faces: NDArray) -> NDArray[np.float32]:
        # einsum without BLAS: a row's sum must not depend on how many rows there are
        cosine = np.einsum("nd,cd->nc", faces.astype(np.float64), self._classes)
        return softmax((self._scale * cosine).astype(np.float32))


def class_embeddings(
    backbone: Backbone, prompts: dict[str, tuple[str, ...]]
) -> NDArray[np.float64]:
    """One L2-normalised text embedding a label, `(C, D)`: the mean over its prompts."""
    means = [backbone.encode_text(list(prompts[label])).mean(axis=0) for label in LABELS]
    matrix = np.stack(means).astype(np.float64)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


register(
    MethodEntry(
        name="zero_shot",
        summary="plain class prompts, averaged; calibrated temperature",
        source="Radford et al. 2021, arXiv 2103.00020, section 3.1",
        reads=Reads.EMBEDDINGS,
        build=ZeroShot,
        section=lambda cfg: cfg.zero_shot,
    )
)
