"""Which segments stand for an archive: strata by codec, picture size and age, and a fair draw.

Pure: it knows numbers and names only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Codec, picture size, age; `ANY` where strata that were too small were put together.
Key = tuple[str, str, str]

ANY = "any"
UNKNOWN = "unknown age"
AGES = ("oldest third", "middle third", "newest third")
#: Classes of the shorter side: what decoding costs grows with the picture.
SIZES_PX = (480, 720, 1080)
#: A spread can be told from two segments of a stratum, not from one.
LEAST_DRAWN = 2


@dataclass(frozen=True)
class Traits:
    """What is known of a video before it is decoded; `made_at` is Unix time, None if unknown."""

    codec: str
    shorter_side_px: int
    made_at: float | None


@dataclass(frozen=True)
class Stratum:
    """Segments that are alike: how many, their seconds, which were drawn and which they are.

    `drawn` and `members` are indices.
    """

    key: Key
    segments: int
    seconds: float
    drawn: tuple[int, ...]
    members: tuple[int, ...] = ()


def keys(videos: Sequence[Traits]) -> list[Key]:
    """The stratum of each video, as finely as its traits say.

    Ages are thirds of the videos whose age is known; equal ones share a third.
    """
    known = np.array([video.made_at for video in videos if video.made_at is not None])
    bounds = np.quantile(known, (1 / 3, 2 / 3)) if len(known) else np.zeros(2)
    return [
        (video.codec, _size(video.shorter_side_px), _age(video.made_at, bounds)) for video in videos
    ]


def _size(shorter_side_px: int) -> str:
    for limit in SIZES_PX:
        if shorter_side_px <= limit:
            return f"up to {limit} px"
    return f"above {SIZES_PX[-1]} px"


def _age(made_at: float | None, bounds: NDArray[np.float64]) -> str:
    return UNKNOWN if made_at is None else AGES[int(np.searchsorted(bounds, made_at))]


def draw(
    keys: Sequence[Key], seconds: NDArray[np.float64], wanted: int, seed: int
) -> list[Stratum]:
    """Draw about `wanted` segments, each stratum by its share of the seconds, at least two of each.

    `keys[i]` and `seconds[i]` are those of segment i. Strata whose share is below two segments are
    put together: first over ages, then over sizes, then over codecs. The same arguments draw the
    same segments.
    """
    if not len(seconds):
        return []
    merged = _merged(keys, seconds, LEAST_DRAWN * seconds.sum() / max(wanted, 1))
    members: dict[Key, list[int]] = {}
    for index, key in enumerate(merged):
        members.setdefault(key, []).append(index)
    rng = np.random.default_rng(seed)
    strata = []
    for key, own in sorted(members.items()):
        total = float(seconds[own].sum())
        count = round(wanted * total / seconds.sum())
        count = min(len(own), max(count, LEAST_DRAWN))
        if wanted >= len(seconds):
            count = len(own)
        drawn = np.sort(rng.permutation(own)[:count])
        strata.append(Stratum(key, len(own), total, tuple(drawn.tolist()), tuple(own)))
    return strata


def _merged(keys: Sequence[Key], seconds: NDArray[np.float64], least_seconds: float) -> list[Key]:
    names = {key: key for key in keys}
    for level in reversed(range(3)):
        totals: dict[Key, float] = {}
        for key, length in zip(keys, seconds.tolist(), strict=True):
            totals[names[key]] = totals.get(names[key], 0.0) + length
        for key, name in names.items():
            if totals[name] < least_seconds:
                codec, size, age = (*name[:level], *[ANY] * (3 - level))
                names[key] = (codec, size, age)
    return [names[key] for key in keys]
