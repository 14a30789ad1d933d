"""Expression over time, aggregated in SQL: few videos, few tracks, a bounded number of steps."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import duckdb

from pipelines.report_text import clock, count_of, short_id
from schemas.tables import LABELS, OPTIONAL_LABELS

MAX_VIDEOS = 24
MAX_TRACKS = 6
MAX_STEPS = 240
MIN_STEP_SECONDS = 0.25
MAX_CHANGES = 60
#: A face that appears this long after the last one left took its place.
CHANGE_SECONDS = 1.5


@dataclass(frozen=True)
class TrackSeries:
    """One row of the plot; a step without a face holds None."""

    title: str
    step_seconds: float
    first_step: int
    probabilities: dict[str, list[float | None]]
    top_labels: list[str | None]
    abstained: list[bool]


@dataclass(frozen=True)
class Timeline:
    """What is shown of one video."""

    video_id: str
    span_seconds: float
    step_seconds: float
    faces: int
    tracks_found: int
    cuts: int
    tracks: list[TrackSeries]
    changes_seconds: list[float]

    @property
    def title(self) -> str:
        parts = (clock(self.span_seconds), count_of(self.tracks_found, "track"))
        return " · ".join([short_id(self.video_id), *parts, count_of(self.faces, "face")])


_VIDEOS = """
with seen as (
    select video_id, sum(faces) as faces, count(*) as tracks, max(end_seconds) as last_seconds
    from tracks group by 1
), cut as (select video_id, sum(cuts) as cuts from segments group by 1)
select video_id, faces, tracks, coalesce(cuts, 0) as cuts,
       greatest(coalesce(duration_seconds, 0), last_seconds) as span_seconds
from seen join videos using (video_id) left join cut using (video_id)
order by faces desc, video_id limit ?
"""

# Every face of a video with more tracks than are shown also counts into a first row, track ''.
_STEPS = """
with chosen as (
    select unnest($ids::varchar[]) as video_id, unnest($steps::double[]) as step,
           unnest($crowded::boolean[]) as crowded
), ranked as (
    select track_id, row_number() over (
        partition by video_id order by faces desc, start_seconds, track_id) as place
    from tracks where video_id in (select video_id from chosen)
), kept as (
    select s.video_id, s.track_id, step, s.* exclude (video_id, track_id)
    from scores s join chosen using (video_id) join ranked using (track_id)
    where method = $method and place <= $max_tracks
    union all
    select s.video_id, '' as track_id, step, s.* exclude (video_id, track_id)
    from scores s join chosen using (video_id) where method = $method and crowded
), steps as (
    select video_id, track_id, floor(pts_seconds / step)::int as number, count(*) as n,
           avg(abstained::int) > 0.5 as abstained, {sums}
    from kept group by all
)
select video_id, track_id, number, abstained, {means}
from steps
window near as (partition by video_id, track_id order by number
                range between 1 preceding and 1 following)
order by video_id, track_id, number
"""

_TRACKS = """
select video_id, track_id, start_seconds, end_seconds, faces from tracks
where video_id in (select unnest(?::varchar[]))
qualify row_number() over (
    partition by video_id order by faces desc, start_seconds, track_id) <= ?
order by video_id, start_seconds, track_id
"""

# Where all faces on screen were replaced, within a segment that counts a shot cut.
_CHANGES = """
with ordered as (
    select video_id, start_seconds, max(end_seconds) over (
        partition by video_id order by start_seconds
        rows between unbounded preceding and 1 preceding) as before
    from tracks where video_id in (select unnest($ids::varchar[]))
)
select distinct o.video_id, o.start_seconds
from ordered o join segments g on g.video_id = o.video_id and g.cuts > 0
    and o.start_seconds >= g.start_seconds and o.start_seconds < g.end_seconds
where before <= o.start_seconds + 1e-6 and before > o.start_seconds - $gap
order by all
"""


def timelines(con: duckdb.DuckDBPyConnection, method: str) -> list[Timeline]:
    """The videos with most faces, each with its tracks of most faces."""
    videos = con.execute(_VIDEOS, [MAX_VIDEOS]).fetchall()
    ids = [video[0] for video in videos]
    steps = [max(MIN_STEP_SECONDS, video[4] / MAX_STEPS) for video in videos]
    crowded = [video[2] > MAX_TRACKS for video in videos]
    series = _series(con, ids, steps, crowded, method)
    titles = con.execute(_TRACKS, [ids, MAX_TRACKS]).fetchall()
    changes = defaultdict(list)
    for video_id, seconds in con.execute(_CHANGES, {"ids": ids, "gap": CHANGE_SECONDS}).fetchall():
        changes[video_id].append(seconds)
    found: list[Timeline] = []
    for (video_id, faces, tracks, cuts, span), step, many in zip(
        videos, steps, crowded, strict=True
    ):
        named = [("", f"all {count_of(tracks, 'track')} together")] if many else []
        shown = [row for row in titles if row[0] == video_id]
        for number, (_, track_id, start, end, count) in enumerate(shown, 1):
            text = f"track {number} · {clock(start)} to {clock(end)} · {count_of(count, 'face')}"
            named.append((track_id, text))
        rows = [
            _track(title, step, series[video_id, track_id])
            for track_id, title in named
            if (video_id, track_id) in series
        ]
        marks = changes[video_id] if len(changes[video_id]) <= MAX_CHANGES else []
        if rows:
            found.append(Timeline(video_id, span, step, faces, tracks, cuts, rows, marks))
    return found


Step = dict[str, Any]


def _series(
    con: duckdb.DuckDBPyConnection,
    ids: list[str],
    steps: list[float],
    crowded: list[bool],
    method: str,
) -> dict[tuple[str, str], list[Step]]:
    labels = (*LABELS, *OPTIONAL_LABELS)
    sql = _STEPS.format(
        sums=", ".join(f"sum({label}) as {label}" for label in labels),
        means=", ".join(
            f"sum({label}) over near / sum(n) over near as {label}" for label in labels
        ),
    )
    wanted = {"ids": ids, "steps": steps, "crowded": crowded, "method": method}
    cursor = con.execute(sql, {**wanted, "max_tracks": MAX_TRACKS})
    names = [column[0] for column in cursor.description or ()]
    series: dict[tuple[str, str], list[Step]] = defaultdict(list)
    for row in cursor.fetchall():
        step = dict(zip(names, row, strict=True))
        series[step["video_id"], step["track_id"]].append(step)
    return series


def _track(title: str, step_seconds: float, steps: list[Step]) -> TrackSeries:
    labels = [*LABELS, *(one for one in OPTIONAL_LABELS if any(s[one] is not None for s in steps))]
    by_place = {step["number"]: step for step in steps}
    first, last = steps[0]["number"], steps[-1]["number"]
    dense = [by_place.get(at) for at in range(first, last + 1)]
    return TrackSeries(
        title=title,
        step_seconds=step_seconds,
        first_step=first,
        probabilities={
            label: [None if step is None else round(step[label] or 0.0, 3) for step in dense]
            for label in labels
        },
        top_labels=[
            None if step is None else max(labels, key=lambda label: step[label] or 0.0)
            for step in dense
        ],
        abstained=[step is not None and step["abstained"] for step in dense],
    )
