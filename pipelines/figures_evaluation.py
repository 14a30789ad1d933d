"""The plots of an evaluation, as PNG."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from operators.evaluation.metrics import reliability

INK, SOFT, LINE = "#1d2530", "#6b7685", "#2f6db3"


def confusion_png(confusion: Sequence[Sequence[int]], labels: Sequence[str]) -> bytes:
    """Shares of each true label (rows) that were predicted as each label (columns)."""
    counts = np.asarray(confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels)), labels, rotation=40, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("given label")
    for row, column in np.ndindex(*counts.shape):
        share = shares[row, column]
        text = f"{share:.0%}\n{counts[row, column]}"
        axes.text(column, row, text, ha="center", va="center", fontsize=8,
                  color="white" if share > 0.55 else INK)  # fmt: skip
    axes.set_title("Confusion: share of each given label", loc="left")
    return png(figure)


def reliability_png(probabilities: NDArray, labels: NDArray[np.int64], ece: float) -> bytes:
    """Accuracy against confidence; on the diagonal, confidence means what it says."""
    bins = reliability(probabilities, labels)
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle="--")
    axes.plot(bins["confidence"], bins["accuracy"], color=LINE, marker="o")
    axes.bar(bins["confidence"], bins["share"], width=0.04, color=LINE, alpha=0.25)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("confidence")
    axes.set_ylabel("accuracy (line), share of the faces (bars)")
    axes.set_title(f"Calibration: ECE {ece:.3f}", loc="left")
    return png(figure)


def robustness_png(rows: Sequence[dict[str, Any]], clean: float) -> bytes:
    """Accuracy under each disturbance at its three strengths, against undisturbed faces."""
    names = list(dict.fromkeys(row["corruption"] for row in rows))
    figure = Figure(figsize=(10, 1.9 * -(-len(names) // 3) + 0.6), layout="constrained")
    grid = figure.subplots(-(-len(names) // 3), 3, sharey=True, squeeze=False).reshape(-1)
    for axes in grid[len(names) :]:
        axes.set_visible(False)
    for axes, name in zip(grid, names, strict=False):
        own = [row for row in rows if row["corruption"] == name]
        places = range(len(own) + 1)
        axes.plot(places, [clean, *(row["accuracy"] for row in own)], color=LINE, marker="o")
        axes.axhline(clean, color=SOFT, linewidth=1, linestyle="--")
        axes.set_xticks(places, ["none", *(f"{row['strength']:g}" for row in own)])
        axes.set_xlabel(own[0]["unit"], fontsize=8)
        axes.set_title(name.replace("_", " "), loc="left", fontsize=10)
        axes.set_ylim(0, 1)
    figure.supylabel("accuracy")
    return png(figure)


def png(figure: Figure) -> bytes:
    """The figure's file."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return stream.getvalue()
