"""Why a video, a segment or a span of one was not scored."""

from enum import StrEnum


class Status(StrEnum):
    """How far a video or a segment came."""

    OK = "ok"
    PARTIAL = "partial"
    QUARANTINED = "quarantined"


class Reason(StrEnum):
    """The typed reason in `videos.reason` and `segments.reason`."""

    UNREADABLE = "unreadable"  # the bytes cannot be read: permissions, storage, a vanished file
    EMPTY = "empty"  # zero bytes
    NO_VIDEO = "no_video"  # readable, but not a video: text, a picture, audio only, a playlist
    TRUNCATED = "truncated"  # the stream ends before its header says
    CORRUPT = "corrupt"  # packets that FFmpeg cannot decode
    NO_TIMESTAMPS = "no_timestamps"  # frames without a presentation time
    TOO_LARGE = "too_large"  # frames beyond the pixel limit
    CHANGED = "changed"  # replaced between plan and read
    TIMEOUT = "timeout"  # the child passed its time limit
    MEMORY = "memory"  # the child passed its memory limit
    SIGNAL = "signal"  # native code killed the child
    ERROR = "error"  # an exception that is not a property of the media
    WORKER_LOST = "worker_lost"  # planned, and neither written nor deferred


#: `status` of a row that was not worked on. It is not written, and the next start takes it up.
DEFERRED = "deferred"


class Deferral(StrEnum):
    """The `reason` of a deferred row."""

    STOPPING = "stopping"  # the run was told to stop
    STORAGE = "storage"  # source or store did not answer, or the store is full


#: What a file is, and not what befell it this once: looked at again, it would be the same.
LASTING = frozenset(
    {
        Reason.EMPTY,
        Reason.NO_VIDEO,
        Reason.TRUNCATED,
        Reason.CORRUPT,
        Reason.NO_TIMESTAMPS,
        Reason.TOO_LARGE,
    }
)

#: One plain sentence a reason, for the terminal and the report: what it means and what to do.
REASON_TEXT: dict[Reason, str] = {
    Reason.UNREADABLE: "could not be read: check permissions and storage",
    Reason.EMPTY: "has zero bytes",
    Reason.NO_VIDEO: "holds no video stream",
    Reason.TRUNCATED: "ends before its header says: copy it again",
    Reason.CORRUPT: "has packets that cannot be decoded",
    Reason.NO_TIMESTAMPS: "has frames without a presentation time: remux it",
    Reason.TOO_LARGE: "has frames beyond the pixel limit",
    Reason.CHANGED: "changed while it was read: run again",
    Reason.TIMEOUT: "took longer than run.segment_timeout_seconds",
    Reason.MEMORY: "needed more memory than run.child_memory_gib",
    Reason.SIGNAL: "crashed the decoder",
    Reason.ERROR: "failed unexpectedly: see the worker log by segment_id",
    Reason.WORKER_LOST: "was lost with its worker: --retry-quarantined scores it again",
}
