"""The plot of expression over time: one row a track, seven labels stacked, the verdicts below."""

from collections.abc import Iterator
from html import escape
from itertools import groupby
from typing import Any

from pipelines.figures import LABEL_COLOURS, OUTLINE, STACK_ORDER, Figure, figure
from pipelines.report_timeline import Timeline, TrackSeries
from schemas.tables import OPTIONAL_LABELS

ROW_PX = 84
TITLE_PX = 26
FOOT_PX = 44
#: The band of verdicts lies below the zero of its row.
BAND = (-0.2, -0.06)
#: The instant that stands for a video's start on plotly's time axis. Smaller numbers than this
#: would do, but plotly reads one of four digits as a year: 1,500 ms would be the year 1500.
CLOCK_ZERO_MS = 946_684_800_000


def timeline(video: Timeline) -> Figure:
    """Stacked label probabilities of every shown track over the video's clock."""
    rows = len(video.tracks)
    hours = video.span_seconds >= 3600
    body = rows * (ROW_PX + TITLE_PX)
    data: list[dict[str, Any]] = []
    layout: dict[str, Any] = {"annotations": []}
    for number, track in enumerate(video.tracks):
        axis = "y" if number == 0 else f"y{number + 1}"
        top = 1 - (number * (ROW_PX + TITLE_PX) + TITLE_PX) / body
        bottom = max(0.0, top - ROW_PX / body)
        layout[f"yaxis{'' if number == 0 else number + 1}"] = {
            "domain": [bottom, top],
            "range": [BAND[0] - 0.02, 1],
            "tickvals": [0, 0.5, 1],
            "tickformat": ".0%",
            "zeroline": False,
            "fixedrange": True,
        }
        layout["annotations"].append(_title(track.title, top))
        data += [*_areas(track, axis), _verdicts(track, axis)]
    layout["shapes"] = [_mark(seconds) for seconds in video.changes_seconds]
    layout["xaxis"] = {
        "type": "date",
        "range": [_at(0), _at(video.span_seconds)],
        "tickformatstops": [
            {"dtickrange": [None, 1000], "value": "%M:%S.%2f"},
            {"dtickrange": [1000, None], "value": "%H:%M:%S" if hours else "%M:%S"},
        ],
        "hoverformat": "%H:%M:%S.%1f" if hours else "%M:%S.%2f",
        "anchor": "y" if rows < 2 else f"y{rows}",
        "nticks": 10,
    }
    return figure(
        data,
        body + FOOT_PX,
        margin={"l": 44, "r": 12, "t": 4, "b": FOOT_PX - 4},
        barmode="overlay",
        hovermode="x",
        dragmode="zoom",
        **layout,
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def _at(seconds: float) -> float:
    """A place on the video's clock as the axis knows it."""
    return CLOCK_ZERO_MS + _ms(seconds)


def _areas(track: TrackSeries, axis: str) -> list[dict[str, Any]]:
    optional = [label for label in OPTIONAL_LABELS if label in track.probabilities]
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "name": label,
            "x0": _at((track.first_step + 0.5) * track.step_seconds),
            "dx": _ms(track.step_seconds),
            "y": track.probabilities[label],
            "yaxis": axis,
            "stackgroup": axis,
            "stackgaps": "infer zero",
            "line": {"width": 0.4, "color": LABEL_COLOURS[label]},
            "fillcolor": LABEL_COLOURS[label],
            "hovertemplate": "%{y:.0%}",
        }
        for label in (*STACK_ORDER, *optional)
    ]


def _verdicts(track: TrackSeries, axis: str) -> dict[str, Any]:
    """The top label of every step as a band; hollow where most of its faces abstained."""
    runs = list(_runs(track))
    colours = ["rgba(0,0,0,0)" if hollow else LABEL_COLOURS[label] for label, hollow, _, _ in runs]
    return {
        "type": "bar",
        "name": "verdict",
        "x": [_at((start + length / 2) * track.step_seconds) for _, _, start, length in runs],
        "width": [_ms(length * track.step_seconds) for _, _, _, length in runs],
        "base": BAND[0],
        "y": [BAND[1] - BAND[0]] * len(runs),
        "yaxis": axis,
        "customdata": [f"{label}, abstained" if hollow else label for label, hollow, _, _ in runs],
        "marker": {
            "color": colours,
            "line": {
                "color": [OUTLINE if hollow else "rgba(0,0,0,0)" for _, hollow, _, _ in runs],
                "width": 1,
            },
        },
        "hovertemplate": "%{customdata}<extra></extra>",
    }


def _runs(track: TrackSeries) -> Iterator[tuple[str, bool, int, int]]:
    """Neighbouring steps of one verdict as (label, abstained, first step, steps)."""
    at = track.first_step
    for verdict, steps in groupby(zip(track.top_labels, track.abstained, strict=True)):
        length = len(list(steps))
        label, hollow = verdict
        if label is not None:
            yield label, hollow, at, length
        at += length


def _title(text: str, top: float) -> dict[str, Any]:
    return {
        "text": escape(text),
        "xref": "paper",
        "yref": "paper",
        "x": 0,
        "y": top,
        "xanchor": "left",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"size": 12},
    }


def _mark(seconds: float) -> dict[str, Any]:
    place = {"x0": _at(seconds), "x1": _at(seconds), "y0": 0, "y1": 1}
    line = {"color": OUTLINE, "width": 1.2, "dash": "dot"}
    return {"type": "line", "xref": "x", "yref": "paper", **place, "line": line}
