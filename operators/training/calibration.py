"""Calibration: one number that makes confidences mean what they say."""

from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar


def fit_temperature(log_probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The number that `(N, L)` logits are divided by for the least log-loss (Guo et al. 2017)."""

    def log_loss(log_temperature: float) -> float:
        logits = log_probabilities / np.exp(log_temperature)
        logits = logits - logits.max(axis=1, keepdims=True)
        normaliser = np.log(np.exp(logits).sum(axis=1))
        return float((normaliser - logits[np.arange(len(labels)), labels]).mean())

    found: Any = minimize_scalar(log_loss, bounds=(-3, 3), method="bounded")
    return float(np.exp(found.x))
