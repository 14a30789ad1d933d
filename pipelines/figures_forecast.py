"""The plot of a forecast, as PNG."""

import io

from matplotlib.figure import Figure

from pipelines.figures_evaluation import INK, LINE, SOFT
from pipelines.finishing import Wall
from pipelines.forecast import Estimate


def stages_png(wall: Wall) -> bytes:
    """Wall time that each pool would take of itself, before and after them, and the whole."""
    bars = [
        ("start", Estimate.exactly(wall.before_seconds)),
        *wall.stages.items(),
        ("publish", Estimate.exactly(wall.after_seconds)),
        ("whole run", wall.seconds),
    ]
    longest = max(estimate.high or estimate.value for _, estimate in bars)
    unit, name = (3600, "hours") if longest > 2 * 3600 else (60, "minutes")
    figure = Figure(figsize=(8, 0.5 * len(bars) + 1.2), layout="constrained")
    axes = figure.subplots()
    for row, (_, estimate) in enumerate(bars):
        last = row == len(bars) - 1
        axes.barh(row, estimate.value / unit, color=LINE if last else SOFT)
        if estimate.low is not None and estimate.high is not None:
            ends = [
                [(estimate.value - estimate.low) / unit],
                [(estimate.high - estimate.value) / unit],
            ]
            axes.errorbar(estimate.value / unit, row, xerr=ends, color=INK, capsize=3)
    axes.set_yticks(range(len(bars)), [label for label, _ in bars])
    axes.invert_yaxis()
    axes.set_xlabel(f"{name}; the stages work at once, the longest one bounds")
    axes.set_title("What a run takes, with 90 % intervals", loc="left")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return stream.getvalue()
