"""Open untrusted media safely, and say what is in it."""

import io
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import av
from av.container import InputContainer
from av.error import EOFError as EndOfFile
from av.error import FFmpegError
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from schemas.reasons import Reason

#: Demuxers that read one file and nothing else: no playlist, no manifest, no device, no picture.
FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,live_flv,asf,ogg,mxf,ivf,obu,av1,nut,dv,rm,wtv,gxf,"
    "h264,hevc,vvc,m4v,h263,vc1,yuv4mpegpipe,dhav,nsv,pva,ty,vivo,smk,bink,roq"
)
#: Read-ahead of one call into the file object.
BUFFER_BYTES = 1 << 17
#: 8K UHD fits; a header that claims more asks for memory, not for scoring.
MAX_FRAME_PX = 8192 * 4320
#: Pixels further from square than this are a mistake in the header.
MAX_PIXEL_ASPECT = Fraction(3)
#: Packets in which the first picture must appear: ten seconds between key frames at 60 a second.
FIRST_FRAME_PACKETS = 600
#: Containers that store no presentation time. A decoded frame's `dts`, the time of the packet that
#: released it, then counts frames in presentation order, late by a constant; a tick is a frame.
DTS_CONTAINERS = ("avi",)
#: Demuxers that guess a stream's duration from a few of its packets.
ESTIMATING_FORMATS = ("mpeg", "mpegts", "mpegvideo")
#: First bytes (offset, bytes) of containers that hold video: a file that has them but cannot be
#: opened lost its index or its tail.
MAGIC = (
    (4, b"ftyp"),
    (4, b"moov"),
    (4, b"mdat"),
    (0, b"\x1aE\xdf\xa3"),
    (8, b"AVI "),
    (0, b"FLV\x01"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
)
#: ISO files of these brands are pictures.
PICTURE_BRANDS = frozenset({"avif", "avis", "heic", "heix", "heim", "heis", "mif1", "msf1", "jpeg"})


class MediaError(Exception):
    """A property of the media that keeps it from being scored; `reason` says which."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason

    def __reduce__(self):
        return MediaError, (self.reason,)


@dataclass(frozen=True)
class VideoInfo:
    """What a video is, before any of it is scored.

    Sizes are those of the upright picture with square pixels, which is what samples show: where
    the coded pixels are not square, the shorter side is stretched. `rotation_degrees` (0, 90, 180
    or 270) turns the coded picture counterclockwise. The video's clock starts at `start_ticks` of
    `time_base`.
    """

    container: str
    codec: str
    width_px: int
    height_px: int
    time_base: Fraction
    start_ticks: int
    duration_seconds: float
    frame_rate: float | None
    rotation_degrees: int
    has_audio: bool


class _Reads(io.RawIOBase):
    """The bytes of a file and nothing else: FFmpeg must not guess from a name, nor close it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def open_video(
    file: BinaryIO, threads: int = 1, max_frame_px: int = MAX_FRAME_PX
) -> tuple[InputContainer, VideoStream]:
    """Open a seekable file at its begin and choose its video stream; the others are discarded.

    Raises MediaError: EMPTY, NO_VIDEO (text, a picture, sound with a cover, a playlist), TRUNCATED
    (no index), CORRUPT (no decoder), TOO_LARGE. What the file object itself raises passes through.
    """
    file.seek(0)
    head = file.read(16)
    if not head:
        raise MediaError(Reason.EMPTY)
    file.seek(0)
    # Decoders count whole blocks beyond the picture's edge: their limit is the looser one.
    options = {
        "format_whitelist": FORMATS,
        "protocol_whitelist": "none",
        "max_pixels": str(2 * max_frame_px),
    }
    try:
        container = av.open(
            _Reads(file), "r", options=options, buffer_size=BUFFER_BYTES, metadata_errors="replace"
        )
    except FFmpegError:
        known = any(head[at : at + len(mark)] == mark for at, mark in MAGIC)
        raise MediaError(Reason.TRUNCATED if known else Reason.NO_VIDEO) from None
    try:
        stream = _choose(container)
        if stream.codec_context is None:
            raise MediaError(Reason.CORRUPT)
        if stream.width * stream.height > max_frame_px:
            raise MediaError(Reason.TOO_LARGE)
    except MediaError:
        container.close()
        raise
    for other in container.streams:
        if other is not stream:
            other.discard = Discard.all
    stream.thread_count = threads
    decoder_options = {"max_pixels": str(2 * max_frame_px)}
    if stream.codec_context.codec.canonical_name == "h264":
        # Without it the decoder guesses how far pictures are reordered, and the guess depends on
        # where decoding began.
        decoder_options["strict"] = "1"
    stream.codec_context.options = decoder_options
    return container, stream


def _choose(container: InputContainer) -> VideoStream:
    still = Disposition.attached_pic | Disposition.still_image
    if container.metadata.get("major_brand", "").strip() in PICTURE_BRANDS:
        raise MediaError(Reason.NO_VIDEO)
    moving = [s for s in container.streams.video if not s.disposition & still]
    if not moving:
        raise MediaError(Reason.NO_VIDEO)
    best = container.streams.best("video")
    return next((s for s in moving if s is best), moving[0])


def probe(file: BinaryIO, max_frame_px: int = MAX_FRAME_PX) -> VideoInfo:
    """Learn what a video is: opens it, decodes its first picture, finds its end.

    Raises MediaError as `open_video` does, and CORRUPT (no picture can be decoded), TRUNCATED (no
    picture is there), NO_TIMESTAMPS.
    """
    container, stream = open_video(file, max_frame_px=max_frame_px)
    with container:
        first = _first_frame(container, stream)
        delayed = container.format.name in DTS_CONTAINERS
        ticks = first.dts if delayed or first.pts is None else first.pts
        ticks = 0 if delayed and ticks is None else ticks
        if ticks is None or stream.time_base is None:
            raise MediaError(Reason.NO_TIMESTAMPS)
        if first.width * first.height > max_frame_px:
            raise MediaError(Reason.TOO_LARGE)
        start = ticks if delayed or stream.start_time is None else min(stream.start_time, ticks)
        turn = round(first.rotation / 90) * 90 % 360
        width, height = _square_pixels(first.width, first.height, stream.sample_aspect_ratio)
        sides = (width, height) if turn % 180 == 0 else (height, width)
        rate = stream.average_rate or stream.guessed_rate
        return VideoInfo(
            container=container.format.name,
            codec=stream.codec_context.codec.canonical_name,
            width_px=sides[0],
            height_px=sides[1],
            time_base=stream.time_base,
            start_ticks=start,
            duration_seconds=float(_duration(container, stream, start)),
            frame_rate=float(rate) if rate else None,
            rotation_degrees=turn,
            has_audio=bool(container.streams.audio),
        )


def _square_pixels(width: int, height: int, pixel_aspect: Fraction | None) -> tuple[int, int]:
    """The size at which a coded picture shows no distortion; as coded where that is unlikely."""
    if not pixel_aspect or not MAX_PIXEL_ASPECT >= pixel_aspect >= 1 / MAX_PIXEL_ASPECT:
        return width, height
    if pixel_aspect >= 1:
        return round(width * pixel_aspect), height
    return width, round(height / pixel_aspect)


def _first_frame(container: InputContainer, stream: VideoStream) -> av.VideoFrame:
    reason = Reason.TRUNCATED
    try:
        for count, packet in enumerate(container.demux(stream)):
            try:
                frames = stream.decode(packet if packet.size else None)
            except EndOfFile:
                break
            except FFmpegError:
                reason = Reason.CORRUPT
                continue
            if frames:
                return frames[0]
            if count > FIRST_FRAME_PACKETS:
                reason = Reason.CORRUPT
                break
    except FFmpegError:
        reason = Reason.CORRUPT
    raise MediaError(reason)


def _duration(container: InputContainer, stream: VideoStream, start: int) -> Fraction:
    """Seconds from the first picture to the end of the last, as far as the file tells."""
    assert stream.time_base is not None
    estimated = container.format.name in ESTIMATING_FORMATS
    if stream.duration and not estimated:
        known = stream.duration
        if len(stream.index_entries):
            known = max(known, stream.index_entries[-1].timestamp - start)
        return known * stream.time_base
    tagged = _clock(stream.metadata.get("DURATION", ""))
    if tagged:
        return tagged
    return _scan_end(container, stream, start)


def _clock(text: str) -> Fraction | None:
    """Seconds of Matroska's `hours:minutes:seconds` tag."""
    try:
        hours, minutes, seconds = text.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)
    except ValueError:
        return None


def _scan_end(container: InputContainer, stream: VideoStream, start: int) -> Fraction:
    """The end by the packets themselves: those near the declared end, or all where none is.

    The container's figure holds for its longest stream. It is kept only where no stream reaches
    it: then the file is cut short, and the missing span must be planned, to be reported.
    """
    tb = stream.time_base
    assert tb is not None
    declared = Fraction(container.duration, av.time_base) if container.duration else None
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
        except FFmpegError:
            continue
        if video_end is not None and any_end is not None:
            zero = Fraction(offset, av.time_base)
            if declared is not None and any_end - zero < declared - 1:
                return declared
            return max(video_end - start * tb, Fraction(0))
    return declared or Fraction(0)


def _packet_ends(
    container: InputContainer, stream: VideoStream
) -> tuple[Fraction | None, Fraction | None]:
    ends: dict[bool, Fraction] = {}
    for packet in container.demux():
        ticks = packet.pts if packet.pts is not None else packet.dts
        if ticks is None:
            continue
        end = (ticks + (packet.duration or 0)) * Fraction(packet.time_base)
        for key in {packet.stream_index == stream.index, False}:
            ends[key] = max(ends.get(key, end), end)
    return ends.get(True), ends.get(False)
