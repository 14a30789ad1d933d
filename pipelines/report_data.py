"""What the report counts, each in one SQL aggregate: no result grows with the store."""

from dataclasses import dataclass
from typing import Any

import duckdb

from schemas.tables import LABELS

Connection = duckdb.DuckDBPyConnection
Row = dict[str, Any]

MAX_INCOMPLETE = 200
MAX_SHARE_VIDEOS = 30
#: More score rows than this are compared between methods on a fixed sample of the faces.
MAX_COMPARED = 1_000_000
DISTANCE_STEPS = 10
POSE_STEP_DEGREES = 10
POSE_LIMIT_DEGREES = 60


def rows(con: Connection, sql: str, parameters: object = None) -> list[Row]:
    """The result of a query as dictionaries."""
    cursor = con.execute(sql, parameters)
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]


def headline(con: Connection) -> Row:
    """The counts that open the report."""
    sql = """
    select * from (
        select count(*) as videos, count(*) filter (status = 'ok') as ok,
               count(*) filter (status = 'partial') as partial,
               count(*) filter (status = 'quarantined') as quarantined,
               coalesce(sum(seconds_scored), 0) as seconds_scored,
               coalesce(sum(duration_seconds), 0) as seconds_found,
               coalesce(sum(size_bytes), 0) as bytes
        from videos
    ), (
        select count(*) as segments, coalesce(sum(frames_sampled), 0) as frames,
               coalesce(sum(faces_dropped), 0) as faces_dropped, coalesce(sum(cuts), 0) as cuts
        from segments
    ), (select count(*) as faces, count(distinct video_id) as videos_with_faces from faces),
       (select count(*) as tracks from tracks)
    """
    return rows(con, sql)[0]


def incomplete(con: Connection) -> list[Row]:
    """Videos that are not `ok`, one row a video and reason, with the spans that are missing."""
    sql = """
    with lost as (
        select video_id, reason, start_seconds, end_seconds,
               case when status = 'quarantined' then end_seconds - start_seconds
                    else greatest(0, end_seconds - start_seconds - seconds_read) end as seconds
        from segments where status <> 'ok'
    )
    select v.video_id, v.duration_seconds, v.status, coalesce(l.reason, v.reason) as reason,
           count(l.video_id) as segments, min(l.start_seconds) as first_seconds,
           max(l.end_seconds) as last_seconds,
           case when count(l.video_id) > 0 then sum(l.seconds)
                else v.duration_seconds end as seconds_lost,
           count(*) over () as found
    from videos v left join lost l using (video_id)
    where v.status <> 'ok' or l.video_id is not null
    group by v.video_id, v.duration_seconds, v.status, coalesce(l.reason, v.reason), v.reason
    order by v.status = 'quarantined' desc, seconds_lost desc nulls first, v.video_id, reason
    limit ?
    """
    return rows(con, sql, [MAX_INCOMPLETE])


def methods(con: Connection) -> list[Row]:
    """Every method that scored faces, the one with most faces first."""
    sql = """
    select method, count(*) as faces, avg(abstained::int) as abstained,
           avg(confidence) as confidence, avg(entropy) as entropy,
           string_agg(distinct score_hash, ', ' order by score_hash) as score_hash
    from scores group by method order by faces desc, method
    """
    return rows(con, sql)


@dataclass(frozen=True)
class LabelSeconds:
    """Seconds of each label, from the view `expression_seconds`."""

    by_method: dict[str, dict[str, float]]
    videos: list[str]
    by_video: list[dict[str, float]]


def label_seconds(con: Connection, method: str) -> LabelSeconds:
    """The seconds by method, and by video for one method: the videos with most of them.

    The view reads every score, so it is read once.
    """
    con.execute("""
    create or replace temp table seconds_by_video as
    select method, video_id, label, sum(seconds) as seconds from expression_seconds group by all
    """)
    by_method: dict[str, dict[str, float]] = {}
    by_video: dict[str, dict[str, float]] = {}
    try:
        sql = "select method, label, sum(seconds) from seconds_by_video group by all order by all"
        for name, label, seconds in con.execute(sql).fetchall():
            by_method.setdefault(name, {})[label] = float(seconds or 0)
        sql = """
        with own as (select * from seconds_by_video where method = ?), longest as (
            select video_id, sum(seconds) as total from own group by 1
            having total > 0 order by total desc, video_id limit ?
        )
        select video_id, label, seconds from longest join own using (video_id)
        order by total desc, video_id, label
        """
        for video_id, label, seconds in con.execute(sql, [method, MAX_SHARE_VIDEOS]).fetchall():
            by_video.setdefault(video_id, {})[label] = float(seconds or 0)
    finally:
        con.execute("drop table seconds_by_video")
    return LabelSeconds(by_method, list(by_video), list(by_video.values()))


def abstentions(con: Connection, method: str) -> dict[str, tuple[int, float]]:
    """Faces and share abstained, by top label."""
    sql = """
    select top_label, count(*), avg(abstained::int) from scores where method = ? group by 1
    """
    return {label: (n, share) for label, n, share in con.execute(sql, [method]).fetchall()}


@dataclass(frozen=True)
class Histogram:
    """Counts between neighbouring edges; what lies beyond counts into the last step."""

    edges: list[float]
    counts: list[int]


