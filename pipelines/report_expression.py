"""The chapters about labels: over time, their shares, how sure they are, method against method."""

from html import escape
from math import log

from pipelines import figures as fig
from pipelines import report_data as data
from pipelines.figures_timeline import timeline
from pipelines.report_text import (
    Chapter,
    Column,
    amount,
    chapter,
    count_of,
    grid_html,
    legend_html,
    percent,
    plot_html,
    short_ids,
    table_html,
    text_html,
)
from pipelines.report_timeline import MAX_TRACKS, timelines
from schemas.tables import LABELS

Connection = data.Connection
Figures = dict[str, fig.Figure]

MAX_PAIRS_PLOTTED = 3
_CERTAINTY = ("faces", "abstained", "mean confidence", "mean entropy")


def over_time(con: Connection, method: str, figures: Figures) -> Chapter:
    """Label probabilities of a chosen video, track by track, on the video's clock."""
    videos = timelines(con, method)
    options = []
    for number, video in enumerate(videos):
        name = f"timeline-{number}"
        figures[name] = timeline(video)
        note = (
            f"Steps of {video.step_seconds:.3g} s, each the mean of itself and its neighbours. "
            f"{count_of(video.cuts, 'shot cut')} counted in this video."
        )
        if video.tracks_found > MAX_TRACKS:
            note += f" {MAX_TRACKS} of {video.tracks_found:,} tracks, those with most faces."
        options.append(
            f'<option value="{name}" data-note="{escape(note)}">{escape(video.title)}</option>'
        )
    drawn = [label for video in videos for track in video.tracks for label in track.probabilities]
    colours = {label: fig.LABEL_COLOURS[label] for label in fig.known_labels(drawn)}
    return chapter(
        "time",
        "Expression over time",
        text_html(
            f"Probability of each label by method `{method}`, one row a track. The band below a "
            "row is the verdict: the label on top, hollow where most faces abstained. A dotted "
            "line marks where every face on screen was replaced at a counted shot cut. Drag to "
            "zoom, double-click to reset."
        ),
        f'<label class="pick">Video <select id="pick">{"".join(options)}</select></label>',
        legend_html(colours, "abstained"),
        plot_html("timeline-0", "", "Expression over time of the chosen video, by track"),
        '<p class="soft" id="note"></p>',
        text_html(f"The {count_of(len(videos), 'video')} with most faces can be chosen.", "soft"),
    )


def shares(found: data.LabelSeconds, method: str, figures: Figures) -> Chapter:
    """Seconds of each label, in all videos and in each."""
    seconds = found.by_method.get(method, {})
    total = sum(seconds.values()) or 1.0
    shares = {label: seconds.get(label, 0.0) / total for label in fig.known_labels(list(seconds))}
    notes = {x: f"{percent(share)} · {amount(seconds.get(x, 0))}" for x, share in shares.items()}
    figures["shares"] = fig.label_bars(shares, notes, "share of the label seconds")
    figures["shares-by-video"] = fig.stacked_shares(short_ids(found.videos), found.by_video)
    return chapter(
        "shares",
        "Share of labels",
        text_html(
            f"Seconds in which a label was on top, by method `{method}`, from the view "
            "`expression_seconds`: a face counts for the time to the next sample of its track, and "
            "not at all where it abstained."
        ),
        plot_html("shares", "All videos", "Share of each label over all videos"),
        plot_html(
            "shares-by-video",
            f"By video: the {count_of(len(found.videos), 'video')} with most face time",
            "Share of each label in each video",
        ),
        legend_html({label: fig.LABEL_COLOURS[label] for label in shares}),
    )


def certainty(con: Connection, methods: list[data.Row], figures: Figures) -> Chapter:
    """How sure the methods are, and how often they abstain."""
    method = methods[0]["method"]
    for column, high, axis, unit in (
        ("confidence", 1.0, "probability", ""),
        ("entropy", round(log(len(LABELS)), 3), "nat", "nat"),
    ):
        found = data.histogram(con, "scores", column, 0.0, high, 20, method)
        figures[column] = fig.histogram(found.edges, found.counts, axis, unit)
    by_label = data.abstentions(con, method)
    rates, notes = {}, {}
    for label in fig.known_labels(list(by_label)):
        faces, rates[label] = by_label.get(label, (0, 0.0))
        notes[label] = f"{percent(rates[label])} of {faces:,}" if faces else "never on top"
    figures["abstained"] = fig.label_bars(rates, notes, "share abstained")
    columns = [Column("method", "id"), *(Column(name, "number") for name in _CERTAINTY)]
    rows = [
        (
            m["method"],
            f"{m['faces']:,}",
            percent(m["abstained"]),
            f"{m['confidence']:.2f}",
            f"{m['entropy']:.2f} nat",
        )
        for m in methods
    ]
    return chapter(
        "certainty",
        "Confidence and abstention",
        text_html(
            "Confidence is the calibrated probability of the label on top; entropy is 0 where one "
            f"label has it all and {log(len(LABELS)):.2f} nat where seven share it equally. A face "
            f"below `score.abstain_below` abstains: do not count it. Plots: `{method}`."
        ),
        table_html(columns, rows),
        grid_html(
            plot_html("confidence", "Confidence, share of faces", "Distribution of confidence"),
            plot_html("entropy", "Entropy, share of faces", "Distribution of entropy"),
        ),
        plot_html("abstained", "Abstained, by label on top", "Share abstained by label"),
    )


def side_by_side(
    con: Connection, methods: list[data.Row], seconds: data.LabelSeconds, figures: Figures
) -> Chapter:
    """The same faces by every method: shares, agreement, and how far apart they are."""
    shares = {
        method: {label: value / (sum(row.values()) or 1.0) for label, value in row.items()}
        for method, row in seconds.by_method.items()
    }
    figures["methods"] = fig.method_bars(shares)
    pairs, part = data.pairs(con, sum(m["faces"] for m in methods))
    columns = [
        Column("methods"),
        Column("faces compared", "number"),
        Column("same label", "number"),
        Column("mean distance", "number"),
    ]
    rows = [
        (
            f"{pair.first} · {pair.second}",
            f"{pair.faces:,}",
            percent(pair.agreement),
            f"{pair.mean_distance:.2f}",
        )
        for pair in pairs
    ]
    parts = [plot_html("methods", "Share of label seconds", "Share of each label by method")]
    parts.append(table_html(columns, rows))
    if part < 1:
        parts.append(text_html(f"Compared on a fixed sample of {percent(part)} of faces.", "soft"))
    plots = []
    for number, pair in enumerate(pairs[:MAX_PAIRS_PLOTTED]):
        name = f"confusion-{number}"
        figures[name] = fig.confusion(pair.confusion)
        caption = f"{pair.first} (rows) against {pair.second} (columns)"
        plots.append(plot_html(name, caption, "Labels of two methods on the same faces"))
    if pairs:
        shown = {f"{p.first} · {p.second}": p.distances for p in pairs[:MAX_PAIRS_PLOTTED]}
        figures["distances"] = fig.distances(shown)
        plots.append(plot_html("distances", "Per-face disagreement", "Distance between methods"))
    return chapter(
        "methods",
        "Methods side by side",
        text_html(
            "The same faces, scored by each method. The distance of two methods on a face is half "
            "the sum of the differences of their probabilities: 0 where they say the same, 1 where "
            "they share nothing."
        ),
        *parts,
        grid_html(*plots),
    )
