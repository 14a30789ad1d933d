"""The chapters of the report, in reading order. Each one asks report_data and returns HTML."""

from typing import Any

from pipelines import figures as fig
from pipelines import report_data as data
from pipelines import report_expression as expression
from pipelines.report_run import elapsed_seconds, run_html
from pipelines.report_text import (
    NONE,
    Chapter,
    Column,
    amount,
    chapter,
    clock,
    count_of,
    grid_html,
    percent,
    plot_html,
    table_html,
    text_html,
    tiles_html,
)
from schemas.reasons import REASON_TEXT, Reason

Connection = data.Connection
Figures = dict[str, fig.Figure]


def chapters(con: Connection, run: dict[str, Any] | None, figures: Figures) -> list[Chapter]:
    """Every chapter that the store has something for; their plots go into `figures`."""
    counts = data.headline(con)
    methods = data.methods(con)
    found = [_overview(con, counts, methods)]
    if methods:
        main = methods[0]["method"]
        seconds = data.label_seconds(con, main)
        found += [
            expression.over_time(con, main, figures),
            expression.shares(seconds, main, figures),
            expression.certainty(con, methods, figures),
        ]
        if len(methods) > 1:
            found.append(expression.side_by_side(con, methods, seconds, figures))
    if counts["faces"]:
        found.append(_quality(con, figures))
    if counts["segments"]:
        found.append(_throughput(con, run, figures))
    if counts["videos"] or run is not None:
        inside = run_html(run, data.provenance(con), methods)
        found.append(chapter("settings", "Run, settings and hashes", inside))
    return found


# --- overview ------------------------------------------------------------------------------------


def _overview(con: Connection, counts: data.Row, methods: list[data.Row]) -> Chapter:
    parts = []
    if not counts["videos"]:
        parts.append(text_html("This store is empty: no video has been published to it yet."))
        return chapter("overview", "Overview", *parts)
    abstained = methods[0]["abstained"] if methods else None
    parts.append(
        tiles_html(
            [
                (f"{counts['videos']:,}", "videos", f"{counts['videos_with_faces']:,} with faces"),
                (
                    amount(counts["seconds_scored"]),
                    "scored",
                    f"of {amount(counts['seconds_found'])} found",
                ),
                (f"{counts['faces']:,}", "faces", f"on {counts['frames']:,} frames"),
                (f"{counts['tracks']:,}", "tracks", f"{counts['cuts']:,} shot cuts"),
                (percent(abstained), "abstained", "too uncertain to count"),
                (
                    f"{counts['quarantined'] + counts['partial']:,}",
                    "incomplete",
                    f"{counts['quarantined']:,} quarantined, {counts['partial']:,} in part",
                ),
            ]
        )
    )
    if not counts["faces"]:
        parts.append(text_html("No face was found in these videos, so there is nothing to plot."))
    if counts["faces_dropped"]:
        dropped = count_of(counts["faces_dropped"], "face")
        parts.append(
            text_html(f"{dropped} beyond `extract.max_faces_per_frame` were counted, not scored.")
        )
    parts.append(_incomplete(con))
    parts.append(
        text_html(
            "Videos are named by `video_id` alone. Whoever may read the store finds the file with "
            "`mien query STORE \"select video_id, uri from videos where video_id like 'ID%'\"`.",
            "soft",
        )
    )
    return chapter("overview", "Overview", *parts)


def _incomplete(con: Connection) -> str:
    rows = data.incomplete(con)
    if not rows:
        return text_html("Every video was read from its first second to its last.")
    columns = [
        Column("video_id", "id"),
        Column("status"),
        Column("span"),
        Column("lost", "number"),
        Column("reason"),
        Column("the video"),
    ]
    cells = []
    for row in rows:
        reason = str(row["reason"] or "")
        meaning = REASON_TEXT[Reason(reason)] if reason in REASON_TEXT else ""
        span = "all" if not row["segments"] else _span(row)
        lost = amount(row["seconds_lost"])
        cells.append((row["video_id"], row["status"], span, lost, reason, meaning))
    note = ""
    if rows[0]["found"] > len(rows):
        note = text_html(f"The first {len(rows):,} of {rows[0]['found']:,} rows.", "soft")
    return "<h3>Quarantined, and why</h3>" + table_html(columns, cells) + note


def _span(row: data.Row) -> str:
    return (
        f"{clock(row['first_seconds'])} to {clock(row['last_seconds'])} "
        f"({count_of(row['segments'], 'segment')})"
    )


# --- quality and work ----------------------------------------------------------------------------


def _quality(con: Connection, figures: Figures) -> Chapter:
    plots = []
    for column, title, unit, high in (
        ("size_px", "Size", "px", None),
        ("sharpness", "Sharpness", "", None),
        ("brightness", "Brightness", "", 1.0),
    ):
        top = high or data.upper_range(con, column)
        found = data.histogram(con, "faces", column, 0.0, top, 24)
        axis = {"size_px": "pixels", "sharpness": "variance of the Laplacian"}.get(column, "0 to 1")
        figures[column] = fig.histogram(found.edges, found.counts, axis, unit)
        plots.append(plot_html(column, title, f"Distribution of {column}"))
    step, limit = data.POSE_STEP_DEGREES, data.POSE_LIMIT_DEGREES
    edges = [float(edge) for edge in range(-limit, limit + 1, step)]
    figures["pose"] = fig.density(edges, edges, data.pose(con), "yaw", "pitch")
    plots.append(plot_html("pose", "Pose", "Faces by yaw and pitch"))
    return chapter(
        "quality",
        "Quality of the faces",
        text_html(
            "Measured on every face before it was made anonymous. The last bar holds what lies "
            "beyond it. Yaw and pitch are rough: they come from five points."
        ),
        grid_html(*plots),
    )


def _throughput(con: Connection, run: dict[str, Any] | None, figures: Figures) -> Chapter:
    spent = data.costs(con)
    steps = ("extract", "anonymize", "embed", "score")
    seconds = [float(spent[step]) for step in steps]
    figures["costs"] = fig.cost_bars(steps, seconds)
    rows = [_cost(step, cost, spent) for step, cost in zip(steps, seconds, strict=True)]
    rows.append(_cost("all", sum(seconds), spent))
    names = ("work", "video per second of work", "faces per second of work")
    wall, written = elapsed_seconds(run or {}), (run or {}).get("written_seconds")
    speed = ""
    if wall and written:
        speed = (
            f" The last run took {amount(wall)} from start to end for {amount(written)} of video: "
            f"{written / wall:.1f} seconds of video per second."
        )
    parts = [
        text_html(
            f"{amount(spent['video_seconds'])} of video in "
            f"{count_of(spent['segments'], 'segment')}. Work is the wall time inside an operator, "
            "added up over all processes; on more processes it passes faster." + speed
        ),
        table_html([Column("operator"), *(Column(name, "number") for name in names)], rows),
        plot_html("costs", "Where the work goes", "Share of work by operator"),
    ]
    return chapter("throughput", "Throughput", *parts)


def _cost(step: str, seconds: float, spent: data.Row) -> tuple[str, str, str, str]:
    if seconds <= 0:
        return (step, amount(seconds), NONE, NONE)
    video, faces = spent["video_seconds"] / seconds, spent["faces"] / seconds
    return (step, amount(seconds), f"{video:,.1f} s", f"{faces:,.0f}")
