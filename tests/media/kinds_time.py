"""Files with odd clocks, and headers that lie about time."""

import struct
from functools import cache
from functools import partial as bind

from schemas.reasons import Reason
from tests.media import clips
from tests.media.clips import FRAMES, encode, film
from tests.media.kinds import declare, ok, partial, refused
from tests.media.surgery import box, find, insert, matroska, patch, renumbered, replace

CLOCKS = "clocks"
TURNS = "rotation"
STEP_MS = [round(1000 * index / 24) for index in range(FRAMES)]
YEARS_MS = 54 * 365 * 86_400_000
#: No frame refers to a later one: what is lost is lost alone.
IN_ORDER = {"bf": "0", "g": "12"}


@cache
def pictures() -> tuple[bytes, ...]:
    """The frames as JPEG, each one on its own."""
    data = encode("avi", "mjpeg", pix_fmt="yuvj420p")
    found, at = [], data.index(b"movi")
    while (at := data.find(b"00dc", at + 4)) >= 0 and len(found) < FRAMES:
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        found.append(data[at + 8 : at + 8 + size])
    return tuple(found)


def clocked(times: list[int], duration: float | None = None) -> bytes:
    """Matroska with exactly these times, in this order, whatever they are."""
    blocks = list(zip(times, pictures(), strict=True))
    return matroska("V_MJPEG", 64, 48, blocks, duration=duration)


def timed(suffix: str, times: list[int]) -> bytes:
    return encode(suffix, pts=times, options=IN_ORDER)


def twice_the_same_clock() -> bytes:
    """Two recordings in one file, the second beginning at the first one's start."""
    data = encode("ts", options=IN_ORDER)
    return renumbered(data + data)


declare(CLOCKS, "variable rate.mp4", "uneven times, as phones write them", ok(FRAMES), bind(
    timed, "mp4", [0, *(23 * i + (i * i) % 19 for i in range(1, FRAMES))]))  # fmt: skip
declare(CLOCKS, "variable rate.webm", "uneven times", ok(FRAMES), bind(
    encode, "webm", "libvpx", pts=[0, *(23 * i + (i * i) % 19 for i in range(1, FRAMES))],
))  # fmt: skip
declare(CLOCKS, "late start.ts", "a clock that begins at an hour", ok(FRAMES), bind(
    timed, "ts", [3_600_000 + t for t in STEP_MS]))  # fmt: skip
declare(CLOCKS, "below zero.mkv", "times below zero, which Matroska does not allow",
    refused(Reason.NO_TIMESTAMPS), bind(
    clocked, [t - 1000 for t in STEP_MS]))  # fmt: skip
declare(CLOCKS, "clock wraps.ts", "the 33 bits of the clock begin again", ok(FRAMES), bind(
    timed, "ts", [95_442_700 - 1400 + t for t in STEP_MS]))  # fmt: skip
declare(CLOCKS, "negative offsets.mp4", "B-frames told by negative offsets", ok(FRAMES), bind(
    encode, "mp4", muxer={"movflags": "negative_cts_offsets"}))  # fmt: skip
declare(CLOCKS, "jump forwards.mkv", "ten seconds without a frame", ok(FRAMES), bind(
    clocked, [t if i < 24 else t + 10_000 for i, t in enumerate(STEP_MS)]))  # fmt: skip
declare(
    CLOCKS,
    "jump by decades.mkv",
    "a camera whose clock was set while it recorded",
    refused(Reason.NO_TIMESTAMPS),
    bind(clocked, [t if i < 24 else t + YEARS_MS for i, t in enumerate(STEP_MS)]),
)
declare(
    CLOCKS,
    "jump by hours.ts",
    "a transport stream whose clock leaps by two hours",
    ok(FRAMES),
    bind(
        timed,
        "ts",
        [t if i < 24 else t + 7_200_000 for i, t in enumerate(STEP_MS)],
    ),
)
declare(
    CLOCKS,
    "jump backwards.mkv",
    "the clock is set back in mid-recording",
    partial(Reason.CORRUPT),
    bind(clocked, [t if i < 36 else t - 1000 for i, t in enumerate(STEP_MS)]),
)
declare(
    CLOCKS,
    "jump backwards.ts",
    "two recordings of the same clock in one file",
    partial(Reason.CORRUPT),
    twice_the_same_clock,
)
declare(
    CLOCKS,
    "some duplicates.mkv",
    "every fourth frame has the time of the one before: one of the two counts",
    ok(36),
    bind(clocked, [STEP_MS[i - 1] if i % 4 == 3 else t for i, t in enumerate(STEP_MS)]),
)
declare(
    CLOCKS,
    "all at one time.mkv",
    "every frame has the same time: the first one counts",
    partial(Reason.NO_TIMESTAMPS, 1),
    bind(clocked, [1000] * FRAMES),
)
for suffix, codec in (("h264", "libx264"), ("hevc", "libx265")):
    declare(
        CLOCKS,
        f"elementary {suffix}.m4v",
        "a raw stream: nothing says when a frame is shown",
        refused(Reason.NO_TIMESTAMPS),
        bind(encode, suffix, codec),
    )
