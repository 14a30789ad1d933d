"""The published tables: flat, what users query. What flows until then is in `schemas.flow`.

Every column carries its unit and description in the field metadata.
"""

import pyarrow as pa

SCHEMA_VERSION = 2

LABELS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
#: The eighth label, null for methods that know seven.
OPTIONAL_LABELS = ("contempt",)


def field(
    name: str, type: pa.DataType, unit: str, description: str, nullable: bool = False
) -> pa.Field:
    """Declare a column once: its unit (`-` when it has none) and its meaning."""
    return pa.field(name, type, nullable, {"unit": unit, "description": description})


def maybe(name: str, type: pa.DataType, unit: str, description: str) -> pa.Field:
    """Declare a nullable column."""
    return field(name, type, unit, description, nullable=True)


# --- columns that several tables share -----------------------------------------------------------

VIDEO_ID = field("video_id", pa.string(), "-", "HMAC of uri, size and content fingerprint")
SEGMENT_ID = field("segment_id", pa.string(), "-", "video_id, start and end in milliseconds")
FACE_ID = field("face_id", pa.string(), "-", "video_id, pts_ticks and the box's place in its frame")
TRACK_ID = field(
    "track_id", pa.string(), "-", "video_id, first pts_ticks and the track's place among its peers"
)
SESSION_ID = maybe("session_id", pa.string(), "-", "videos of several cameras of one scene")
CONTENT_ID = maybe(
    "content_id", pa.string(), "-", "HMAC of size and content fingerprint: a copy has the same"
)
RUN_ID = field("run_id", pa.string(), "-", "the run that published the row")
PTS_SECONDS = field("pts_seconds", pa.float64(), "s", "presentation time on the video's clock")
PTS_TICKS = field("pts_ticks", pa.int64(), "time_base", "presentation time, exact, from the start")
STATUS = field("status", pa.string(), "-", "ok, partial or quarantined")
REASON = maybe("reason", pa.string(), "-", "why not ok; docs/tables.md lists the reasons")
START_SECONDS = field("start_seconds", pa.float64(), "s", "begin of the half-open span")
END_SECONDS = field("end_seconds", pa.float64(), "s", "end of the half-open span")
METHOD = field("method", pa.string(), "-", "name of the scoring method")
SCORE_HASH = field("score_hash", pa.string(), "-", "hash of all that the score depends on")
EXTRACT_HASH = field("extract_hash", pa.string(), "-", "hash of all that the faces depend on")

PROBABILITIES = [
    *(
        field(label, pa.float32(), "probability", f"apparent {label}, as the method sees it")
        for label in LABELS
    ),
    maybe("contempt", pa.float32(), "probability", "apparent contempt; null where unknown"),
]
VERDICT = [
    field("top_label", pa.string(), "-", "label with the highest probability"),
    field("confidence", pa.float32(), "probability", "calibrated probability of top_label"),
    field("entropy", pa.float32(), "nat", "entropy of the probabilities"),
    field("abstained", pa.bool_(), "-", "confidence below score.abstain_below: do not count it"),
    maybe("nearest_prototype", pa.string(), "-", "prototype nearest to the face, if any"),
    maybe("prototype_similarity", pa.float32(), "cosine", "similarity to nearest_prototype"),
]

# --- what a face carries -------------------------------------------------------------------------

FACE_MEASURES = [
    PTS_SECONDS,
    PTS_TICKS,
    field("xyxy_px", pa.list_(pa.float32(), 4), "px", "box: left, top, right, bottom, upright"),
    field("detection_score", pa.float32(), "probability", "the detector's score of the box"),
    field("landmarks_px", pa.list_(pa.float32(), 10), "px", "x, y of eyes, nose, mouth corners"),
    field("sharpness", pa.float32(), "-", "variance of the Laplacian on the aligned crop"),
    field("brightness", pa.float32(), "0..1", "mean luma of the aligned crop"),
    field("size_px", pa.float32(), "px", "square root of the box's area"),
    field("yaw_degrees", pa.float32(), "degree", "head turn, rough, from five points"),
    field("pitch_degrees", pa.float32(), "degree", "head nod, rough, from five points"),
    field("roll_degrees", pa.float32(), "degree", "head tilt, from the line of the eyes"),
    field("occlusion", pa.float32(), "0..1", "hint that part of the face is covered"),
]

# --- published tables ----------------------------------------------------------------------------

MEDIA = [
    maybe("container", pa.string(), "-", "container format as FFmpeg names it"),
    maybe("codec", pa.string(), "-", "video codec as FFmpeg names it"),
    maybe("width_px", pa.int32(), "px", "width of the upright frame"),
    maybe("height_px", pa.int32(), "px", "height of the upright frame"),
    maybe("time_base", pa.string(), "s", "unit of pts_ticks, as a fraction"),
    maybe("duration_seconds", pa.float64(), "s", "length of the video stream"),
    maybe("has_audio", pa.bool_(), "-", "an audio stream is present"),
]