def histogram(
    con: Connection,
    table: str,
    column: str,
    low: float,
    high: float,
    steps: int,
    method: str | None = None,
) -> Histogram:
    """Count `column` of `table` in equal steps; both names are the schema's, never a user's."""
    where = f"isfinite({column})" + ("" if method is None else " and method = $method")
    sql = f"""
    select greatest(0, least($steps - 1, floor(({column} - $low) / $width)::int)) as step, count(*)
    from {table} where {where} group by 1
    """
    width = (high - low) / steps
    wanted = {"steps": steps, "low": low, "width": width}
    if method is not None:
        wanted["method"] = method
    counted = dict(con.execute(sql, wanted).fetchall())
    edges = [low + width * step for step in range(steps + 1)]
    return Histogram(edges, [counted.get(step, 0) for step in range(steps)])


def upper_range(con: Connection, column: str) -> float:
    """A round number above nearly all values of a column of `faces`."""
    sql = f"select approx_quantile({column}, 0.99) from faces where isfinite({column})"
    found = con.execute(sql).fetchone()
    top = float(found[0]) if found and found[0] is not None else 0.0
    step = 10.0 ** (len(str(int(max(top, 1)))) - 1) / 2
    return max(step, (top // step + 1) * step)


def pose(con: Connection) -> list[list[int]]:
    """Faces by pitch (rows) and yaw (columns), in steps of POSE_STEP_DEGREES."""
    half = POSE_LIMIT_DEGREES // POSE_STEP_DEGREES
    sql = """
    select greatest($low, least($high, floor(pitch_degrees / $step)::int)) as pitch,
           greatest($low, least($high, floor(yaw_degrees / $step)::int)) as yaw, count(*)
    from faces where isfinite(pitch_degrees) and isfinite(yaw_degrees) group by all
    """
    wanted = {"low": -half, "high": half - 1, "step": POSE_STEP_DEGREES}
    grid = [[0] * (2 * half) for _ in range(2 * half)]
    for pitch, yaw, count in con.execute(sql, wanted).fetchall():
        grid[pitch + half][yaw + half] = count
    return grid


def costs(con: Connection) -> Row:
    """Seconds of work in each operator, and the seconds of video that they were spent on."""
    sql = """
    select count(*) as segments, coalesce(sum(seconds_read), 0) as video_seconds,
           coalesce(sum(frames_sampled), 0) as frames, coalesce(sum(faces_found), 0) as faces,
           coalesce(sum(extract_seconds), 0) as extract,
           coalesce(sum(anonymize_seconds), 0) as anonymize,
           coalesce(sum(embed_seconds), 0) as embed, coalesce(sum(score_seconds), 0) as score
    from segments
    """
    return rows(con, sql)[0]


def provenance(con: Connection) -> Row:
    """What made the rows: hashes, decoders, devices, anonymizers, with their counts."""
    queries = {
        "extract_hash": "select extract_hash, count(*) from videos group by 1 order by 2 desc, 1",
        "decoder": "select decoder, count(*) from segments group by 1 order by 2 desc, 1",
        "device": "select device, count(*) from segments group by 1 order by 2 desc, 1",
        "anonymizer": "select anonymizer, count(*) from faces group by 1 order by 2 desc, 1",
    }
    return {name: con.execute(sql + " limit 20").fetchall() for name, sql in queries.items()}


@dataclass(frozen=True)
class Pair:
    """Two methods on the same faces."""

    first: str
    second: str
    confusion: dict[tuple[str, str], int]
    distances: list[int]
    mean_distance: float

    @property
    def faces(self) -> int:
        return sum(self.confusion.values())

    @property
    def agreement(self) -> float:
        """Share of faces on which both name the same label."""
        same = sum(n for (a, b), n in self.confusion.items() if a == b)
        return same / (self.faces or 1)


def pairs(con: Connection, score_rows: int) -> tuple[list[Pair], float]:
    """Every pair of methods compared face by face, and the share of the faces compared.

    The distance is the total variation of the two methods' probabilities: 0 equal, 1 disjoint.
    """
    every = max(1, -(-score_rows // MAX_COMPARED))
    distance = " + ".join(f"abs(a.{label} - b.{label})" for label in LABELS)
    sql = f"""
    with part as (select * from scores where hash(face_id) % $every = 0),
    both_scored as (
        select a.method as first, b.method as second, a.top_label as one, b.top_label as other,
               0.5 * ({distance} + abs(coalesce(a.contempt, 0) - coalesce(b.contempt, 0))) as gap
        from part a join part b on a.face_id = b.face_id and a.method < b.method
    )
    select first, second, one, other, least($steps - 1, floor(gap * $steps)::int) as step,
           count(*) as faces, sum(gap) as gap
    from both_scored group by all order by all
    """
    found: dict[tuple[str, str], Pair] = {}
    gaps: dict[tuple[str, str], float] = {}
    for row in rows(con, sql, {"every": every, "steps": DISTANCE_STEPS}):
        key = (row["first"], row["second"])
        pair = found.setdefault(key, Pair(*key, {}, [0] * DISTANCE_STEPS, 0.0))
        cell = (row["one"], row["other"])
        pair.confusion[cell] = pair.confusion.get(cell, 0) + row["faces"]
        pair.distances[row["step"]] += row["faces"]
        gaps[key] = gaps.get(key, 0.0) + row["gap"]
    done = [
        Pair(p.first, p.second, p.confusion, p.distances, gaps[key] / (p.faces or 1))
        for key, p in found.items()
    ]
    return done, 1 / every