declare(
    CLOCKS,
    "elementary mpeg4.m4v",
    "a raw MPEG-4 part 2 stream, which counts its own frames",
    ok(FRAMES),
    bind(encode, "m4v", "mpeg4", format="m4v"),
)
declare(
    CLOCKS,
    "elementary.m2v",
    "a raw MPEG-2 stream, which counts its own frames",
    ok(FRAMES),
    bind(encode, "m2v", "mpeg2video", format="mpeg2video"),
)
declare(
    CLOCKS,
    "elementary.mjpeg",
    "JPEG pictures one after another",
    refused(Reason.NO_TIMESTAMPS),
    bind(encode, "mjpeg", "mjpeg", pix_fmt="yuvj420p", format="mjpeg"),
)


# --- declared durations and edit lists -----------------------------------------------------------


def declared_duration(ticks: int) -> bytes:
    """An mp4 whose three headers all claim another duration."""
    data = clips.mp4()
    for path, at in (("moov/mvhd", 16), ("moov/trak/tkhd", 20), ("moov/trak/mdia/mdhd", 16)):
        data = patch(data, find(data, path).body + at, struct.pack(">I", ticks))
    return replace(data, "moov/trak/edts", b"")


def duration_tag(text: bytes) -> bytes:
    """Matroska's tag of the stream's length, overwritten."""
    data = clips.mkv()
    at = data.rindex(b"DURATION") + len(b"DURATION") + 3
    assert data[at : at + 3] == b"00:"
    return patch(data, at, text.ljust(18, b"\x00"))  # zeros end a text early


def edit_list(*edits: tuple[int, int]) -> bytes:
    """edits: (milliseconds shown, first tick of the media or -1 for nothing)."""
    body = struct.pack(">II", 0, len(edits))
    for milliseconds, start in edits:
        body += struct.pack(">Iihh", milliseconds, start, 1, 0)
    return replace(clips.simple_mp4(), "moov/trak/edts", box(b"edts", box(b"elst", body)))


declare(CLOCKS, "huge duration.mp4", "a header that claims 27 hours for two seconds", ok(FRAMES),
        bind(declared_duration, 0x4FFFFFFF))  # fmt: skip
declare(CLOCKS, "endless duration.mp4", "a header that claims all it can", ok(FRAMES),
        bind(declared_duration, 0xFFFFFFFF))  # fmt: skip
declare(CLOCKS, "zero duration.mp4", "a header that claims no length", ok(FRAMES),
        bind(declared_duration, 0))  # fmt: skip
declare(CLOCKS, "huge duration.mkv", "a header that claims three million years", ok(FRAMES),
        bind(clocked, STEP_MS, 1e17))  # fmt: skip
declare(CLOCKS, "huge tag.mkv", "a tag that claims eleven years", ok(FRAMES),
        bind(duration_tag, b"99999:00:00.000000"))  # fmt: skip
declare(CLOCKS, "tag divides by zero.mkv", "a tag whose seconds are a fraction of zero", ok(FRAMES),
        bind(duration_tag, b"00:00:1/0"))  # fmt: skip
declare(CLOCKS, "tag of many digits.mkv", "a tag that would take hours to read as a number",
        ok(FRAMES), bind(duration_tag, b"00:00:9e999999999"))  # fmt: skip
declare(CLOCKS, "infinite duration.mkv", "a header that claims infinity", ok(FRAMES),
        bind(clocked, STEP_MS, float("inf")))  # fmt: skip
declare(CLOCKS, "duration is no number.mkv", "a header that claims NaN", ok(FRAMES),
        bind(clocked, STEP_MS, float("nan")))  # fmt: skip
declare(CLOCKS, "negative duration.mkv", "a header that claims less than nothing", ok(FRAMES),
        bind(clocked, STEP_MS, -5000.0))  # fmt: skip
declare(CLOCKS, "zero duration.mkv", "a header that claims no length", ok(FRAMES),
        bind(clocked, STEP_MS, 0.0))  # fmt: skip
declare(CLOCKS, "no duration.mkv", "a header without a length", ok(FRAMES),
        bind(clocked, STEP_MS))  # fmt: skip
declare(CLOCKS, "edit list waits.mp4", "an edit list that shows nothing for a second", ok(FRAMES),
        bind(edit_list, (1000, -1), (2000, 0)))  # fmt: skip
declare(CLOCKS, "edit list below zero.mp4", "an edit list that begins before the media",
        ok(), bind(edit_list, (2000, -512)))  # fmt: skip
declare(CLOCKS, "edit list trims.mp4", "an edit list that shows the second half only", ok(24),
        bind(edit_list, (1000, 24 * 512)))  # fmt: skip


def long_free_box() -> bytes:
    return insert(clips.mp4(), "moov/trak", box(b"free", bytes(5000)))


declare(CLOCKS, "padding in the index.mp4", "free space between the index's parts", ok(FRAMES),
        long_free_box)  # fmt: skip

for degrees in (90, 180, 270, 45):
    declare(TURNS, f"turned {degrees}.mp4", f"a display matrix of {degrees} degrees", ok(FRAMES),
            bind(encode, "mp4", frames=film(), rotation=degrees))  # fmt: skip


def singular_matrix() -> bytes:
    """A display matrix of zeros: it maps the picture to a point."""
    return patch(clips.mp4(), find(clips.mp4(), "moov/trak/tkhd").body + 40, bytes(36))


declare(TURNS, "matrix of zeros.mp4", "a display matrix of zeros", ok(FRAMES), singular_matrix)
