"""What a classifier's probabilities are worth: temperature, calibration error, confusion."""

from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

#: Bins of the expected calibration error, as in Guo et al. 2017.
ECE_BINS = 15


def fit_temperature(log_probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The number that `(N, L)` logits are divided by for the least log-loss (Guo et al. 2017)."""

    def log_loss(log_temperature: float) -> float:
        logits = log_probabilities / np.exp(log_temperature)
        logits = logits - logits.max(axis=1, keepdims=True)
        normaliser = np.log(np.exp(logits).sum(axis=1))
        return float((normaliser - logits[np.arange(len(labels)), labels]).mean())

    found: Any = minimize_scalar(log_loss, bounds=(-3, 3), method="bounded")
    return float(np.exp(found.x))


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean gap between confidence and accuracy over 15 bins of equal width."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    gaps = [
        abs(confidence[bins == bin].mean() - right[bins == bin].mean()) * (bins == bin).mean()
        for bin in np.unique(bins)
    ]
    return float(sum(gaps))


def summarise(
    probabilities: np.ndarray, labels: np.ndarray, names: tuple[str, ...]
) -> dict[str, Any]:
    """Metrics of `(N, L)` probabilities: n, accuracy, UAR, ECE, accuracy on the surest 80 %.

    The confusion matrix has true labels in rows and predicted ones in columns.
    """
    predicted = probabilities.argmax(axis=1)
    confusion = np.zeros((len(names), len(names)), int)
    np.add.at(confusion, (labels, predicted), 1)
    totals = confusion.sum(axis=1)
    recall = np.diag(confusion)[totals > 0] / totals[totals > 0]
    surest = np.argsort(-probabilities.max(axis=1), kind="stable")[: int(0.8 * len(labels))]
    return {
        "n": len(labels),
        "accuracy": round(float((predicted == labels).mean()), 4),
        "uar": round(float(recall.mean()), 4),
        "ece": round(expected_calibration_error(probabilities, labels), 4),
        "accuracy_surest_80_percent": round(float((predicted == labels)[surest].mean()), 4),
        "labels": list(names),
        "confusion": confusion.tolist(),
    }
