"""exp_clip: zero-shot scoring through a projection learnt from a language model's knowledge.

Exp-CLIP, arXiv 2405.19100 (WACV 2025). A frozen CLIP gets one linear map W, trained without labels
so that a projected face lies near its teacher vector; at score time the same map is applied to
image and text, and labels are ranked by cosine. Only cosines are needed, so the R of W = QR stands
for W: the method is a metric on the backbone's space.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.backbone import Backbone
from operators.core.verdict import softmax
from operators.evaluation.metrics import summarise
from operators.methods.artifact import Artifact, make_card
from operators.methods.projections import PROJECTION, project, projection_of
from operators.methods.prompts import CLASS_PROMPTS
from operators.methods.registry import FitData, MethodEntry, Progress, Reads, register
from operators.training.calibration import fit_temperature, held_out
from operators.training.checkpoint import Checkpoint
from schemas.config import Fit, Score
from schemas.tables import LABELS

NAME = "exp_clip"


class ExpClip:
    """Scores embeddings by their cosines to each label's prompts, both projected."""

    def __init__(self, cfg: Score, backbone: Backbone, artifact: Artifact | None) -> None:
        if artifact is None:
            raise ValueError(f"{NAME} needs an artifact")
        artifact.require(NAME, backbone)
        self._projection = projection_of(artifact, backbone)
        self._scale = backbone.logit_scale / artifact.card["temperature"]
        self._texts = encode_prompts(backbone, artifact.card["prompts"], self._projection)

    def score(self, faces: NDArray) -> NDArray[np.float32]:
        return softmax(self._logits(project(faces, self._projection)))

    def score_clips(
        self, clips: NDArray, mask: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """Probabilities `(B, 7)` of clips of `(B, T, D)` embeddings, `mask` (B, T) where real.

        The projected frames of a clip are averaged before they are normalised; a clip needs at
        least one real frame.
        """
        real = np.ones(clips.shape[:2], bool) if mask is None else mask
        if not real.any(axis=1).all():
            raise ValueError("a clip has no frame")
        weights = real / real.sum(axis=1, keepdims=True)
        mean = np.einsum("btd,bt->bd", np.where(real[..., None], clips, 0), weights)
        return self.score(mean)  # the projection is linear: the mean may come first

    def _logits(self, projected: NDArray[np.float64]) -> NDArray[np.float32]:
        # einsum without BLAS: a row's sum must not depend on how many rows there are
        per_label = [np.einsum("nd,kd->nk", projected, texts) for texts in self._texts]
        means = np.stack([cosines.mean(axis=1) for cosines in per_label], axis=1)
        return (self._scale * means).astype(np.float32)


def encode_prompts(
    backbone: Backbone, prompts: Mapping[str, Any], projection: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """For each label its projected prompts `(K, E)`, in label order."""
    return [project(backbone.encode_text(list(prompts[label])), projection) for label in LABELS]


def fit(
    cfg: Fit, backbone: Backbone, data: FitData, progress: Progress, checkpoint: Checkpoint
) -> Artifact:
    """Learn the projection; calibrate on faces held out, where they have labels.

    Raises:
        ValueError: prompts for other labels, or data without what the teacher needs.
    """
    from operators.training.projection import retrieval, train_projection, triangular
    from operators.training.teachers import kind_of_teacher, teach

    section = cfg.exp_clip
    prompts = section.prompts or CLASS_PROMPTS
    if set(prompts) != set(LABELS):
        raise ValueError(f"fit.exp_clip.prompts needs exactly the labels {list(LABELS)}")
    kind = kind_of_teacher(section, data)  # before the costly passes
    features = checkpoint.array("features", data.fingerprint, data.faces)
    teaching = teach(section, kind, data, cfg.seed, progress, checkpoint)
    held = held_out(data.count, data.groups, cfg.held_out, cfg.seed)
    weight, losses = train_projection(
        features[~held],
        teaching.vectors[~held],
        section,
        backbone.logit_scale,
        cfg.seed,
        progress,
        checkpoint,
    )
    card = make_card(
        NAME,
        backbone,
        prompts={label: list(prompts[label]) for label in LABELS},
        temperature=1.0,
        calibrated=False,
        logit_scale=backbone.logit_scale,
        teacher=teaching.facts,
        seed=cfg.seed,
        recipe=section.model_dump(mode="json"),
        loss_curve=[round(loss, 4) for loss in losses],
        held_out={
            "n": int(held.sum()),
            "retrieval_at_1": round(retrieval(features[held], teaching.vectors[held], weight), 4),
            "retrieval_chance": round(1 / int(held.sum()), 4),
        },
        trained_on=int((~held).sum()),
    )
    artifact = Artifact(card, {PROJECTION: triangular(weight)})
    return _calibrated(artifact, backbone, features[held], _labels(data, held))


def _labels(data: FitData, rows: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.full(int(rows.sum()), -1) if data.labels is None else data.labels[rows]


def _calibrated(
    artifact: Artifact, backbone: Backbone, features: NDArray, labels: NDArray[np.int64]
) -> Artifact:
    """With the temperature of least log-loss on labelled faces that were not trained on."""
    known = labels >= 0
    if known.sum() < len(LABELS):
        return artifact
    probabilities = ExpClip(Score(), backbone, artifact).score(features[known])
    log_probabilities = np.log(np.maximum(probabilities, 1e-30))
    temperature = fit_temperature(log_probabilities, labels[known])
    card = {**artifact.card, "temperature": round(temperature, 4), "calibrated": True}
    artifact = Artifact(card, artifact.tensors)
    probabilities = ExpClip(Score(), backbone, artifact).score(features[known])
    metrics = summarise(probabilities, labels[known], LABELS)
    card["held_out"] = {**card["held_out"], "metrics": metrics}
    return Artifact(card, artifact.tensors)


register(
    MethodEntry(
        name=NAME,
        summary="prompts through a projection learnt from a teacher's captions",
        source="Exp-CLIP, arXiv 2405.19100 (WACV 2025)",
        reads=Reads.EMBEDDINGS,
        build=ExpClip,
        needs_artifact=True,
        fit=fit,
    )
)
