"""Calibration: faces kept apart, and one number that makes confidences mean what they say."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar


def held_out(
    count: int, groups: Sequence[str] | None, share: float, seed: int
) -> NDArray[np.bool_]:
    """Mark about `share` of `count` faces, whole groups where there are several: (N,) bool."""
    rng = np.random.default_rng(seed)
    wanted = max(1, round(share * count))
    if groups is None or len(set(groups)) < 2:
        return np.isin(np.arange(count), rng.permutation(count)[:wanted])
    names, of_face = np.unique(np.asarray(groups), return_inverse=True)
    order = rng.permutation(len(names))
    taken = np.cumsum(np.bincount(of_face)[order]) <= max(wanted, np.bincount(of_face)[order[0]])
    return np.isin(of_face, order[taken][: len(names) - 1])


def fit_temperature(log_probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The number that `(N, L)` logits are divided by for the least log-loss (Guo et al. 2017)."""

    def log_loss(log_temperature: float) -> float:
        logits = log_probabilities / np.exp(log_temperature)
        logits = logits - logits.max(axis=1, keepdims=True)
        normaliser = np.log(np.exp(logits).sum(axis=1))
        return float((normaliser - logits[np.arange(len(labels)), labels]).mean())

    found: Any = minimize_scalar(log_loss, bounds=(-3, 3), method="bounded")
    return float(np.exp(found.x))
