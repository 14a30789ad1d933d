"""Encode frames so that pieces of a video, encoded apart, can be joined packet by packet."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import av
from av.video.codeccontext import VideoCodecContext

from operators.core.media import VideoInfo, open_video

#: What encodes, the first that PyAV's FFmpeg has. Without B-frames a packet's decoding time is its
#: presentation time, so that pieces join without a gap, whatever their frame rates.
ENCODER = "libx264"
PRESET = "veryfast"
#: Container time stamps are rational; x264 wants a rate beside them, if only as a hint.
USUAL_RATE = 25
GLOBAL_HEADER = 1 << 22
#: Colour ranges and spaces that FFmpeg numbers: this one says nothing.
UNSPECIFIED = 2


@dataclass(frozen=True)
class Form:
    """What an encoder must be told to keep the form of a video: as coded, not upright.

    `aspect` is that of a pixel; `colors` are range, primaries, transfer and matrix as FFmpeg
    numbers them.
    """

    width_px: int
    height_px: int
    pixels: str
    time_base: Fraction
    rate: Fraction
    aspect: Fraction | None
    colors: tuple[int, int, int, int]
    rotation_degrees: int
    crf: int


@dataclass(frozen=True)
class Packet:
    """One coded frame: `ticks` of the video's clock, whether it can be decoded by itself, bytes."""

    ticks: int
    duration_ticks: int
    key: bool
    data: bytes


@dataclass(frozen=True)
class Coded:
    """A piece of H.264: decodes by itself, from its `header` (SPS and PPS) and its packets."""

    header: bytes
    packets: list[Packet]


def form_of(file: BinaryIO, info: VideoInfo, crf: int) -> Form:
    """The form of a video's picture, by its header alone: every piece of it gets the same.

    Raises what `open_video` does.
    """
    container, stream = open_video(file)
    with container:
        context = stream.codec_context
        width, height = stream.width, stream.height
        rgb = context.format is not None and context.format.is_rgb
        colors = (
            context.color_range,
            context.color_primaries,
            context.color_trc,
            context.colorspace,
        )
        if context.format is not None and context.format.name.startswith("yuvj"):
            colors = (2, *colors[1:])
        aspect = stream.sample_aspect_ratio
        return Form(
            width_px=width,
            height_px=height,
            pixels=_pixels(context.format, width, height),
            time_base=info.time_base,
            rate=Fraction(info.frame_rate or USUAL_RATE).limit_denominator(1001),
            aspect=aspect if aspect else None,
            colors=(0, UNSPECIFIED, UNSPECIFIED, UNSPECIFIED) if rgb else colors,
            rotation_degrees=info.rotation_degrees,
            crf=crf,
        )


def _pixels(format: av.VideoFormat | None, width: int, height: int) -> str:
    """The planar YUV format nearest to a coded one that the encoder takes."""
    if format is None:
        return "yuv444p" if width % 2 or height % 2 else "yuv420p"
    luma, *rest = format.components
    deep = "10le" if luma.bits > 8 else ""
    chroma = [part for part in rest if part.plane or format.is_rgb] or [luma]
    half_wide = format.is_planar and chroma[0].width < width
    half_high = format.is_planar and chroma[0].height < height
    grey = len(format.components) < 3
    if width % 2 or height % 2 or format.is_rgb:
        kind = "444"
    elif grey or half_high or not half_wide and chroma[0].width < width:
        kind = "420"
    elif half_wide or chroma[0].width < width:
        kind = "422"
    else:
        kind = "444"
    return f"yuv{kind}p{deep}"


def prepare(context: VideoCodecContext, form: Form) -> None:
    """Set up an encoder for a form; two of them write the same header."""
    context.width, context.height = form.width_px, form.height_px
    context.pix_fmt = form.pixels
    context.time_base = form.time_base
    context.framerate = form.rate
    context.max_b_frames = 0
    context.thread_count = 1  # an actor a core is the parallelism, and results must not depend on it
    context.flags |= GLOBAL_HEADER
    if form.aspect:
        context.sample_aspect_ratio = form.aspect
    (
        context.color_range,
        context.color_primaries,
        context.color_trc,
        context.colorspace,
    ) = form.colors
    context.options = {"preset": PRESET, "crf": str(form.crf), "bf": "0", "a53cc": "0"}


def encode(frames: Iterable[tuple[int, int, av.VideoFrame]], form: Form) -> Coded:
    """One piece: `frames` are (ticks, duration in ticks, frame in `form.pixels`), rising."""
    context = av.CodecContext.create(ENCODER, "w")
    assert isinstance(context, VideoCodecContext)
    prepare(context, form)
    context.open()
    durations: dict[int, int] = {}
    packets: list[Packet] = []

    def keep(found: Iterable[av.Packet]) -> None:
        for packet in found:
            ticks = packet.pts
            assert ticks is not None and ticks == packet.dts
            data = bytes(packet)
            packets.append(Packet(ticks, durations.pop(ticks, 0), packet.is_keyframe, data))

    for ticks, duration, frame in frames:
        frame.pts, frame.time_base = ticks, form.time_base
        durations[ticks] = duration
        keep(context.encode(frame))
    keep(context.encode(None))
    return Coded(context.extradata or b"", packets)


def decode(coded: Coded) -> Iterator[tuple[int, av.VideoFrame]]:
    """(ticks, frame) of a piece, as any player decodes it.

    Raises `av.error.FFmpegError` where it cannot be decoded.
    """
    context = av.CodecContext.create("h264", "r")
    assert isinstance(context, VideoCodecContext)
    context.extradata = coded.header
    context.thread_count = 1
    for packet in [*map(as_av, coded.packets), None]:
        for frame in context.decode(packet):
            assert frame.pts is not None
            yield frame.pts, frame


def as_av(packet: Packet) -> av.Packet:
    """The packet as FFmpeg muxes and decodes it; its time base is the caller's to set."""
    made = av.Packet(packet.data)
    made.pts = made.dts = packet.ticks
    if packet.duration_ticks:
        made.duration = packet.duration_ticks
    made.is_keyframe = packet.key
    return made
