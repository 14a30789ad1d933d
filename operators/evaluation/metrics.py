"""What a classifier's probabilities are worth: accuracy by label, calibration, intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Bins of the expected calibration error, as in Guo et al. 2017.
ECE_BINS = 15
#: Share of the faces, the surest first, whose accuracy says what abstention is worth.
KEPT_SHARE = 0.8
BOOTSTRAP_DRAWS = 2000


def summarise(
    probabilities: NDArray[np.floating],
    labels: NDArray[np.integer],
    names: Sequence[str],
    groups: Sequence[str] | None = None,
) -> dict[str, Any]:
    """The body of `metrics.json` for `(N, L)` probabilities of faces with labels `(N,)`.

    `war` (weighted average recall) is the accuracy under the name that dynamic expression
    recognition gives it; `uar` is the unweighted mean of the recalls of the labels that occur.
    `confusion` has true labels in rows and predicted ones in columns. `ci95` holds bootstrap
    intervals: people are drawn where `groups` (N,) names them, faces otherwise.

    Raises:
        ValueError: no face, or shapes that do not fit.
    """
    if len(labels) == 0 or probabilities.shape != (len(labels), len(names)):
        raise ValueError(f"{probabilities.shape} probabilities for {len(labels)} faces")
    predicted = probabilities.argmax(axis=1)
    confusion = confusion_matrix(labels, predicted, len(names))
    rates = _rates(confusion)
    surest = np.argsort(-probabilities.max(axis=1), kind="stable")
    surest = surest[: max(1, int(KEPT_SHARE * len(labels)))]
    return {
        "n": len(labels),
        "accuracy": _round(rates["accuracy"]),
        "war": _round(rates["accuracy"]),
        "uar": _round(rates["uar"]),
        "f1_macro": _round(rates["f1_macro"]),
        "ece": _round(expected_calibration_error(probabilities, labels)),
        "accuracy_surest_80_percent": _round((predicted == labels)[surest].mean()),
        "ci95": confidence_intervals(labels, predicted, len(names), groups),
        "labels": list(names),
        "confusion": confusion.tolist(),
        "per_class": _per_class(confusion, names),
    }


def confusion_matrix(
    labels: NDArray[np.integer], predicted: NDArray[np.integer], count: int
) -> NDArray[np.int64]:
    """Counts `(L, L)`: true labels in rows, predicted ones in columns."""
    cells = labels.astype(np.int64) * count + predicted
    return np.bincount(cells, minlength=count * count).reshape(count, count)


def expected_calibration_error(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer]
) -> float:
    """Mean gap between confidence and accuracy over 15 bins of equal width (Guo et al. 2017)."""
    bins = reliability(probabilities, labels)
    return float(np.sum(bins["share"] * np.abs(bins["confidence"] - bins["accuracy"])))


def reliability(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer]
) -> dict[str, NDArray[np.float64]]:
    """Share of faces, mean confidence and accuracy in each bin of confidence that holds some."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    counts = np.bincount(bins, minlength=ECE_BINS)
    held = counts > 0
    sums = [np.bincount(bins, values, ECE_BINS)[held] for values in (confidence, right)]
    counts = counts[held]
    return {
        "share": counts / counts.sum(),
        "confidence": sums[0] / counts,
        "accuracy": sums[1] / counts,
    }


def confidence_intervals(
    labels: NDArray[np.integer],
    predicted: NDArray[np.integer],
    count: int,
    groups: Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, list[float]]:
    """95 % bootstrap intervals (percentiles) of accuracy, war, uar and f1_macro.

    Faces of one person are alike, so where `groups` names people, people are drawn. Without
    groups, drawing n faces is one multinomial draw over the cells of the confusion matrix.
    """
    rng = np.random.default_rng(seed)
    if groups is None:
        cells = confusion_matrix(labels, predicted, count).reshape(-1)
        drawn = rng.multinomial(len(labels), cells / cells.sum(), size=BOOTSTRAP_DRAWS)
    else:
        names, of_group = np.unique(np.asarray(groups), return_inverse=True)
        per_group = np.zeros((len(names), count * count), np.int64)
        np.add.at(per_group, (of_group, labels.astype(np.int64) * count + predicted), 1)
        share = np.full(len(names), 1 / len(names))
        drawn = rng.multinomial(len(names), share, size=BOOTSTRAP_DRAWS) @ per_group
    rates = _rates(drawn.reshape(-1, count, count))
    low_high = {
        name: [_round(value) for value in np.nanpercentile(values, (2.5, 97.5))]
        for name, values in rates.items()
    }
    return {
        "accuracy": low_high["accuracy"],
        "war": low_high["accuracy"],
        "uar": low_high["uar"],
        "f1_macro": low_high["f1_macro"],
    }


def _rates(confusion: NDArray[np.integer]) -> dict[str, NDArray[np.float64]]:
    """Accuracy, UAR and macro F1 of `(..., L, L)` counts; labels without a face do not count."""
    right = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    true, said = confusion.sum(-1), confusion.sum(-2)
    present = true > 0
    recall = np.where(present, right / np.maximum(true, 1), 0)
    f1 = np.where(present, 2 * right / np.maximum(true + said, 1), 0)
    labels = np.maximum(present.sum(-1), 1)
    return {
        "accuracy": right.sum(-1) / np.maximum(true.sum(-1), 1),
        "uar": recall.sum(-1) / labels,
        "f1_macro": f1.sum(-1) / labels,
    }


def _per_class(confusion: NDArray[np.int64], names: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for index, name in enumerate(names):
        right, true, said = (
            int(confusion[index, index]),
            int(confusion[index].sum()),
            int(confusion[:, index].sum()),
        )
        rows.append(
            {
                "label": name,
                "n": true,
                "recall": _round(right / true) if true else None,
                "precision": _round(right / said) if said else None,
                "f1": _round(2 * right / (true + said)) if true + said else None,
            }
        )
    return rows


def _round(value: float | np.floating | NDArray) -> float:
    return round(float(value), 4)
