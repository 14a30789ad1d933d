"""Two portraits in the public domain, and how a camera moves over them.

The portraits ship inside scikit-image (Eileen Collins, NASA) and matplotlib (Grace Hopper, US
Navy); nothing is downloaded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np

FRAME_HW = (360, 640)
#: Where the first person of two side by side ends and the second begins.
HALF_PX = FRAME_HW[1] // 2
#: Height of a face on a portrait after normalising: a shot scales from here.
FACE_PX = 150.0

Image = np.ndarray
#: The picture `seconds` into a video, `(H, W, 3) uint8 RGB`.
Scene = Callable[[float], Image]


@dataclass(frozen=True)
class Portrait:
    """A person on a canvas that continues softly on all sides.

    `canvas` is `(H, W, 3) uint8 RGB`, `face_xy` the centre of the face on it.
    """

    canvas: Image
    face_xy: tuple[float, float]


# --- portraits -----------------------------------------------------------------------------------


def collins() -> Portrait:
    """Eileen Collins, smiling."""
    from skimage import data

    return _normalise(data.astronaut(), face_xy=(226, 118), face_px=120)


def hopper() -> Portrait:
    """Grace Hopper, earnest, with glasses and a cap."""
    from matplotlib import cbook

    path = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    bgr = cast(Image | None, cv2.imread(str(path)))
    if bgr is None:
        raise FileNotFoundError("matplotlib's sample picture grace_hopper.jpg is not installed")
    return _normalise(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), face_xy=(266, 231), face_px=206)


def _normalise(picture: Image, face_xy: tuple[float, float], face_px: float) -> Portrait:
    """Scale `picture` to a face of FACE_PX and continue it softly beyond its edges."""
    scale = FACE_PX / face_px
    flag = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    sharp = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=flag)
    pad, feather = 360, 56
    edges = (pad, pad, pad, pad)
    reflected = cv2.copyMakeBorder(sharp, *edges, cv2.BORDER_REFLECT_101)
    small = cv2.resize(reflected, None, fx=0.125, fy=0.125, interpolation=cv2.INTER_AREA)
    soft = cv2.resize(cv2.GaussianBlur(small, (0, 0), 9), reflected.shape[1::-1])
    alpha = np.zeros(sharp.shape[:2], np.float32)
    alpha[feather:-feather, feather:-feather] = 1
    alpha = cv2.blur(cv2.blur(alpha, (feather, feather)), (feather, feather))
    alpha = cv2.copyMakeBorder(alpha, *edges, cv2.BORDER_CONSTANT)[..., None]
    canvas = alpha * reflected + (1 - alpha) * 0.8 * soft
    x, y = face_xy[0] * scale + pad, face_xy[1] * scale + pad
    return Portrait(canvas.astype(np.uint8), (x, y))


def _film(
    portrait: Portrait,
    face_xy: tuple[float, float],
    face_px: float,
    roll_degrees: float = 0.0,
    hw: tuple[int, int] = FRAME_HW,
) -> Image:
    """The frame of `hw` on which the portrait's face is `face_px` high around `face_xy`."""
    matrix = cv2.getRotationMatrix2D(portrait.face_xy, roll_degrees, face_px / FACE_PX)
    matrix[:, 2] += np.subtract(face_xy, portrait.face_xy)
    size = (hw[1], hw[0])
    return cv2.warpAffine(portrait.canvas, matrix, size, borderMode=cv2.BORDER_REPLICATE)


# --- scenes --------------------------------------------------------------------------------------


def wander(portrait: Portrait, phase: float = 0.0) -> Scene:
    """The person drifts through the frame, comes nearer and goes."""

    def scene(seconds: float) -> Image:
        a = phase + 2 * np.pi * seconds / 12
        xy = (320 + 110 * np.sin(a), 170 + 14 * np.sin(2 * a))
        return _film(portrait, xy, 146 + 34 * np.sin(a + 0.7), 3 * np.sin(1.5 * a))

    return scene


def sway(portrait: Portrait, phase: float) -> Scene:
    """The person sways within half a frame."""

    def scene(seconds: float) -> Image:
        a = phase + 2 * np.pi * seconds / 8
        xy = (HALF_PX / 2 + 44 * np.sin(a), 168 + 16 * np.cos(a))
        return _film(portrait, xy, 132 + 14 * np.cos(a), 2 * np.sin(a), (FRAME_HW[0], HALF_PX))

    return scene


def still(portrait: Portrait) -> Scene:
    """The person stays in the middle; the camera barely moves."""
    return lambda seconds: _film(portrait, (320, 172), 150 + 0.5 * seconds)


def handheld(portrait: Portrait) -> Scene:
    """An upright frame, as a phone films it."""

    def scene(seconds: float) -> Image:
        a = 2 * np.pi * seconds / 6
        xy = (180 + 24 * np.sin(a), 230 + 18 * np.sin(1.7 * a))
        return _film(portrait, xy, 140 + 2 * seconds, 2 * np.cos(a), (FRAME_HW[1], FRAME_HW[0]))

    return scene


def table() -> Scene:
    """A slow zoom on a cup of coffee."""
    from skimage import data

    picture = data.coffee()
    height, width = picture.shape[:2]

    def scene(seconds: float) -> Image:
        scale = 1.1 + 0.03 * seconds
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 0, scale)
        matrix[:, 2] += (320 - width / 2 + 5 * np.sin(seconds), 180 - height / 2)
        return cv2.warpAffine(picture, matrix, FRAME_HW[::-1], borderMode=cv2.BORDER_REFLECT_101)

    return scene


def lit(scene: Scene) -> Scene:
    """The same scene under light that dims, brightens and changes its colour."""

    def lit(seconds: float) -> Image:
        level = 0.85 + 0.45 * np.sin(2 * np.pi * seconds / 6)
        warmth = 0.12 * np.sin(2 * np.pi * seconds / 4)
        gain = level * np.array([1 + warmth, 1, 1 - warmth])
        curve = np.clip(np.arange(256)[:, None] * gain, 0, 255).astype(np.uint8)
        return cv2.LUT(scene(seconds), curve[:, None, :])

    return lit


def side_by_side(left: Scene, right: Scene) -> Scene:
    """Two people in one frame, as on a video call."""
    return lambda seconds: np.hstack([left(seconds), right(seconds)])


def cut(before: Scene, after: Scene, at_seconds: float) -> Scene:
    """A hard cut; `after` begins with the frame at `at_seconds`."""
    return lambda seconds: (before if seconds < at_seconds else after)(seconds)


def sideways(scene: Scene) -> Scene:
    """What the sensor of a phone held upright stores: a display matrix turns it back."""
    return lambda seconds: np.rot90(scene(seconds), -1)
