"""The Arrow schemas of what flows: one row is one segment, its faces are lists inside it."""

import pyarrow as pa

from schemas.tables import (
    COSTS,
    END_SECONDS,
    FACE_MEASURES,
    KEPT,
    MEDIA,
    METHOD,
    PROBABILITIES,
    PTS_SECONDS,
    PTS_TICKS,
    REASON,
    SCORE_HASH,
    SEGMENT_ID,
    SEGMENT_MEASURES,
    SESSION_ID,
    START_SECONDS,
    STATUS,
    VERDICT,
    VIDEO_ID,
    VIDEOS,
    field,
    maybe,
)

SOURCE = pa.schema(
    [
        field("uri", pa.string(), "-", "where the video is"),
        field("size_bytes", pa.int64(), "B", "size of the file"),
        field("changed", pa.string(), "-", "mtime or etag: whether to look again, never identity"),
        SESSION_ID,
        maybe("view_id", pa.string(), "-", "camera of the session"),
        maybe("recorded_at", pa.timestamp("us", "UTC"), "-", "start of the recording, if known"),
    ]
)

#: What probing is told of a file.
SOURCE_FILES = pa.schema(
    [VIDEOS.field("source_id"), *(SOURCE.field(name) for name in ("size_bytes", "changed", "uri"))]
)

CLOCK = [
    maybe("start_ticks", pa.int64(), "time_base", "presentation time of the first frame"),
    maybe("frame_rate", pa.float64(), "frame/s", "average frame rate, if the header has one"),
    maybe("rotation_degrees", pa.int32(), "degree", "turn, anticlockwise, that makes it upright"),
]

PROBED = pa.schema(
    [
        field("fingerprint", pa.string(), "-", "sha256 of the first, middle and last MiB"),
        *MEDIA,
        *CLOCK,
        REASON,
    ]
)

PLANNED = pa.schema(
    [
        SEGMENT_ID,
        VIDEO_ID,
        START_SECONDS,
        END_SECONDS,
        field("uri", pa.string(), "-", "where the video is; dropped before anything decodes"),
        field("size_bytes", pa.int64(), "B", "size of the file"),
        field("changed", pa.string(), "-", "mtime or etag when it was listed"),
        *MEDIA,
        *CLOCK,
    ]
)
#: What Extract uses up of a planned segment.
PLAN_ONLY = ("size_bytes", "changed", *(f.name for f in (*MEDIA, *CLOCK)))

#: What Write answers for a segment: what progress, budget and the run's record are counted from.
WRITTEN = pa.schema(
    [SEGMENT_ID, VIDEO_ID, START_SECONDS, END_SECONDS, *SEGMENT_MEASURES, STATUS, REASON, *COSTS]
)

FACE = pa.struct(FACE_MEASURES)
#: What Extract hands to resolve to link tracks: every link sample's boxes, never a pixel.
LINK_SAMPLE = pa.struct(
    [
        PTS_TICKS,
        PTS_SECONDS,
        field("cut", pa.bool_(), "-", "a shot cut lies between the sample before and this one"),
        field("xyxy_px", pa.list_(pa.list_(pa.float32(), 4)), "px", "boxes of the sample"),
        field("detection_scores", pa.list_(pa.float32()), "probability", "their scores"),
        field("face_index", pa.list_(pa.int32()), "-", "row in `faces`, or -1 where not scored"),
    ]
)
SCORE = pa.struct(
    [
        field("face_index", pa.int32(), "-", "row in `faces`"),
        METHOD,
        SCORE_HASH,
        *PROBABILITIES,
        *VERDICT,
    ]
)

EXTRACTED = pa.schema(
    [
        *SEGMENT_MEASURES,
        STATUS,
        REASON,
        field("extract_seconds", pa.float32(), "s", "wall time spent in extract"),
        field("faces", pa.list_(FACE), "-", "scored faces, in order of time and box"),
        field("handover", pa.list_(LINK_SAMPLE), "-", "boxes of every link sample"),
    ]
)


def crops(name: str, crop_px: int) -> pa.Field:
    """A column of square crops: per segment a list of `(crop_px, crop_px, 3) uint8 RGB`."""
    pixels = pa.list_(pa.uint8(), crop_px * crop_px * 3)
    return field(name, pa.list_(pixels), "0..255", f"{crop_px} x {crop_px} RGB, row by row")


def embeddings(dim: int) -> pa.Field:
    """A column of L2-normalised face embeddings, `dim` float16 each."""
    vectors = pa.list_(pa.float16(), dim)
    return field("embeddings", pa.list_(vectors), "-", "image embedding of every crop")


#: What Write puts into staging: a segment's whole result, no pixel and no uri.
STAGED = pa.schema(
    [
        SEGMENT_ID,
        VIDEO_ID,
        START_SECONDS,
        END_SECONDS,
        *EXTRACTED,
        *COSTS[1:],
        field("anonymizer", pa.string(), "-", "what made the crops safe"),
        field("scores", pa.list_(SCORE), "-", "every method's scores of every face"),
        field("kept_embeddings", pa.list_(pa.struct(KEPT)), "-", "one a face, or none at all"),
    ]
)


#: What `mien crops` writes, for people to label and for `mien fit` and `mien evaluate` to read.
FACES_FILE = pa.schema(
    [
        field("image", pa.binary(), "-", "one anonymized crop, PNG"),
        maybe("label", pa.string(), "-", "apparent expression; to be filled in"),
        maybe("subject", pa.string(), "-", "who it is, in your own names; may stay empty"),
        field("clip_id", pa.string(), "-", "track of the face: one person in one video"),
        PTS_SECONDS,
    ]
)
