"""The rows of `mien redact`: what it is told of a video, and what it says of the copy."""

import pyarrow as pa

from schemas.flow import CLOCK, SOURCE_FILES
from schemas.tables import MEDIA, REASON, STATUS, field, maybe

#: `status` of a video in whose copy a face was found to the last: the copy is thrown away.
FACE_LEFT = "face_left"

#: A video to be redacted, as probing found it.
TO_REDACT = pa.schema(
    [
        *SOURCE_FILES,
        field("fingerprint", pa.string(), "-", "sha256 of the first, middle and last MiB"),
        *MEDIA,
        *CLOCK,
    ]
)
#: The path of a copy below the folder of copies, by the name of its video; no child sees it.
COPY_NAME = field("copy_name", pa.string(), "-", "where the copy goes, below the folder of copies")
#: What Redact uses up.
REDACT_ONLY = ("size_bytes", "changed", *(f.name for f in (*MEDIA, *CLOCK)))

REDACTED = pa.schema(
    [
        STATUS,
        REASON,
        maybe("copy", pa.large_binary(), "-", "the MP4 without faces; null where there is none"),
        field("frames", pa.int64(), "1", "frames of the copy"),
        field("frames_left_out", pa.int64(), "1", "frames without a time of their own, or broken"),
        field("faces", pa.int64(), "1", "tracks: one person may be several"),
        field("detections", pa.int64(), "1", "faces found, frame by frame"),
        field("boxes_filled", pa.int64(), "1", "covered between, before and after detections"),
        field("gaps_filled", pa.int64(), "1", "times that a track was lost and found again"),
        field("rounds", pa.int64(), "1", "times that the copy was written and looked through"),
        field("redone", pa.int64(), "1", "faces found in copies that were thrown away for it"),
        field("residual", pa.int64(), "1", "faces found in the last copy"),
        field("under_masks", pa.int64(), "1", "detections of the last copy that are the masks"),
        field("second_frames", pa.int64(), "1", "frames that the second detector saw"),
        field("second_in_source", pa.int64(), "1", "faces it found on them in the source"),
        field("second_in_copy", pa.int64(), "1", "faces it found on them in the copy, unmasked"),
        field("detector", pa.string(), "-", "what looked"),
        field("redact_seconds", pa.float64(), "s", "time spent"),
    ]
)
