"""What Great Expectations checks on every part of the tables before it is published.

Each expectation looks at one value a row, given as SQL over the part's own tables, and says where
that value may lie. A row whose value is null is not judged by it. In the SQL, `t` is the row.
"""

from dataclasses import dataclass

from schemas.reasons import Reason, Status
from schemas.tables import LABELS, OPTIONAL_LABELS

#: Names of the row's columns that are null or not finite and may not be; quality fills it in.
BAD_VALUES = "{bad_values}"

_PROBABILITIES = (*LABELS, *OPTIONAL_LABELS)
_SUM_TOLERANCE = 1e-3  # float32, seven or eight addends
_LENGTH_TOLERANCE = 5e-3  # of the square; raw vectors were rounded to float16
_ENTROPY_MOST = 2.08  # ln 8 = 2.0794
#: Headers round durations, and a sample may be the frame next to its time.
_TIME_SLACK_SECONDS = 1.0
_TICK_SECONDS = 1e-6
_BOX_SLACK_PX = 1.0


@dataclass(frozen=True)
class Expectation:
    """One rule. `sql` is a row's value; `needs` are tables without which it says nothing."""

    name: str
    sql: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Between(Expectation):
    """The value lies between `low` and `high`, both included."""

    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class OneOf(Expectation):
    """The value is one of these."""

    values: tuple[str | bool, ...] = (True,)


@dataclass(frozen=True)
class Unique(Expectation):
    """No two rows have the same value."""


def _share(name: str) -> Between:
    return Between(f"{name} between 0 and 1", f"t.{name}", low=0, high=1)


def _not_negative(name: str) -> Between:
    return Between(f"{name} not negative", f"t.{name}", low=0)


def _known(name: str, table: str) -> OneOf:
    sql = f"t.{name} IN (SELECT {name} FROM {table})"
    return OneOf(f"{name} is in {table}", sql, needs=(table,))


def _of_video(column: str) -> str:
    return f"(SELECT any_value(v.{column}) FROM videos v WHERE v.video_id = t.video_id)"


_ITS_FACE = (
    "(SELECT bool_or(f.track_id = t.track_id AND f.pts_seconds = t.pts_seconds) "
    "FROM faces f WHERE f.face_id = t.face_id) IS TRUE"
)
_ALL = ", ".join(f"t.{label}" for label in LABELS)
_NO_BAD_VALUES = OneOf("no null and no NaN where none may be", BAD_VALUES, values=("",))
_STATUS = (
    OneOf("status is known", "t.status", values=tuple(str(status) for status in Status)),
    OneOf("reason is known", "t.reason", values=tuple(str(reason) for reason in Reason)),
    OneOf("a reason exactly where not ok", "(t.status = 'ok') = (t.reason IS NULL)"),
)
_VERDICT = (
    Between("lowest probability", f"least({_ALL}, coalesce(t.contempt, 0))", low=0, high=1),
    Between("highest probability", f"greatest({_ALL}, coalesce(t.contempt, 0))", low=0, high=1),
    Between(
        "probabilities sum to one",
        " + ".join([*(f"t.{label}::DOUBLE" for label in LABELS), "coalesce(t.contempt, 0)"]),
        low=1 - _SUM_TOLERANCE,
        high=1 + _SUM_TOLERANCE,
    ),
    OneOf("top_label is known", "t.top_label", values=_PROBABILITIES),
    OneOf(
        "top_label has the highest probability",
        "CASE t.top_label "
        + " ".join(f"WHEN '{label}' THEN t.{label}" for label in _PROBABILITIES)
        + f" END = greatest({_ALL}, coalesce(t.contempt, 0))",
    ),
    _share("confidence"),
    Between("entropy in range", "t.entropy", low=0, high=_ENTROPY_MOST),
)

