"""Disturbances of a face crop, each at three strengths, as footage has them.

A crop is disturbed before it is anonymized: the camera comes first. Every disturbance is a pure
function of the crop and its place in the file, so that a robustness report can be repeated.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Crop = NDArray[np.uint8]


@dataclass(frozen=True)
class Corruption:
    """One disturbance: `apply(crop, strength, rng)` maps `(P, P, 3) uint8 RGB` to the same shape.

    `strengths` are in `unit`, the mildest first.
    """

    name: str
    unit: str
    strengths: tuple[float, float, float]
    apply: Callable[[Crop, float, np.random.Generator], Crop]


_registry: dict[str, Corruption] = {}


def register(corruption: Corruption) -> Corruption:
    """Add a disturbance; a name that is taken raises `ValueError`."""
    if corruption.name in _registry:
        raise ValueError(f"corruption {corruption.name!r} is registered already")
    _registry[corruption.name] = corruption
    return corruption


def corruptions() -> tuple[Corruption, ...]:
    return tuple(_registry.values())


def corrupt(crops: NDArray[np.uint8], name: str, strength: float, first: int = 0) -> NDArray:
    """Disturb `(N, P, P, 3) uint8 RGB` crops that stand at places `first`, `first + 1`, ...

    Randomness (noise, signs) follows from the place alone.
    """
    entry = _registry[name]
    out = np.empty_like(crops)
    for index, crop in enumerate(crops):
        rng = np.random.default_rng((first + index, len(name)))
        out[index] = entry.apply(crop, strength, rng)
    return out


def _bytes(image: Any) -> Crop:
    return np.asarray(image, np.uint8)


def _rounded(values: NDArray[np.floating]) -> Crop:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _sign(rng: np.random.Generator) -> int:
    return 1 if rng.random() < 0.5 else -1


def _gamma(crop: Crop, strength: float, rng: np.random.Generator) -> Crop:
    """Darker or lighter: the exponent is `strength` or its inverse."""
    exponent = strength ** _sign(rng)
    return _rounded(255 * (crop.astype(np.float32) / 255) ** exponent)


def _side_light(crop: Crop, strength: float, rng: np.random.Generator) -> Crop:
    """Light falls off over the face by `strength` from one side to the other."""
    ramp = 1 + strength * _sign(rng) * np.linspace(-1, 1, crop.shape[1], dtype=np.float32)
    return _rounded(crop * ramp[None, :, None])


def _blur(crop: Crop, strength: float, rng: np.random.Generator) -> Crop:
    sigma_px = crop.shape[0] * strength / 100
    return _bytes(cv2.GaussianBlur(crop, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE))


def _noise(crop: Crop, strength: float, rng: np.random.Generator) -> Crop:
    """The same noise in all channels: grey crops stay grey."""
    grain = rng.standard_normal(crop.shape[:2]).astype(np.float32)[..., None]
    return _rounded(crop + strength * grain)


def _jpeg(crop: Crop, strength: float, rng: np.random.Generator) -> Crop:
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(strength)]
    done, data = cv2.imencode(".jpg", crop[..., ::-1], quality)
    assert done
    return _bytes(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]


def _small(crop: Crop, strength: float, rng: np.random.Generator) -> Crop:
    """A face that is `strength` px wide in its frame, enlarged to the crop."""
    side = crop.shape[0]
    shrunk = cv2.resize(crop, (int(strength),) * 2, interpolation=cv2.INTER_AREA)
    return _bytes(cv2.resize(shrunk, (side, side), interpolation=cv2.INTER_CUBIC))


def _rotation(crop: Crop, strength: float, rng: np.random.Generator) -> Crop:
    side = crop.shape[0]
    middle = ((side - 1) / 2, (side - 1) / 2)
    turn = cv2.getRotationMatrix2D(middle, strength * _sign(rng), 1)
    return _bytes(cv2.warpAffine(crop, turn, (side, side), borderMode=cv2.BORDER_REPLICATE))


def _cover(crop: Crop, top: float, bottom: float, grey: int) -> Crop:
    side = crop.shape[0]
    out = crop.copy()
    out[round(top * side) : round(bottom * side)] = grey
    return out


def _mouth_mask(crop: Crop, strength: float, rng: np.random.Generator) -> Crop:
    """A light mask that covers `strength` of the face, from the chin upwards."""
    return _cover(crop, 1 - strength, 1, 200)


def _eye_bar(crop: Crop, strength: float, rng: np.random.Generator) -> Crop:
    """A dark bar of height `strength` over the eyes, which lie at 0.39 of an aligned crop."""
    return _cover(crop, 0.39 - strength / 2, 0.39 + strength / 2, 20)


register(Corruption("gamma", "exponent or its inverse", (1.5, 2.0, 3.0), _gamma))
register(Corruption("side_light", "fall-off", (0.3, 0.5, 0.7), _side_light))
register(Corruption("blur", "sigma in % of the crop", (1.5, 3.0, 5.0), _blur))
register(Corruption("noise", "standard deviation, grey levels", (8.0, 16.0, 32.0), _noise))
register(Corruption("compression", "JPEG quality", (50.0, 25.0, 10.0), _jpeg))
register(Corruption("small_size", "px across", (32.0, 24.0, 16.0), _small))
register(Corruption("rotation", "degrees", (10.0, 20.0, 30.0), _rotation))
register(Corruption("mouth_mask", "share of the crop", (0.25, 0.35, 0.45), _mouth_mask))
register(Corruption("eye_bar", "share of the crop", (0.12, 0.18, 0.25), _eye_bar))
