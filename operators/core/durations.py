"""How long a video is, as far as its file tells."""

import re
from fractions import Fraction

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Discard
from av.video.stream import VideoStream

from operators.core.packets import demux

#: Demuxers that guess a stream's duration from a few of its packets.
ESTIMATING_FORMATS = ("mpeg", "mpegts", "mpegvideo")
#: A month. A header that claims more is not believed, and packets that are further apart have no
#: usable times: every minute of it would be planned as work.
MAX_SECONDS = 31 * 86_400
#: Matroska's `hours:minutes:seconds`. Digits and one point only: `Fraction` would divide by zero at
#: `1/0`, and compute for hours at `1e999999999`.
CLOCK = re.compile(r"(\d{1,6}):(\d{1,2}):(\d{1,2}(?:\.\d{1,12})?)")


def duration(container: InputContainer, stream: VideoStream, start: int) -> Fraction | None:
    """Seconds from the first picture, at tick `start`, to the end of the last.

    None where the packets' times cannot be used, for they span more than a month.
    """
    assert stream.time_base is not None
    estimated = container.format.name in ESTIMATING_FORMATS
    if stream.duration and not estimated:
        known = stream.duration
        if len(stream.index_entries):
            known = max(known, stream.index_entries[-1].timestamp - start)
        if 0 < known * stream.time_base <= MAX_SECONDS:
            return known * stream.time_base
    tagged = _clock(stream.metadata.get("DURATION", ""))
    if tagged and tagged <= MAX_SECONDS:
        return tagged
    return _scan_end(container, stream, start)


def _clock(text: str) -> Fraction | None:
    """Seconds of Matroska's tag."""
    match = CLOCK.fullmatch(text)
    if match is None:
        return None
    hours, minutes, seconds = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)


def _scan_end(container: InputContainer, stream: VideoStream, start: int) -> Fraction | None:
    """The end by the packets themselves: those near the declared end, or all where none is.

    The container's figure holds for its longest stream. It is kept only where no stream reaches
    it: then the file is cut short, and the missing span must be planned, to be reported.
    """
    tb = stream.time_base
    assert tb is not None
    declared = Fraction(container.duration, av.time_base) if container.duration else None
    if declared is not None and not 0 < declared <= MAX_SECONDS:
        declared = None
    for other in container.streams:
        other.discard = Discard.default
    for before_end in (5, 60, None):
        if before_end is not None and declared is None:
            continue
        at = 0 if before_end is None or declared is None else max(declared - before_end, 0)
        offset = container.start_time or 0
        try:
            container.seek(offset + int(at * av.time_base))
            video_end, any_end = _packet_ends(container, stream)
        except (FFmpegError, OverflowError):  # a start beyond what a seek can name
            continue
        if video_end is not None and any_end is not None:
            zero = Fraction(offset, av.time_base)
            if declared is not None and any_end - zero < declared - 1:
                return declared
            length = max(video_end - start * tb, Fraction(0))
            return length if length <= MAX_SECONDS else None
    return declared or Fraction(0)


def _packet_ends(
    container: InputContainer, stream: VideoStream
) -> tuple[Fraction | None, Fraction | None]:
    """The latest end among the stream's packets, and among all."""
    ends: dict[bool, Fraction] = {}
    for packet in demux(container):
        ticks = packet.pts if packet.pts is not None else packet.dts
        if ticks is None:
            continue
        end = (ticks + (packet.duration or 0)) * Fraction(packet.time_base)
        for key in {packet.stream_index == stream.index, False}:
            ends[key] = max(ends.get(key, end), end)
    return ends.get(True), ends.get(False)