VIDEOS = pa.schema(
    [
        VIDEO_ID,
        field("source_id", pa.string(), "-", "HMAC of the uri: the same place, whatever is in it"),
        CONTENT_ID,
        field("uri", pa.string(), "-", "where the video is; stands in no other table"),
        field("size_bytes", pa.int64(), "B", "size of the file"),
        *MEDIA,
        field("seconds_scored", pa.float64(), "s", "length of the spans that were read to the end"),
        SESSION_ID,
        maybe("view_id", pa.string(), "-", "camera of the session"),
        maybe("recorded_at", pa.timestamp("us", "UTC"), "-", "start of the recording, if known"),
        STATUS,
        REASON,
        EXTRACT_HASH,
        field("scored_by", pa.list_(pa.string()), "-", "method:score_hash of every method applied"),
        RUN_ID,
    ]
)

#: Filled by the operators, one value a segment. Wall-clock figures are never compared.
SEGMENT_MEASURES = [
    field("frames_sampled", pa.int32(), "frame", "frames on which faces were scored"),
    field("faces_found", pa.int32(), "face", "faces on those frames"),
    field("faces_dropped", pa.int32(), "face", "faces beyond extract.max_faces_per_frame"),
    field("cuts", pa.int32(), "cut", "shot cuts in the span"),
    field("seconds_read", pa.float64(), "s", "length of the span that was read"),
    field("decoder", pa.string(), "-", "what decoded the frames"),
    field("device", pa.string(), "-", "what ran the detector"),
]
COSTS = [
    field(f"{step}_seconds", pa.float32(), "s", f"wall time spent in {step}")
    for step in ("extract", "anonymize", "embed", "score")
]

SEGMENTS = pa.schema(
    [
        SEGMENT_ID,
        VIDEO_ID,
        START_SECONDS,
        END_SECONDS,
        *SEGMENT_MEASURES,
        STATUS,
        REASON,
        *COSTS,
        EXTRACT_HASH,
        RUN_ID,
    ]
)

FACES = pa.schema(
    [
        FACE_ID,
        SEGMENT_ID,
        VIDEO_ID,
        TRACK_ID,
        *FACE_MEASURES,
        field("anonymizer", pa.string(), "-", "what made the crop safe before anything read it"),
    ]
)

TRACKS = pa.schema(
    [
        TRACK_ID,
        VIDEO_ID,
        SESSION_ID,
        START_SECONDS,
        END_SECONDS,
        field("faces", pa.int32(), "face", "scored faces of the track"),
        field("mean_sharpness", pa.float32(), "-", "mean of its faces' sharpness"),
        field("mean_brightness", pa.float32(), "0..1", "mean of its faces' brightness"),
        field("mean_size_px", pa.float32(), "px", "mean of its faces' size_px"),
        field("mean_detection_score", pa.float32(), "probability", "mean of its faces' scores"),
    ]
)

SCORES = pa.schema(
    [
        FACE_ID,
        VIDEO_ID,
        TRACK_ID,
        PTS_SECONDS,
        METHOD,
        SCORE_HASH,
        *PROBABILITIES,
        *VERDICT,
    ]
)

#: What stays of a face's embedding, where `embed.protection` lets anything stay.
KEPT = [
    field("protection", pa.string(), "-", "what the vector went through: projected or raw"),
    field("embed_hash", pa.string(), "-", "hash of encoder and protection: compare within one"),
    field("embedding", pa.list_(pa.float32()), "-", "vector of the face, of unit length"),
]

EMBEDDINGS = pa.schema([FACE_ID, VIDEO_ID, TRACK_ID, PTS_SECONDS, *KEPT])

TRACK_SCORES = pa.schema(
    [
        TRACK_ID,
        VIDEO_ID,
        START_SECONDS,
        END_SECONDS,
        field("faces", pa.int32(), "face", "faces that the score rests on"),
        METHOD,
        SCORE_HASH,
        *PROBABILITIES,
        *VERDICT,
    ]
)

TABLES: dict[str, pa.Schema] = {
    "videos": VIDEOS,
    "segments": SEGMENTS,
    "faces": FACES,
    "tracks": TRACKS,
    "scores": SCORES,
    "track_scores": TRACK_SCORES,
    "embeddings": EMBEDDINGS,
}
#: Sort order within a file, so that one video's rows are a contiguous, skippable range.
SORT_KEYS: dict[str, tuple[str, ...]] = {
    "videos": ("video_id",),
    "segments": ("video_id", "start_seconds", "end_seconds"),
    "faces": ("video_id", "pts_seconds", "face_id"),
    "tracks": ("video_id", "start_seconds", "track_id"),
    "scores": ("video_id", "pts_seconds", "face_id", "method"),
    "track_scores": ("video_id", "start_seconds", "track_id", "method"),
    "embeddings": ("video_id", "pts_seconds", "face_id"),
}
#: As how many rows of other tables a row of one counts: files and parts are bounded in rows, and a
#: vector is large.
ROW_WEIGHTS = {"embeddings": 8}


def rows_a_file(table: str, rows: int) -> int:
    """Most rows in a file of a table, where `rows` is for tables of plain rows."""
    return max(1, rows // ROW_WEIGHTS.get(table, 1))


GRAINS: dict[str, str] = {
    "videos": "one row a video",
    "segments": "one row a segment, the unit of work and retry",
    "faces": "one row a face on one sampled frame",
    "tracks": "one row a track: one person's faces linked by motion inside one video",
    "scores": "one row a face and method",
    "track_scores": "one row a track and method",
    "embeddings": "one row a face, where embed.protection keeps vectors: none by default",
}
