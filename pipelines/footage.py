"""The sample archive: short videos made on the spot from portraits in the public domain.

No footage is stored in this project. Every file is the same to the byte each time it is made with
the same package versions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import cv2
import numpy as np
from av.video.stream import VideoStream

from pipelines import footage_scenes as scenes
from pipelines.footage_scenes import FRAME_HW, Scene

FRAMES_PER_SECOND = 24
#: Where `hard_cut.mp4` changes from one person to the other.
CUT_SECONDS = 5.0
#: Share of the bytes that `truncated.mp4` keeps.
KEPT = 0.66
AUDIO_HZ = 16_000
GOP_FRAMES = 2 * FRAMES_PER_SECOND

_GOP = f"threads=1:keyint={GOP_FRAMES}:min-keyint={GOP_FRAMES}:scenecut=0"
_H264 = {"crf": "21", "preset": "superfast"}
CLOSED = {**_H264, "x264-params": f"{_GOP}:open-gop=0"}
OPEN = {**_H264, "x264-params": f"{_GOP}:open-gop=1"}
VP9 = {"crf": "32", "b": "0", "deadline": "realtime", "cpu-used": "8", "g": str(GOP_FRAMES)}


@dataclass(frozen=True)
class Clip:
    """One file of the archive. `kept` below 1 cuts its end off, as a broken copy does."""

    name: str
    scene: Scene
    seconds: float = 10.0
    codec: str = "libx264"
    codec_options: tuple[tuple[str, str], ...] = tuple(CLOSED.items())
    muxer_options: tuple[tuple[str, str], ...] = ()
    rotation_degrees: int = 0
    audio: bool = False
    kept: float = 1.0


def clips() -> list[Clip]:
    """The archive's files, each with what makes it worth having."""
    collins, hopper = scenes.collins(), scenes.hopper()
    wander, sway, still = scenes.wander, scenes.sway, scenes.still
    call = scenes.side_by_side(sway(collins, 0.0), sway(hopper, 2.0))
    cut = scenes.cut(still(collins), still(hopper), CUT_SECONDS)
    phone = scenes.sideways(scenes.handheld(collins))
    faststart = (("movflags", "+faststart"),)
    vp9, opened = tuple(VP9.items()), tuple(OPEN.items())
    return [
        Clip("one_person.mp4", wander(collins)),
        Clip("changing_light.mp4", scenes.lit(wander(hopper, phase=1.0)), audio=True),
        Clip("two_people.mp4", call),
        Clip("hard_cut.mp4", cut),
        Clip("no_face.mp4", scenes.table()),
        Clip("rotated.mp4", phone, rotation_degrees=90),
        Clip("broadcast.ts", wander(hopper, phase=3.0), codec_options=opened),
        Clip("web.webm", wander(collins, phase=4.0), codec="libvpx-vp9", codec_options=vp9),
        Clip("truncated.mp4", wander(collins, phase=2.0), muxer_options=faststart, kept=KEPT),
    ]


def make_archive(out: Path) -> list[Path]:
    """Write the sample videos into the folder `out` and return their paths in order.

    A folder that was not there appears with all its videos at once, or not at all.
    """
    if out.is_dir():
        return [write_clip(out, clip) for clip in clips()]
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
        ready = Path(temporary) / out.name
        ready.mkdir()
        names = [write_clip(ready, clip).name for clip in clips()]
        ready.rename(out)
    return [out / name for name in names]


def write_clip(out: Path, clip: Clip) -> Path:
    """Encode one clip into the folder `out`; the file appears when it is whole."""
    path = out / clip.name
    partial = path.with_name(f".{path.name}")
    form = {".ts": "mpegts", ".webm": "webm"}.get(path.suffix, "mp4")
    options = {"fflags": "+bitexact", **dict(clip.muxer_options)}
    with av.open(str(partial), "w", format=form, options=options) as container:
        stream = container.add_stream(clip.codec, FRAMES_PER_SECOND, dict(clip.codec_options))
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = FRAME_HW
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1  # more threads, other bytes
        if clip.rotation_degrees:
            stream.set_display_rotation(clip.rotation_degrees)
        sound = container.add_stream("aac", AUDIO_HZ, layout="mono") if clip.audio else None
        packets = [packet for frame in _frames(clip) for packet in stream.encode(frame)]
        packets += stream.encode()
        if sound is not None:
            packets += [p for frame in _hum(clip.seconds) for p in sound.encode(frame)]
            packets += sound.encode()
        container.mux(sorted(packets, key=lambda p: (p.dts or 0) * p.time_base))
    if clip.kept < 1:
        whole = partial.read_bytes()
        partial.write_bytes(whole[: int(len(whole) * clip.kept)])
    return partial.replace(path)


def _frames(clip: Clip) -> Iterator[av.VideoFrame]:
    for index in range(round(clip.seconds * FRAMES_PER_SECOND)):
        picture = np.ascontiguousarray(clip.scene(index / FRAMES_PER_SECOND))
        planes = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420).astype(np.uint8, copy=False)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts, frame.time_base = index, Fraction(1, FRAMES_PER_SECOND)
        yield frame


def _hum(seconds: float) -> Iterator[av.AudioFrame]:
    """A soft, swelling tone: there is sound, but nobody's voice."""
    time = np.arange(int(seconds * AUDIO_HZ)) / AUDIO_HZ
    tone = 0.04 * np.sin(2 * np.pi * 220 * time) * np.sin(2 * np.pi * time / 4) ** 2
    for start in range(0, len(tone), 1024):
        chunk = tone[None, start : start + 1024].astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(chunk), "fltp", "mono")
        frame.pts, frame.time_base = start, Fraction(1, AUDIO_HZ)
        frame.sample_rate = AUDIO_HZ
        yield frame
