"""Write a video anew, frame by frame: same size, times, rotation and colours, and no metadata."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import av
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from operators.core.media import VideoInfo, open_video
from operators.core.sound import Sound

ENCODER = "libx264"
PRESET = "veryfast"
CONTAINER = "mp4"
#: Container time stamps are rational; x264 wants a rate beside them, if only as a hint.
USUAL_RATE = 25
#: Colour ranges and spaces that FFmpeg numbers: this one says nothing.
UNSPECIFIED = 2
FULL_RANGE = 2


@dataclass(frozen=True)
class Form:
    """What an encoder must be told to keep the form of a video: as coded, not upright.

    `aspect` is that of a pixel; `colors` are range, primaries, transfer and matrix as FFmpeg
    numbers them; `crf` is x264's quality, lower is better.
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

    @property
    def upright_wh(self) -> tuple[int, int]:
        """Width and height of the coded picture once it is turned."""
        if self.rotation_degrees % 180:
            return self.height_px, self.width_px
        return self.width_px, self.height_px


def form_of(file: BinaryIO, info: VideoInfo, crf: int) -> Form:
    """The form of a video's picture, by its header alone.

    Raises what `open_video` does.
    """
    container, stream = open_video(file)
    with container:
        context = stream.codec_context
        format = context.format
        colors = (
            context.color_range,
            context.color_primaries,
            context.color_trc,
            context.colorspace,
        )
        if format is not None and format.name.startswith("yuvj"):
            colors = (FULL_RANGE, *colors[1:])
        rgb = format is not None and format.is_rgb
        return Form(
            width_px=stream.width,
            height_px=stream.height,
            pixels=_pixels(format, stream.width, stream.height),
            time_base=info.time_base,
            rate=Fraction(info.frame_rate or USUAL_RATE).limit_denominator(1001),
            aspect=stream.sample_aspect_ratio or None,
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
    elif grey or half_high or (not half_wide and chroma[0].width < width):
        kind = "420"
    elif half_wide or chroma[0].width < width:
        kind = "422"
    else:
        kind = "444"
    return f"yuv{kind}p{deep}"


class Writer:
    """An H.264 video in an MP4, written to `out` as its frames come; to be closed.

    `sound`, where given, is woven in at the times it had. One thread encodes, so that equal frames
    give equal bytes wherever they are encoded.
    """

    def __init__(self, out: BinaryIO, form: Form, sound: Sound | None) -> None:
        self._form, self._sound = form, sound
        self._container = av.open(out, "w", format=CONTAINER, options={"fflags": "+bitexact"})
        options = {"preset": PRESET, "crf": str(form.crf), "bf": "0", "a53cc": "0"}
        stream = self._container.add_stream(ENCODER, form.rate, options)
        assert isinstance(stream, VideoStream)
        self._stream = stream
        _prepare(stream.codec_context, form)
        stream.time_base = form.time_base
        if form.rotation_degrees:
            stream.set_display_rotation(form.rotation_degrees)
        if sound is not None:
            sound.join(self._container)
        self._durations: dict[int, int] = {}

    def write(self, ticks: int, duration_ticks: int, frame: av.VideoFrame) -> None:
        """The next frame, in `form.pixels`, at `ticks` of the video's clock."""
        frame.pts, frame.time_base = ticks, self._form.time_base
        self._durations[ticks] = duration_ticks
        self._mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write what is left, and the index."""
        self._mux(self._stream.encode(None))
        if self._sound is not None:
            for packet in self._sound.until(None):
                self._container.mux(packet)
        self._container.close()

    def _mux(self, packets: Iterable[av.Packet]) -> None:
        for packet in packets:
            assert packet.pts is not None
            if duration := self._durations.pop(packet.pts, 0):
                packet.duration = duration
            if self._sound is not None:
                for heard in self._sound.until(packet.pts * self._form.time_base):
                    self._container.mux(heard)
            self._container.mux(packet)


def _prepare(context: VideoCodecContext, form: Form) -> None:
    context.width, context.height = form.width_px, form.height_px
    context.pix_fmt = form.pixels
    context.time_base = form.time_base
    context.framerate = form.rate
    context.max_b_frames = 0  # a packet's decoding time is then its presentation time
    context.thread_count = 1
    if form.aspect:
        context.sample_aspect_ratio = form.aspect
    (
        context.color_range,
        context.color_primaries,
        context.color_trc,
        context.colorspace,
    ) = form.colors
