"""Which parts of every frame a video's faces take, from detections on some of its frames."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from operators.core.link import link

Boxes = NDArray[np.floating]


@dataclass(frozen=True)
class Cover:
    """What is to be covered, frame by frame.

    xyxy_px: T arrays (n, 4), before any margin. tracks: of the forward pass. gaps: stretches
    between two detections of a track on which the detector looked and saw nothing. filled: boxes
    of `xyxy_px` that are no detection: between two, before the first or after the last.
    """

    xyxy_px: list[NDArray[np.float64]]
    tracks: int
    gaps: int
    filled: int


def cover(
    times_seconds: Sequence[float] | NDArray[np.floating],
    looked: Sequence[bool] | NDArray[np.bool_],
    boxes: Sequence[Boxes],
    scores: Sequence[NDArray[np.floating]],
    max_gap_seconds: float = 1.0,
    extend_seconds: float = 0.4,
) -> Cover:
    """Boxes on every frame: tracks are linked forward and backward, and both are covered.

    times_seconds: (T,) rising, of every frame; looked: (T,) whether the detector saw it; boxes and
    scores: T arrays (n, 4) xyxy and (n,), empty where it did not look. Between two detections of a
    track its box moves evenly; before the first and after the last it stays for `extend_seconds`,
    and where it would be at the pace it had is covered too. Shot cuts are not asked for: to cover
    too much beside one is the safe side.

    Raises ValueError if the lengths differ or the times do not rise.
    """
    times = np.asarray(times_seconds, np.float64)
    seen = np.flatnonzero(np.asarray(looked, bool))
    found: list[list[Boxes]] = [[] for _ in times]
    tracks = gaps = 0
    for order in (seen, seen[::-1]):
        labels = link(
            np.abs(times[order] - times[order[0]]) if len(order) else (),
            [boxes[i] for i in order.tolist()],
            [scores[i] for i in order.tolist()],
            np.zeros(len(order), bool),
            max_gap_seconds,
        )
        members = _members(order, labels, boxes)
        if order is seen:
            tracks = len(members)
            gaps = sum(_gaps(seen, frames) for frames, _ in members)
        for frames, places in members:
            for index, box in _along(times, frames, places, extend_seconds):
                found[index].append(box)
    filled = 0
    xyxy = []
    for i, more in enumerate(found):
        own = np.asarray(boxes[i], np.float64).reshape(-1, 4)
        extra = _outside(np.array(more, np.float64).reshape(-1, 4), own)
        filled += len(extra)
        xyxy.append(np.concatenate([own, extra]))
    return Cover(xyxy, tracks, gaps, filled)


def _members(
    order: NDArray[np.intp], labels: list[NDArray[np.int64]], boxes: Sequence[Boxes]
) -> list[tuple[NDArray[np.intp], NDArray[np.float64]]]:
    """Each track's frames, rising, and its boxes there."""
    tracks: dict[int, list[tuple[int, Boxes]]] = {}
    for i, names in zip(order, labels, strict=True):
        for box, name in zip(boxes[i], names.tolist(), strict=True):
            tracks.setdefault(name, []).append((int(i), box))
    for members in tracks.values():
        members.sort(key=lambda member: member[0])
    return [
        (np.array([i for i, _ in members]), np.array([box for _, box in members], np.float64))
        for members in tracks.values()
    ]


def _gaps(seen: NDArray[np.intp], frames: NDArray[np.intp]) -> int:
    """How often the detector looked between two of a track's frames in vain."""
    return int((np.diff(np.searchsorted(seen, frames)) > 1).sum())


def _along(
    times: NDArray[np.float64],
    frames: NDArray[np.intp],
    places: NDArray[np.float64],
    extend_seconds: float,
) -> list[tuple[int, NDArray[np.float64]]]:
    """(frame, box) for every frame of a track that is no detection, its extended ends included."""
    begin, end = times[frames[0]], times[frames[-1]]
    first = int(np.searchsorted(times, begin - extend_seconds - 1e-9))
    last = int(np.searchsorted(times, end + extend_seconds + 1e-9))
    known = set(frames.tolist())
    inside = [i for i in range(first, last) if i not in known]
    held = np.stack(
        [np.interp(times[inside], times[frames], places[:, side]) for side in range(4)], axis=1
    )
    drift = np.zeros_like(held)
    for row, i in enumerate(inside):
        if i < frames[0]:
            drift[row] = _pace(times, frames, places, 0) * (times[i] - begin)
        elif i > frames[-1]:
            drift[row] = _pace(times, frames, places, -1) * (times[i] - end)
    left_top = np.minimum(held, held + drift)[:, :2]
    right_bottom = np.maximum(held, held + drift)[:, 2:]
    return list(zip(inside, np.concatenate([left_top, right_bottom], axis=1), strict=True))


def _pace(
    times: NDArray[np.float64], frames: NDArray[np.intp], places: NDArray[np.float64], end: int
) -> NDArray[np.float64]:
    """How a track's box moves at one end, a second: its centre only, over up to five detections."""
    if len(frames) < 2:
        return np.zeros(4)
    few = slice(0, 5) if end == 0 else slice(-5, None)
    passed = times[frames[few]][-1] - times[frames[few]][0]
    moved = places[few][-1] - places[few][0]
    return np.tile((moved[:2] + moved[2:]) / 2, 2) / passed


def _outside(xyxy: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Those boxes that no other one, nor an equal one before, encloses."""
    kept: list[NDArray[np.float64]] = []
    large_first = np.argsort(-np.prod(xyxy[:, 2:] - xyxy[:, :2], axis=1), kind="stable")
    for box in xyxy[large_first]:
        around = np.concatenate([others, np.array(kept).reshape(-1, 4)])
        enclosed = (around[:, :2] <= box[:2] + 1e-6) & (around[:, 2:] >= box[2:] - 1e-6)
        if not enclosed.all(axis=1).any():
            kept.append(box)
    return np.array(kept, np.float64).reshape(-1, 4)
