"""From probabilities to a verdict: top label, confidence, entropy, abstention."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.tables import LABELS, OPTIONAL_LABELS

ALL_LABELS = (*LABELS, *OPTIONAL_LABELS)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Softmax over the last axis, in float64 inside, `(N, C) float32` out."""
    shifted = logits.astype(np.float64)
    shifted = np.exp(shifted - shifted.max(axis=-1, keepdims=True))
    return (shifted / shifted.sum(axis=-1, keepdims=True)).astype(np.float32)


def verdict_columns(
    probabilities: NDArray[np.float32], abstain_below: float
) -> dict[str, pa.Array | NDArray]:
    """The probability and verdict columns of `(N, 7) or (N, 8) float32` probabilities.

    Columns follow the order of the labels; the eighth, contempt, is null when it is not given.
    Entropy is in nats (Shannon), with 0 log 0 = 0. No prototype is named: a method that has some
    overwrites these two columns.
    """
    rows, known = probabilities.shape
    if known not in (len(LABELS), len(ALL_LABELS)):
        raise ValueError(f"expected 7 or 8 probabilities a face, got {known}")
    columns: dict[str, pa.Array | NDArray] = {
        label: probabilities[:, index] for index, label in enumerate(ALL_LABELS[:known])
    }
    for label in ALL_LABELS[known:]:
        columns[label] = pa.nulls(rows, pa.float32())
    top = probabilities.argmax(axis=1) if rows else np.zeros(0, np.int64)
    confidence = probabilities[np.arange(rows), top]
    safe = np.where(probabilities > 0, probabilities, 1).astype(np.float64)
    columns["top_label"] = pa.array([ALL_LABELS[index] for index in top], pa.string())
    columns["confidence"] = confidence
    columns["entropy"] = -(safe * np.log(safe)).sum(axis=1).astype(np.float32)
    columns["abstained"] = confidence < abstain_below
    columns["nearest_prototype"] = pa.nulls(rows, pa.string())
    columns["prototype_similarity"] = pa.nulls(rows, pa.float32())
    return columns
