"""The plot of a privacy evaluation, as PNG."""

from typing import Any

from matplotlib.figure import Figure

from pipelines.figures_evaluation import INK, LINE, SOFT, png


def trade_off_png(result: dict[str, Any]) -> bytes:
    """Re-identification by the strongest attacker, against the expression accuracy that is left."""
    figure = Figure(figsize=(9, 0.36 * len(result["strongest"]) + 1.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    rows = result["strongest"]
    places, names = range(len(rows)), [f"{r['name']} {r['strength']:g}" for r in rows]
    top = [row["top1"] for row in rows]
    reach = [[row["top1"] - row["top1_low"] for row in rows],
             [row["top1_high"] - row["top1"] for row in rows]]  # fmt: skip
    left.barh(places, top, color=LINE, xerr=[[max(0, v) for v in side] for side in reach],
              ecolor=INK, capsize=2)  # fmt: skip
    left.axvline(result["chance_top1"], color=SOFT, linestyle="--", linewidth=1)
    left.axvline(3 * result["chance_top1"], color=SOFT, linestyle=":", linewidth=1)
    left.set_title("recognised at the first guess", loc="left", fontsize=10)
    left.set_xlabel("strongest attacker; dashed: chance, dotted: 3 times", fontsize=8)
    right.barh(places, [row["accuracy"] or 0 for row in rows], color="#7d9c73")
    for place, row in zip(places, rows, strict=True):
        if row["accuracy"] is None:
            right.text(0.01, place, "not measured", va="center", fontsize=8, color=SOFT)
    right.set_title("expression accuracy", loc="left", fontsize=10)
    left.set_yticks(places, names)
    left.invert_yaxis()
    for axes in (left, right):
        axes.set_xlim(0, 1)
        axes.margins(y=0.01)
    return png(figure)