EXPECTATIONS: dict[str, tuple[Expectation, ...]] = {
    "videos": (
        _NO_BAD_VALUES,
        Unique("video_id is unique", "t.video_id"),
        *_STATUS,
        _not_negative("size_bytes"),
        _not_negative("duration_seconds"),
        _not_negative("seconds_scored"),
        Between("width_px at least 1", "t.width_px", low=1),
        Between("height_px at least 1", "t.height_px", low=1),
        Between(
            "no more scored than there is",
            "t.seconds_scored - t.duration_seconds",
            high=_TIME_SLACK_SECONDS,
        ),
        OneOf(
            "ok exactly where all its segments are",
            "(t.status = 'ok') = "
            "(SELECT bool_and(s.status = 'ok') FROM segments s WHERE s.video_id = t.video_id)",
            needs=("segments",),
        ),
    ),
    "segments": (
        _NO_BAD_VALUES,
        Unique("segment_id is unique", "t.segment_id"),
        _known("video_id", "videos"),
        *_STATUS,
        _not_negative("start_seconds"),
        OneOf("starts before it ends", "t.start_seconds < t.end_seconds"),
        Between(
            "ends with its video",
            f"t.end_seconds - {_of_video('duration_seconds')}",
            high=_TIME_SLACK_SECONDS,
            needs=("videos",),
        ),
        Between(
            "begins where the one before ends",
            "t.start_seconds - lag(t.end_seconds) OVER "
            "(PARTITION BY t.video_id ORDER BY t.start_seconds)",
            low=-_TICK_SECONDS,
            high=_TICK_SECONDS,
        ),
        _not_negative("frames_sampled"),
        _not_negative("faces_dropped"),
        _not_negative("seconds_read"),
        OneOf(
            "faces_found is the number of its faces",
            "t.faces_found = (SELECT count(*) FROM faces f WHERE f.segment_id = t.segment_id)",
            needs=("faces",),
        ),
    ),
    "faces": (
        _NO_BAD_VALUES,
        Unique("face_id is unique", "t.face_id"),
        _known("video_id", "videos"),
        _known("segment_id", "segments"),
        _known("track_id", "tracks"),
        _not_negative("pts_seconds"),
        OneOf(
            "seen within its segment",
            "(SELECT bool_or(t.pts_seconds BETWEEN "
            f"s.start_seconds - {_TIME_SLACK_SECONDS} AND s.end_seconds + {_TIME_SLACK_SECONDS}) "
            "FROM segments s WHERE s.segment_id = t.segment_id)",
            needs=("segments",),
        ),
        OneOf(
            "seen within its track",
            "(SELECT bool_or(t.pts_seconds BETWEEN "
            f"k.start_seconds - {_TICK_SECONDS} AND k.end_seconds + {_TICK_SECONDS}) "
            "FROM tracks k WHERE k.track_id = t.track_id)",
            needs=("tracks",),
        ),
        OneOf("box has an area", "t.xyxy_px[1] < t.xyxy_px[3] AND t.xyxy_px[2] < t.xyxy_px[4]"),
        Between(
            "box begins inside the frame", "least(t.xyxy_px[1], t.xyxy_px[2])", low=-_BOX_SLACK_PX
        ),
        Between(
            "box ends inside the frame, across",
            f"t.xyxy_px[3] - {_of_video('width_px')}",
            high=_BOX_SLACK_PX,
            needs=("videos",),
        ),
        Between(
            "box ends inside the frame, down",
            f"t.xyxy_px[4] - {_of_video('height_px')}",
            high=_BOX_SLACK_PX,
            needs=("videos",),
        ),
        _share("detection_score"),
        _share("brightness"),
        _share("occlusion"),
        _not_negative("sharpness"),
        Between(
            "turned by at most half a turn",
            "greatest(abs(t.yaw_degrees), abs(t.pitch_degrees), abs(t.roll_degrees))",
            high=180,
        ),
        OneOf(
            "scored by every method that scored its video",
            "(SELECT count(*) FROM scores s WHERE s.face_id = t.face_id) = "
            "coalesce((SELECT count(DISTINCT s.method) FROM scores s "
            "WHERE s.video_id = t.video_id), 0)",
            needs=("scores",),
        ),
        OneOf(
            "has a vector, where vectors are kept",
            "t.face_id IN (SELECT face_id FROM embeddings)",
            needs=("embeddings",),
        ),
    ),
    "tracks": (
        _NO_BAD_VALUES,
        Unique("track_id is unique", "t.track_id"),
        _known("video_id", "videos"),
        _not_negative("start_seconds"),
        OneOf("starts no later than it ends", "t.start_seconds <= t.end_seconds"),
        OneOf(
            "faces is the number of its faces",
            "t.faces = (SELECT count(*) FROM faces f WHERE f.track_id = t.track_id)",
            needs=("faces",),
        ),
        _share("mean_brightness"),
        _share("mean_detection_score"),
    ),
    "scores": (
        _NO_BAD_VALUES,
        Unique("one row a face and method", "t.face_id || ' ' || t.method"),
        _known("video_id", "videos"),
        OneOf(
            "its face exists, with that track and time",
            _ITS_FACE,
            needs=("faces",),
        ),
        _not_negative("pts_seconds"),
        *_VERDICT,
    ),
    "embeddings": (
        _NO_BAD_VALUES,
        Unique("face_id is unique", "t.face_id"),
        _known("video_id", "videos"),
        OneOf(
            "its face exists, with that track and time",
            _ITS_FACE,
            needs=("faces",),
        ),
        Between(
            "of unit length",
            "list_inner_product(t.embedding, t.embedding)",
            low=1 - _LENGTH_TOLERANCE,
            high=1 + _LENGTH_TOLERANCE,
        ),
    ),
    "track_scores": (
        _NO_BAD_VALUES,
        Unique(
            "one row a track, span and method",
            "t.track_id || ' ' || t.start_seconds || ' ' || t.method",
        ),
        _known("video_id", "videos"),
        _known("track_id", "tracks"),
        OneOf("starts no later than it ends", "t.start_seconds <= t.end_seconds"),
        Between("faces at least 1", "t.faces", low=1),
        *_VERDICT,
    ),
}
