"""Plots as plotly dictionaries: `{"data": [...], "layout": {...}}`, without a font or a theme.

The page gives them its own font, ink and grid, in light, dark and print (`page/report.js`). Text
that comes from a store is escaped here, since plotly reads a part of HTML in every text.
"""

from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import Any

from schemas.tables import LABELS, OPTIONAL_LABELS

Figure = dict[str, Any]

#: Okabe and Ito's eight colours, told apart by people with any colour blindness, on white and on
#: near-black. The one place where a label has a colour.
LABEL_COLOURS = {
    "anger": "#d55e00",
    "disgust": "#009e73",
    "fear": "#cc79a7",
    "happiness": "#e69f00",
    "sadness": "#0072b2",
    "surprise": "#56b4e9",
    "neutral": "#9a9a9a",
    "contempt": "#f0e442",
}
#: From the base of a stack upwards: the common ones lie still at the bottom.
STACK_ORDER = ("neutral", "happiness", "surprise", "sadness", "fear", "disgust", "anger")
#: One muted colour a method, so that none is taken for a label.
METHOD_COLOURS = ("#5b7fa6", "#c08a4b", "#7d9c73", "#9a7fae", "#b56b72", "#8a8a8a")
PLAIN = "#5b7fa6"
OUTLINE = "#8a919a"
HEAT = [[0, "rgba(0,114,178,0)"], [0.05, "rgba(0,114,178,0.18)"], [1, "rgba(0,114,178,0.8)"]]


def figure(data: list[dict[str, Any]], height_px: int, **layout: Any) -> Figure:
    """A plot without legend, title or menu, of a fixed height and the width of its place."""
    base = {
        "height": height_px,
        "margin": {"l": 44, "r": 12, "t": 8, "b": 40},
        "showlegend": False,
        "dragmode": False,
    }
    return {"data": data, "layout": {**base, **layout}}


def known_labels(values: Sequence[str]) -> list[str]:
    """The labels in their fixed order; the optional ones only where `values` has them."""
    return [*LABELS, *(label for label in OPTIONAL_LABELS if label in values)]


def histogram(
    edges: Sequence[float], counts: Sequence[int], title: str, unit: str = "", colour: str = PLAIN
) -> Figure:
    """Bars of the share of faces between neighbouring `edges`."""
    total = sum(counts) or 1
    centres = [(a + b) / 2 for a, b in pairwise(edges)]
    spans = [f"{a:.4g} to {b:.4g} {unit}" for a, b in pairwise(edges)]
    bars = {
        "type": "bar",
        "x": [round(centre, 5) for centre in centres],
        "y": [round(count / total, 5) for count in counts],
        "customdata": [[span, count] for span, count in zip(spans, counts, strict=True)],
        "marker": {"color": colour},
        "hovertemplate": "%{customdata[0]}<br>%{customdata[1]:,} · %{y:.1%}<extra></extra>",
    }
    return figure(
        [bars],
        210,
        bargap=0.08,
        xaxis={"title": {"text": title}, "range": [edges[0], edges[-1]], "showgrid": False},
        yaxis={"tickformat": ".0%", "rangemode": "tozero", "nticks": 4},
    )


def label_bars(shares: dict[str, float], notes: dict[str, str], title: str) -> Figure:
    """One bar a label, from the top in label order; `notes` stand at the bars' ends."""
    labels = [label for label in known_labels(tuple(shares)) if label in shares]
    bars = {
        "type": "bar",
        "orientation": "h",
        "y": labels,
        "x": [round(shares[label], 5) for label in labels],
        "text": [escape(notes[label]) for label in labels],
        "textposition": "outside",
        "cliponaxis": False,
        "marker": {"color": [LABEL_COLOURS[label] for label in labels]},
        "hovertemplate": "%{y}: %{text}<extra></extra>",
    }
    top = max([*shares.values(), 0.01])
    return figure(
        [bars],
        36 * len(labels) + 56,
        margin={"l": 84, "r": 24, "t": 4, "b": 44},
        bargap=0.35,
        xaxis={"title": {"text": title}, "tickformat": ".0%", "range": [0, top * 1.3], "nticks": 5},
        yaxis={"autorange": "reversed", "showgrid": False},
    )


def stacked_shares(names: list[str], seconds: list[dict[str, float]]) -> Figure:
    """One whole bar a name, divided by the seconds of each label."""
    totals = [sum(row.values()) or 1.0 for row in seconds]
    present = {label for row in seconds for label in row}
    order = [*STACK_ORDER, *(label for label in OPTIONAL_LABELS if label in present)]
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": label,
            "y": [escape(name) for name in names],
            "x": [
                round(row.get(label, 0) / total, 5)
                for row, total in zip(seconds, totals, strict=True)
            ],
            "customdata": [round(row.get(label, 0), 2) for row in seconds],
            "marker": {"color": LABEL_COLOURS[label]},
            "hovertemplate": f"{label}: %{{x:.0%}}, %{{customdata:.1f}} s<extra></extra>",
        }
        for label in order
    ]
    return figure(
        data,
        26 * len(names) + 60,
        barmode="stack",
        bargap=0.3,
        margin={"l": 116, "r": 24, "t": 4, "b": 44},
        xaxis={
            "tickformat": ".0%",
            "range": [0, 1],
            "title": {"text": "share of the label seconds"},
        },
        yaxis={"autorange": "reversed", "showgrid": False, "tickfont": {"family": "monospace"}},
    )


