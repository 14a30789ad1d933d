"""The anonymizers: ways to make an aligned crop safe before anything else reads it.

Each maps `(N, P, P, 3) uint8 RGB` to `(N, Q, Q, 3) uint8` and has at most one number, its strength.
What each is worth against attackers is measured: docs/privacy.md.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.core import k_same

Crops = NDArray[np.uint8]

#: Cells across of `noise`, and the pixels of a crop that its epsilon hides: Fan's m.
NOISE_CELLS, NOISE_PIXELS = 12, 16

#: ITU-R BT.601 luma weights, as JPEG and OpenCV use them.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Anonymizer:
    """A registered anonymizer.

    `unit` names what `strength` means; `output_px(crop_px, strength)` is the side of its result.
    `load` is there where the anonymizer reads faces with a model: whoever applies it calls it
    first, once a process. `fingerprint` names the files that its results depend on.
    """

    name: str
    summary: str
    unit: str
    default_strength: float
    apply: Callable[[Crops, float], Crops]
    output_px: Callable[[int, float], int] = lambda crop_px, strength: crop_px
    load: Callable[[], object] | None = None
    fingerprint: Callable[[], str] | None = None


_registry: dict[str, Anonymizer] = {}


def register(anonymizer: Anonymizer) -> Anonymizer:
    """Add an anonymizer; a name that is taken raises `ValueError`."""
    if anonymizer.name in _registry:
        raise ValueError(f"anonymizer {anonymizer.name!r} is registered already")
    _registry[anonymizer.name] = anonymizer
    return anonymizer


def anonymizer(name: str) -> Anonymizer:
    """Look an anonymizer up; an unknown name raises `ValueError` that lists the known ones."""
    if name not in _registry:
        known = ", ".join(sorted(_registry))
        raise ValueError(f"unknown anonymizer {name!r}; known: {known}")
    return _registry[name]


def anonymizers() -> tuple[Anonymizer, ...]:
    return tuple(_registry[name] for name in sorted(_registry))


def grey(crops: Crops) -> Crops:
    """Luma in all three channels, rounded to nearest."""
    luma = np.rint(crops.astype(np.float32) @ LUMA).astype(np.uint8)
    return np.repeat(luma[..., None], 3, axis=-1)


def _resize(crops: Crops, side_px: int, interpolation: int) -> Crops:
    out = np.empty((len(crops), side_px, side_px, 3), np.uint8)
    for index, crop in enumerate(crops):
        out[index] = cv2.resize(crop, (side_px, side_px), interpolation=interpolation)
    return out


def _downsample(crops: Crops, strength: float) -> Crops:
    side_px = int(strength)
    if crops.shape[1] > side_px:
        crops = _resize(crops, side_px, cv2.INTER_AREA)
    return grey(crops)


def _solid(crops: Crops, strength: float) -> Crops:
    return np.full_like(crops, int(strength))


def _pixelate(crops: Crops, strength: float) -> Crops:
    cells, side_px = int(strength), crops.shape[1]
    if cells >= side_px:
        return crops.copy()
    return _resize(_resize(crops, cells, cv2.INTER_AREA), side_px, cv2.INTER_NEAREST_EXACT)


def _blur(crops: Crops, strength: float) -> Crops:
    sigma_px = crops.shape[1] * strength / 100
    out = np.empty_like(crops)
    for index, crop in enumerate(crops):
        # in float: OpenCV's 8-bit kernel is rounded, and lets 1 % of the finest detail through
        wide = crop.astype(np.float32)
        soft = cv2.GaussianBlur(wide, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE)
        out[index] = np.rint(soft).astype(np.uint8)
    return out


def _noise(crops: Crops, strength: float) -> Crops:
    """Cell means of the luma with Laplace noise: differentially private pixelation.

    Fan 2018, Image pixelization with differential privacy (DBSec), section 3: crops that differ in
    at most m pixels are epsilon-indistinguishable under noise of scale 255 m / (pixels a cell x
    epsilon). Epsilon is spent on every crop: over the frames of a track it adds up. The noise
    follows from the crop, so that a row is equal when it is made again: whoever has the very crop
    already can repeat it.
    """
    side_px = crops.shape[1]
    cells = min(NOISE_CELLS, side_px)
    scale = 255 * NOISE_PIXELS / ((side_px / cells) ** 2 * strength)
    means = _resize(crops, cells, cv2.INTER_AREA).astype(np.float32) @ LUMA
    for index, crop in enumerate(crops):
        seed = hashlib.sha256(np.ascontiguousarray(crop).data).digest()
        draw = np.random.default_rng(int.from_bytes(seed))
        means[index] += draw.laplace(0, scale, (cells, cells))
    noisy = np.clip(np.rint(means), 0, 255).astype(np.uint8)
    noisy = np.repeat(noisy[..., None], 3, axis=-1)
    return noisy if cells == side_px else _resize(noisy, side_px, cv2.INTER_NEAREST_EXACT)


def reference_swap(
    crops: Crops, track: NDArray[np.integer], population: NDArray[np.floating]
) -> Crops:
    """Each crop less the mean of its track, plus a population's mean: the difference stays.

    `track (N,)` says whose each crop is, `population` is `(P, P, 3)`, in pixels of 0 to 255. Not
    registered: a track's mean needs the whole track, which is not known before `resolve`, when
    the crops are gone. It is measured, so that it is known what it would be worth.
    """
    out = np.empty_like(crops)
    for number in np.unique(track):
        own = crops[track == number].astype(np.float32)
        swapped = own - own.mean(axis=0) + population
        out[track == number] = np.clip(np.rint(swapped), 0, 255).astype(np.uint8)
    return out


def _none(crops: Crops, strength: float) -> Crops:
    return crops.copy()


register(Anonymizer("none", "the crop as it is; the encoder then runs in the child", "-", 1, _none))
register(
    Anonymizer(
        "downsample",
        "few pixels, no colour",
        "px across",
        48,
        _downsample,
        lambda crop_px, strength: min(crop_px, int(strength)),
    )
)
register(Anonymizer("solid", "one grey: nothing is left, a control", "grey level", 127, _solid))
register(Anonymizer("pixelate", "cell means only", "cells across", 12, _pixelate))
register(Anonymizer("blur", "Gaussian blur", "sigma in % of the crop", 6, _blur))
register(Anonymizer("noise", "cell means + Laplace noise (Fan 2018)", "epsilon", 5, _noise))
register(
    Anonymizer(
        "k-same",
        "an average of 400 faces with the same apparent expression, as mien-lite sees it",
        "steps of the blend",
        1,
        k_same.k_same,
        lambda crop_px, strength: k_same.SIDE_PX,
        k_same.reader,
        k_same.fingerprint,
    )
)
