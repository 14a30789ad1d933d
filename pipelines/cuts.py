"""From tombstones, which are files, to what an operator cuts out of a video's rows."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from infra.tombstones import Tombstone
from operators.core.erasure import Cut


def cuts_of(stones: Iterable[Tombstone]) -> tuple[Cut, ...]:
    """What the tombstones of spans and tracks cut out."""
    return tuple(_cut(stone) for stone in stones if not stone.whole)


def _cut(stone: Tombstone) -> Cut:
    path = np.array(stone.path, np.float64).reshape(-1, 5)
    return Cut(stone.start_seconds or 0.0, stone.end_seconds or 0.0, path[:, 0], path[:, 1:])


def frame_px(row: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height of a video by its row; where they are unknown no face was found."""
    return row["width_px"] or 1, row["height_px"] or 1
