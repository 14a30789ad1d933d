"""Make small videos for tests: any codec that PyAV's FFmpeg encodes, exact timestamps, rotation."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

Image = NDArray[np.uint8]
SAMPLE_RATE = 16000


def write_video(
    path: Path | str,
    frames: Iterable[Image],
    fps: int | Fraction = 24,
    codec: str = "libx264",
    pts: Sequence[int] | None = None,
    rotation: int | None = None,
    audio: bool | NDArray[np.float32] = False,
    options: dict[str, str] | None = None,
    container: str | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Encode (H, W, 3) uint8 RGB frames into `path`; its suffix chooses the container.

    pts: presentation times in milliseconds, where frames are not evenly spaced. rotation: degrees,
    counterclockwise, by which a player must turn the coded picture. audio: adds silence of the
    same length, or these samples. An odd side is coded as 4:4:4, for want of half chroma pixels.
    """
    path = Path(path)
    rate = Fraction(fps)
    options = dict(options or {})
    if codec == "libx265":
        options["x265-params"] = "log-level=none:" + options.get("x265-params", "")
    tick = Fraction(1, 1000) if pts is not None else 1 / rate
    with av.open(str(path), "w", format=container, options=container_options or {}) as out:
        pictures = iter(frames)
        first = next(pictures)
        stream = cast(VideoStream, out.add_stream(codec, rate=rate, options=options))
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv444p" if first.shape[0] % 2 or first.shape[1] % 2 else "yuv420p"
        stream.codec_context.time_base = tick
        stream.codec_context.thread_count = 1
        if rotation is not None:
            stream.set_display_rotation(rotation)
        sound = (
            cast(AudioStream, out.add_stream("aac", rate=SAMPLE_RATE))
            if audio is not False
            else None
        )
        count = 0
        for image in (first, *pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts = count if pts is None else pts[count]
            frame.time_base = tick
            out.mux(stream.encode(frame))
            count += 1
        out.mux(stream.encode(None))
        if sound is not None:
            silence = np.zeros(round(count / rate * SAMPLE_RATE), np.float32)
            _write_sound(out, sound, silence if isinstance(audio, bool) else audio)
    return path


def _write_sound(out: OutputContainer, sound: AudioStream, samples: NDArray[np.float32]) -> None:
    for start in range(0, len(samples), 1024):
        block = np.zeros((1, 1024), np.float32)
        block[0, : len(samples) - start] = samples[start : start + 1024]
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        frame.pts = start
        out.mux(sound.encode(frame))
    out.mux(sound.encode(None))


@lru_cache(maxsize=1)
def portraits() -> tuple[Image, Image]:
    """Two public-domain portraits of different people, (H, W, 3) uint8 RGB.

    NASA's Eileen Collins (scikit-image) and the US Navy's Grace Hopper (matplotlib).
    """
    from matplotlib.cbook import get_sample_data
    from PIL import Image as PillowImage
    from skimage.data import astronaut

    path = str(get_sample_data("grace_hopper.jpg", asfileobj=False))
    hopper = np.asarray(PillowImage.open(path).convert("RGB"))
    return np.ascontiguousarray(astronaut()[0:300, 80:360]), np.ascontiguousarray(hopper)


def paste(canvas: Image, picture: Image, left: float, top: float, height: int) -> Image:
    """A copy of the canvas with a picture scaled to `height` on it, to a fraction of a pixel."""
    import cv2

    scale = height / picture.shape[0]
    moved = np.array([[scale, 0, left], [0, scale, top]])
    size = (canvas.shape[1], canvas.shape[0])
    small = cv2.GaussianBlur(picture, (0, 0), max(0.01, 0.4 / scale))
    layer = cv2.warpAffine(small, moved, size, flags=cv2.INTER_LINEAR)
    mask = cv2.warpAffine(np.ones(picture.shape[:2], np.float32), moved, size)[..., None]
    return np.asarray(canvas * (1 - mask) + layer * mask + 0.5, np.uint8)


def counting(count: int, width: int = 160, height: int = 120) -> list[Image]:
    """Frames that all differ: a slowly drifting texture, and the frame's number in small bars.

    The number is in Gray code, so that no two neighbours differ by more than one bar.
    """
    rng = np.random.default_rng(7)
    cells = rng.integers(0, 256, (height // 8 + 1, (width + count) // 8 + 1, 3), dtype=np.uint8)
    texture = cells.repeat(8, axis=0).repeat(8, axis=1)
    frames = []
    for i in range(count):
        frame = np.ascontiguousarray(texture[:height, i : i + width])
        for bit in range(8):
            left = bit * (width // 10)
            frame[: width // 20, left : left + width // 20] = 255 * ((i ^ i >> 1) >> bit & 1)
        frames.append(frame)
    return frames


def number(image: Image) -> int:
    """The number of a `counting` frame, read back at any size."""
    cell = image.shape[1] / 20
    row = int(cell / 2)
    bars = [int(image[row, int(cell * (2 * bit + 0.5))].mean()) > 127 for bit in range(8)]
    value = 0
    for bar in reversed(bars):
        value = value << 1 | (value & 1 ^ bar)
    return value
