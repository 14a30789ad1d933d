"""Small sound clips, the raw material of the corpus: encoded once each, the same bytes always."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.stream import Disposition

from tests.videos import Image, counting

WIDTH, HEIGHT, FPS, FRAMES = 64, 48, 24, 48

#: SVT-AV1 prints its settings otherwise.
os.environ.setdefault("SVT_LOG", "1")

#: Encoder options without which a clip would differ between machines, or print to the terminal.
FIXED_OPTIONS = {
    # Its look ahead at frames so small reads memory that is not set.
    "libx264": {"g": "12", "bf": "2", "rc-lookahead": "0"},
    "libx265": {"x265-params": "log-level=none:pools=none:keyint=12:bframes=2"},
    "libvpx": {"g": "12", "cpu-used": "8"},
    "libvpx-vp9": {"g": "12", "cpu-used": "8"},
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1", "g": "12"},
}


@contextmanager
def same_priority() -> Iterator[None]:
    """SVT-AV1 gives who calls it as root, and all that one starts, the CPUs before all others."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


@cache
def film(count: int = FRAMES, width: int = WIDTH, height: int = HEIGHT) -> tuple[Image, ...]:
    return tuple(counting(count, width, height))


def plain(count: int, width: int, height: int) -> list[Image]:
    """Frames of one grey, for sizes at which a texture would take long to encode."""
    return [np.full((height, width, 3), 96, np.uint8)] * count


def encode(
    suffix: str,
    codec: str = "libx264",
    frames: Sequence[Image] | None = None,
    pix_fmt: str = "yuv420p",
    fps: int | Fraction = FPS,
    pts: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
    format: str | None = None,
    rotation: int | None = None,
    sound: bool = False,
) -> bytes:
    """The bytes of a file that holds `frames`, by default two seconds of a moving texture.

    pts: presentation times in milliseconds. muxer: the container's options.
    """
    pictures = film() if frames is None else frames
    tick = Fraction(1, 1000) if pts is not None else 1 / Fraction(fps)
    with tempfile.TemporaryDirectory() as folder, same_priority():
        path = Path(folder) / f"clip.{suffix}"
        containers = {"fflags": "+bitexact", **(muxer or {})}
        with av.open(str(path), "w", format=format, options=containers) as out:
            wanted = {"flags": "+bitexact", **FIXED_OPTIONS.get(codec, {}), **(options or {})}
            stream = out.add_stream(codec, rate=Fraction(fps), options=wanted)
            assert isinstance(stream, av.VideoStream)
            stream.height, stream.width = pictures[0].shape[:2]
            stream.pix_fmt = pix_fmt
            stream.codec_context.time_base = tick
            stream.codec_context.thread_count = 1
            if rotation is not None:
                stream.set_display_rotation(rotation)
            voice = out.add_stream("aac", rate=16000) if sound else None
            for index, picture in enumerate(pictures):
                frame = av.VideoFrame.from_ndarray(picture, "rgb24")
                frame.pts = index if pts is None else pts[index]
                frame.time_base = tick
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
            if isinstance(voice, AudioStream):
                _silence(out, voice, 2.0)
        return path.read_bytes()


def _silence(out: OutputContainer, stream: AudioStream, seconds: float) -> None:
    for start in range(0, int(seconds * 16000), 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 16000, start
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def sound_only(suffix: str, codec: str = "aac", cover: bool = False) -> bytes:
    """Two seconds of silence, on request with a cover picture beside it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"sound.{suffix}"
        with av.open(str(path), "w", options={"fflags": "+bitexact"}) as out:
            stream = out.add_stream(codec, rate=16000, layout="mono")
            assert isinstance(stream, AudioStream)
            picture = out.add_stream("mjpeg", rate=1) if cover else None
            if isinstance(picture, av.VideoStream):
                picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
                picture.disposition = Disposition.attached_pic
                out.mux(picture.encode(av.VideoFrame.from_ndarray(film()[0], "rgb24")))
                out.mux(picture.encode(None))
            _silence(out, stream, 2.0)
        return path.read_bytes()


@cache
def mp4() -> bytes:
    """H.264 with its index at the end."""
    return encode("mp4")


@cache
def faststart() -> bytes:
    """H.264 with its index in front."""
    return encode("mp4", muxer={"movflags": "faststart"})


@cache
def simple_mp4() -> bytes:
    """H.264 in order of presentation: no frame refers to a later one."""
    return encode("mp4", options={"bf": "0"})


@cache
def fragmented() -> bytes:
    return encode("mp4", muxer={"movflags": "frag_keyframe+empty_moov+default_base_moof"})


@cache
def mkv() -> bytes:
    return encode("mkv")


@cache
def webm() -> bytes:
    return encode("webm", "libvpx-vp9")


@cache
def avi() -> bytes:
    return encode("avi", "mpeg4", options={"g": "12"})


@cache
def ts() -> bytes:
    return encode("ts")


@cache
def flv() -> bytes:
    return encode("flv")
