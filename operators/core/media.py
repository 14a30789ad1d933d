"""Open untrusted media safely, and say what is in it."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any, BinaryIO

import av
from av.container import InputContainer
from av.error import EOFError as EndOfFile
from av.error import FFmpegError
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from operators.core.durations import duration
from operators.core.packets import demux
from schemas.reasons import Reason

#: Demuxers that read one file and nothing else: no playlist, no manifest, no device, no picture.
FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,live_flv,asf,ogg,mxf,ivf,obu,av1,nut,dv,rm,wtv,gxf,"
    "h264,hevc,vvc,m4v,h263,vc1,mjpeg,yuv4mpegpipe,dhav,nsv,pva,ty,vivo,smk,bink,roq"
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
#: Demuxers that invent a clock, of 25 frames a second, for a format that has none.
CLOCKLESS_FORMATS = ("mjpeg",)
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
    (0, b"\x06\x0e\x2b\x34\x02\x05\x01\x01"),
)
#: First boxes of an ISO file.
ISO_BOXES = (b"ftyp", b"moov", b"mdat")
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

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "VideoInfo":
        """What probing wrote down, from the columns of these names."""
        values = {field.name: row[field.name] for field in fields(cls)}
        return cls(**{**values, "time_base": Fraction(row["time_base"])})


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
        raise MediaError(_why_unopened(file, head)) from None
    try:
        if not _moving(container):
            raise MediaError(_why_no_video(file, head, len(container.streams)))
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


def _why_unopened(file: BinaryIO, head: bytes) -> Reason:
    """Why FFmpeg opens nothing: it is no video, its index or tail is lost, or it is broken."""
    reason = _why_no_video(file, head, streams=0)
    whole = reason is Reason.NO_VIDEO and head[4:8] in ISO_BOXES and not _is_picture(head[8:12])
    return Reason.CORRUPT if whole else reason


def _why_no_video(file: BinaryIO, head: bytes, streams: int) -> Reason:
    """Why there is no moving picture among so many streams: it is no video, or not all of it.

    Of containers other than ISO files only the first bytes are known: where nothing follows them,
    the rest is lost.
    """
    if not any(head[at : at + len(mark)] == mark for at, mark in MAGIC):
        return Reason.NO_VIDEO
    if head[4:8] in ISO_BOXES:
        whole = _is_picture(head[8:12]) or _has_whole_index(file)
    else:
        whole = streams > 0
    return Reason.NO_VIDEO if whole else Reason.TRUNCATED


def _is_picture(brand: bytes) -> bool:
    return brand.decode("latin-1") in PICTURE_BRANDS


def _has_whole_index(file: BinaryIO) -> bool:
    """Whether an ISO file's index ends before the file does, by the sizes of its outer boxes."""
    end, at = file.seek(0, io.SEEK_END), 0
    while at + 8 <= end:
        file.seek(at)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if head[4:8] == b"moov":
            return 8 <= size <= end - at
        if size < 8:
            return False
        at += size
    return False


def _moving(container: InputContainer) -> list[VideoStream]:
    """Its video streams that are no pictures, covers or posters."""
    still = Disposition.attached_pic | Disposition.still_image
    if container.metadata.get("major_brand", "").strip() in PICTURE_BRANDS:
        return []
    return [s for s in container.streams.video if not s.disposition & still]


def _choose(container: InputContainer) -> VideoStream:
    moving = _moving(container)
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
        clockless = container.format.name in CLOCKLESS_FORMATS
        if ticks is None or stream.time_base is None or clockless:
            raise MediaError(Reason.NO_TIMESTAMPS)
        if first.width * first.height > max_frame_px:
            raise MediaError(Reason.TOO_LARGE)
        start = ticks if delayed or stream.start_time is None else min(stream.start_time, ticks)
        length = duration(container, stream, start)
        if length is None:
            raise MediaError(Reason.NO_TIMESTAMPS)
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
            duration_seconds=float(length),
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
    cut_short = False
    try:
        for count, packet in enumerate(demux(container, stream)):
            if packet.size:
                cut_short = packet.is_corrupt
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
    # The file ends within its first packets: they are not broken, but not all there.
    raise MediaError(Reason.TRUNCATED if cut_short else reason)