def density(
    x_edges: Sequence[float],
    y_edges: Sequence[float],
    counts: list[list[int]],
    x_title: str,
    y_title: str,
) -> Figure:
    """Counts over two axes, `counts[y][x]`; empty cells are clear."""
    total = sum(map(sum, counts)) or 1
    heat = {
        "type": "heatmap",
        "x": list(x_edges),
        "y": list(y_edges),
        "z": [[round(count / total, 6) for count in row] for row in counts],
        "colorscale": HEAT,
        "zmin": 0,
        "showscale": False,
        "hovertemplate": f"{x_title} %{{x:.0f}}°, {y_title} %{{y:.0f}}°: %{{z:.1%}}<extra></extra>",
    }
    return figure(
        [heat],
        210,
        xaxis={"title": {"text": f"{x_title} (degrees)"}, "dtick": 30},
        yaxis={"title": {"text": f"{y_title} (degrees)"}, "dtick": 30},
        margin={"l": 56, "r": 12, "t": 8, "b": 40},
    )


def cost_bars(steps: Sequence[str], seconds: Sequence[float]) -> Figure:
    """One bar an operator: how much of all work is its own."""
    total = sum(seconds) or 1.0
    shares = [second / total for second in seconds]
    bars = {
        "type": "bar",
        "orientation": "h",
        "y": list(steps),
        "x": [round(share, 5) for share in shares],
        "text": [f"{share:.0%}" for share in shares],
        "textposition": "outside",
        "cliponaxis": False,
        "marker": {"color": PLAIN},
        "hovertemplate": "%{y}: %{x:.1%}<extra></extra>",
    }
    return figure(
        [bars],
        40 * len(steps) + 56,
        margin={"l": 84, "r": 24, "t": 4, "b": 44},
        bargap=0.4,
        xaxis={
            "title": {"text": "share of the seconds of work"},
            "tickformat": ".0%",
            "range": [0, max([*shares, 0.01]) * 1.2],
            "nticks": 5,
        },
        yaxis={"autorange": "reversed", "showgrid": False},
    )


def method_bars(shares: dict[str, dict[str, float]]) -> Figure:
    """Label shares side by side, `shares[method][label]`."""
    labels = known_labels([label for row in shares.values() for label in row])
    data = [
        {
            "type": "bar",
            "name": escape(method),
            "x": labels,
            "y": [round(row.get(label, 0), 5) for label in labels],
            "marker": {"color": METHOD_COLOURS[number % len(METHOD_COLOURS)]},
            "hovertemplate": "%{x}: %{y:.1%}<extra>%{fullData.name}</extra>",
        }
        for number, (method, row) in enumerate(shares.items())
    ]
    return figure(
        data,
        260,
        showlegend=True,
        legend={"orientation": "h", "y": 1.15, "x": 0},
        margin={"l": 44, "r": 12, "t": 36, "b": 32},
        bargap=0.3,
        bargroupgap=0.08,
        xaxis={"showgrid": False},
        yaxis={"tickformat": ".0%", "rangemode": "tozero", "nticks": 5},
    )


def confusion(counts: dict[tuple[str, str], int]) -> Figure:
    """How often one method says a label (rows) where another says one (columns)."""
    labels = known_labels([label for pair in counts for label in pair])
    total = sum(counts.values()) or 1
    shares = [[counts.get((a, b), 0) / total for b in labels] for a in labels]
    heat = {
        "type": "heatmap",
        "x": labels,
        "y": labels,
        "z": [[round(share, 5) for share in row] for row in shares],
        "text": [[f"{share:.0%}" if share >= 0.005 else "" for share in row] for row in shares],
        "texttemplate": "%{text}",
        "colorscale": HEAT,
        "zmin": 0,
        "showscale": False,
        "xgap": 1,
        "ygap": 1,
        "hovertemplate": "%{y} against %{x}: %{z:.1%}<extra></extra>",
    }
    return figure(
        [heat],
        360,
        margin={"l": 76, "r": 12, "t": 8, "b": 72},
        xaxis={"showgrid": False, "tickangle": -40},
        yaxis={"showgrid": False, "autorange": "reversed"},
    )


def distances(pairs: dict[str, list[int]]) -> Figure:
    """Per-face disagreement of each pair of methods: ten steps of total variation distance."""
    data = []
    for number, (pair, counts) in enumerate(pairs.items()):
        total = sum(counts) or 1
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": escape(pair),
                "x": [round((step + 0.5) / len(counts), 3) for step in range(len(counts))],
                "y": [round(count / total, 5) for count in counts],
                "line": {"color": METHOD_COLOURS[number % len(METHOD_COLOURS)], "width": 2},
                "marker": {"size": 5},
                "hovertemplate": "distance %{x}: %{y:.1%}<extra>%{fullData.name}</extra>",
            }
        )
    return figure(
        data,
        348,
        showlegend=len(data) > 1,
        legend={"orientation": "h", "y": 1.15, "x": 0},
        margin={"l": 44, "r": 12, "t": 36 if len(data) > 1 else 8, "b": 44},
        xaxis={"title": {"text": "distance of the two methods' probabilities"}, "range": [0, 1]},
        yaxis={"tickformat": ".0%", "rangemode": "tozero", "nticks": 5},
    )
