"""Labelled faces for training: decoding, cleaning, sampling and augmentation."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import nn

from operators.core.anonymizers import anonymizers
from operators.core.tower import resize_crops

#: A face whose grey values vary less than this is a blank image, not a face.
BLANK_STD = 4.0


@dataclass(frozen=True)
class Cleaning:
    """Which faces stay, and how many went for what reason."""

    keep: np.ndarray
    held_out_duplicates: int
    conflicting_duplicates: int
    repeated: int
    blank: int


def decode_faces(images: Sequence[bytes], size_px: int) -> np.ndarray:
    """Decode image files to `(N, S, S) uint8` grey.

    Raises:
        ValueError: an image does not decode; names its row.
    """
    faces = np.empty((len(images), size_px, size_px), np.uint8)
    for row, data in enumerate(images):
        face = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) if data else None
        if face is None:
            raise ValueError(f"image in row {row} does not decode")
        if face.shape != (size_px, size_px):
            face = cv2.resize(face, (size_px, size_px), interpolation=cv2.INTER_AREA)
        faces[row] = face
    return faces


def clean_faces(faces: np.ndarray, labels: np.ndarray, held_out: np.ndarray) -> Cleaning:
    """Choose the training faces: none of `held_out`, no blank, no repeat, no contradiction.

    `faces` and `held_out` are `(N, S, S) uint8`; duplicates are equal to the pixel. Faces that
    occur with different labels are dropped altogether: at least one label is wrong.
    """
    held = {_digest(face) for face in held_out}
    digests = [_digest(face) for face in faces]
    seen_labels: dict[bytes, set[int]] = {}
    for digest, label in zip(digests, labels, strict=True):
        seen_labels.setdefault(digest, set()).add(int(label))
    counts = {"held": 0, "conflict": 0, "repeat": 0, "blank": 0}
    keep, first = [], set()
    for row, digest in enumerate(digests):
        if digest in held:
            counts["held"] += 1
        elif faces[row].std() < BLANK_STD:
            counts["blank"] += 1
        elif len(seen_labels[digest]) > 1:
            counts["conflict"] += 1
        elif digest in first:
            counts["repeat"] += 1
        else:
            first.add(digest)
            keep.append(row)
    return Cleaning(
        np.asarray(keep, np.int64),
        counts["held"],
        counts["conflict"],
        counts["repeat"],
        counts["blank"],
    )


def _digest(face: np.ndarray) -> bytes:
    return hashlib.sha256(face.tobytes()).digest()


def split_for_calibration(faces: np.ndarray, every: int) -> np.ndarray:
    """Mark one face in `every` (by its content, so that order does not matter): (N,) bool."""
    return np.asarray([int.from_bytes(_digest(face)[:8]) % every == 0 for face in faces], bool)


def epoch_order(labels: np.ndarray, rng: torch.Generator) -> torch.Tensor:
    """One epoch's rows, shuffled, rare labels repeated: (M,) int64.

    A label is repeated by the square root of how much rarer it is than the median one: enough to
    be learnt, too little for its few faces to be known by heart.
    """
    counts = np.bincount(labels)
    median = np.median(counts[counts > 0])
    repeats = np.maximum(1, np.rint(np.sqrt(median / np.maximum(counts, 1)))).astype(np.int64)
    rows = torch.from_numpy(np.repeat(np.arange(len(labels)), repeats[labels]))
    return rows[torch.randperm(len(rows), generator=rng)]


def anonymize_some(faces: torch.Tensor, share: float, rng: torch.Generator) -> torch.Tensor:
    """Put the first `share` of `(N, S, S) uint8` faces through the anonymizers, in turn.

    Strengths are drawn between half and twice the default, so that one model serves crops that
    were made safe in any of these ways.
    """
    # one that reads faces with a model cannot teach that model
    kinds = [kind for kind in anonymizers() if kind.load is None]
    size_px = faces.shape[1]
    parts = torch.arange(int(len(faces) * share)).chunk(len(kinds))
    out = faces.clone()
    for part, kind in zip(parts, torch.randperm(len(kinds), generator=rng).tolist(), strict=False):
        factor = 2 ** float(_uniform((1,), -1, 1, rng))
        crops = faces[part].unsqueeze(-1).expand(-1, -1, -1, 3).contiguous().numpy()
        safe = kinds[kind].apply(crops, min(255.0, kinds[kind].default_strength * factor))
        out[part] = torch.from_numpy(np.array(resize_crops(safe, size_px)[..., 0]))
    return out


def augment(
    faces: torch.Tensor, size_px: int, strength: float, rng: torch.Generator
) -> torch.Tensor:
    """Vary `(N, S, S) uint8` faces: `(N, size_px, size_px) float32` in 0 to 1.

    `strength` scales every range, from 0 (mirrored only) to 1.

    Geometry covers what alignment from five points leaves (shift, scale, rotation, mirror);
    softness, light, noise and erasing cover what cameras, codecs and hands do.
    """
    x = faces.float().div_(255).unsqueeze(1)
    x = _soften(x, strength, rng)
    x = nn.functional.grid_sample(
        x, _affine_grid(len(x), size_px, strength, rng), padding_mode="border", align_corners=False
    )
    x = _light(x, strength, rng)
    x = x + torch.randn(x.shape, generator=rng) * _uniform(
        (len(x), 1, 1, 1), 0, 0.03 * strength, rng
    )
    return _erase(x, 0.5 * strength, rng).clamp_(0, 1).squeeze(1)


def _uniform(shape: tuple[int, ...], low: float, high: float, rng: torch.Generator) -> torch.Tensor:
    return torch.rand(shape, generator=rng) * (high - low) + low


def _affine_grid(count: int, size: int, strength: float, rng: torch.Generator) -> torch.Tensor:
    """Sampling grids: up to 15 degrees, 18 % of size and a tenth of the side at full strength."""

    def around(middle: float, reach: float, shape: tuple[int, ...] = (count,)) -> torch.Tensor:
        return _uniform(shape, middle - reach * strength, middle + reach * strength, rng)

    angle, scale_x = around(0, 0.26), around(1, 0.18)
    scale_y = scale_x * around(1, 0.08)
    mirror = torch.where(torch.rand(count, generator=rng) < 0.5, -1.0, 1.0)
    shear = around(0, 0.08)
    cos, sin = angle.cos(), angle.sin()
    theta = torch.empty(count, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = cos * scale_x * mirror, -sin * scale_y + shear
    theta[:, 1, 0], theta[:, 1, 1] = sin * scale_x * mirror, cos * scale_y
    theta[:, :, 2] = around(0, 0.2, (count, 2))
    return nn.functional.affine_grid(theta, [count, 1, size, size], align_corners=False)


def _soften(x: torch.Tensor, strength: float, rng: torch.Generator) -> torch.Tensor:
    """Shrink up to a quarter of the batch to one random smaller size, and enlarge it again.

    It takes the last faces: the first may be anonymized, and are to be seen as they come.
    """
    size = x.shape[-1]
    small = int(torch.randint(size // 3, size - 2, (1,), generator=rng))
    some = int(x.shape[0] * strength / 4)
    if some == 0:
        return x
    shrunk = nn.functional.interpolate(x[-some:], size=(small, small), mode="area")
    soft = nn.functional.interpolate(shrunk, size=(size, size), mode="bilinear")
    return torch.cat([x[:-some], soft])


def _light(x: torch.Tensor, strength: float, rng: torch.Generator) -> torch.Tensor:
    """Gamma, contrast, brightness, and light from one side."""
    count, size = x.shape[0], x.shape[-1]
    shape = (count, 1, 1, 1)
    x = x.clamp(1e-3, 1).pow(_uniform(shape, -0.5 * strength, 0.5 * strength, rng).exp())
    mean = x.mean((1, 2, 3), keepdim=True)
    contrast = _uniform(shape, 1 - 0.4 * strength, 1 + 0.4 * strength, rng)
    x = (x - mean) * contrast + mean + 0.15 * strength * _uniform(shape, -1, 1, rng)
    ramp = torch.linspace(-1, 1, size)
    side = _uniform(shape, -1, 1, rng) * ramp.view(1, 1, 1, -1)
    above = _uniform(shape, -1, 1, rng) * ramp.view(1, 1, -1, 1)
    lit = torch.where(torch.rand(shape, generator=rng) < 0.3, 0.4 * strength, 0.0)
    return x * (1 + lit * (side + above) / 2)


def _erase(x: torch.Tensor, share: float, rng: torch.Generator) -> torch.Tensor:
    """Cover a rectangle of up to 20 by 20 px (of 48) in `share` of the faces with one grey.

    One in four is as wide as the face, as masks and dark glasses are.
    """
    count, size = x.shape[0], x.shape[-1]
    side = _uniform((count, 2), size * 0.15, size * 0.42, rng)
    wide = torch.rand(count, generator=rng) < 0.25
    side[:, 1] = torch.where(wide, 2.0 * size, side[:, 1])
    centre = _uniform((count, 2), 0, size, rng)
    at = torch.arange(size, dtype=torch.float32)
    rows = (at - centre[:, :1]).abs() < side[:, :1] / 2
    columns = (at - centre[:, 1:]).abs() < side[:, 1:] / 2
    chosen = torch.rand(count, generator=rng) < share
    mask = rows.unsqueeze(2) & columns.unsqueeze(1) & chosen.view(-1, 1, 1)
    grey = torch.rand((count, 1, 1, 1), generator=rng)
    return torch.where(mask.unsqueeze(1), grey, x)
