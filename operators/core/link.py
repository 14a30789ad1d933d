"""Link the faces of one video into tracks, by motion alone.

No appearance is compared: a vector that tells persons apart would be biometric. Motion can mislead
where faces overlap, so the rule is: rather two tracks of one person than one track of two.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Boxes = NDArray[np.floating]

#: How far from its predicted place a face may be, in face sizes: at once, and more a second.
GATE_SIZES, GATE_SIZES_PER_SECOND = 0.5, 0.5
#: How much the size may change (natural log of the ratio): at once, and more a second.
GATE_LOG_SIZE, GATE_LOG_SIZE_PER_SECOND = 0.4, 0.3
#: Two readings of who is who are told apart only if their costs differ by this many face sizes.
MARGIN_SIZES, MARGIN_SIZES_PER_SECOND = 0.25, 0.1
#: Of two boxes as likely by place, the better detection wins; in face sizes for a score of 0.
SCORE_WEIGHT = 0.1
#: Time over which velocity is averaged, and in which an unseen face is taken to slow down.
VELOCITY_SECONDS, COAST_SECONDS = 0.2, 1.0
#: Two faces cannot meet and turn back in less: if they were one for no longer, they passed.
TURN_SECONDS = 0.25
#: The order of the faces of a sample that holds one, as most do.
ONLY = np.zeros(1, np.int64)
#: Cost of a pair outside the gate.
FORBIDDEN = 1e6


@dataclass(eq=False)
class _Track:
    """A live track: what the next box is compared with.

    rivals: set on a track that holds faces which two others claim, since `since`. owner: of these,
    the one that was seen last before, if it was seen alone.
    """

    label: int
    seconds: float
    x: float
    y: float
    size: float
    velocity_x: float = 0.0
    velocity_y: float = 0.0
    since: float = 0.0
    rivals: tuple["_Track", ...] = ()
    owner: "_Track | None" = None

    def predict(self, seconds: float) -> tuple[float, float]:
        coasting = COAST_SECONDS * -math.expm1((self.seconds - seconds) / COAST_SECONDS)
        return self.x + self.velocity_x * coasting, self.y + self.velocity_y * coasting

    def update(self, face: "_Track") -> None:
        passed = face.seconds - self.seconds
        share = -math.expm1(-passed / VELOCITY_SECONDS)
        self.velocity_x += share * ((face.x - self.x) / passed - self.velocity_x)
        self.velocity_y += share * ((face.y - self.y) / passed - self.velocity_y)
        self.seconds, self.x, self.y, self.size = face.seconds, face.x, face.y, face.size


def link(
    times_seconds: Sequence[float] | NDArray[np.floating],
    boxes: Sequence[Boxes],
    scores: Sequence[NDArray[np.floating]],
    cuts: Sequence[bool] | NDArray[np.bool_],
    max_gap_seconds: float = 1.0,
) -> list[NDArray[np.int64]]:
    """The track of every box: numbers from 0, by first appearance, then from left to right.

    times_seconds: (T,) rising; boxes: T arrays (n, 4) xyxy in any unit; scores: T arrays (n,) in
    0..1; cuts: (T,) a shot cut lies right before the sample. A track holds at most one box of a
    sample, spans no cut and no gap longer than `max_gap_seconds`. Where two faces have become one
    detection, that detection is a track of its own until their motion tells them apart; if it
    does not when they part, both start new tracks. Constant velocity and optimal assignment as in
    Bewley et al., "Simple online and realtime tracking", 2016. Time O(T), memory of live tracks.

    Raises ValueError if the lengths differ or the times do not rise.
    """
    if not len(times_seconds) == len(boxes) == len(scores) == len(cuts):
        raise ValueError("times, boxes, scores and cuts must be as long as each other")
    if len(times_seconds) > 1 and np.min(np.diff(np.asarray(times_seconds, np.float64))) <= 0:
        raise ValueError("times_seconds must rise")
    linker = _Linker(max_gap_seconds)
    return [
        linker.step(float(t), np.asarray(b, np.float64).reshape(-1, 4), np.asarray(s), bool(c))
        for t, b, s, c in zip(times_seconds, boxes, scores, cuts, strict=True)
    ]


class _Linker:
    def __init__(self, max_gap_seconds: float) -> None:
        self._max_gap = max_gap_seconds
        self._live: list[_Track] = []
        self._next = 0

    def step(
        self, seconds: float, xyxy: Boxes, scores: NDArray[np.floating], cut: bool
    ) -> NDArray[np.int64]:
        """Labels of one sample's boxes, in their order."""
        self._live = [
            t for t in self._live if not cut and seconds - t.seconds <= self._max_gap + 1e-9
        ]
        labels = np.full(len(xyxy), -1, np.int64)
        if not len(xyxy):
            return labels
        # The order in which boxes come must not decide anything.
        order = np.lexsort((-scores, *xyxy.T[::-1])) if len(xyxy) > 1 else ONLY
        found = [_face(seconds, *box) for box in xyxy[order].tolist()]
        weights = SCORE_WEIGHT * (1 - scores[order])
        plain = [t for t in self._live if not t.rivals]
        held = [t for t in self._live if t.rivals]
        pairs, claims, over = _match(plain, found, weights, seconds)
        if held:
            over += _resolve(held, found, pairs, claims, seconds)
        chosen = pairs
        held = [t for t in held if t not in over]
        if held and claims:
            still = [i for i in sorted(claims) if i not in pairs]
            costs = _costs(held, [found[i] for i in still], seconds)
            heirs = _assign(costs + weights[still])
            chosen = pairs | {still[j]: held[i] for j, i in heirs.items()}
        if over:
            self._live = [t for t in self._live if t not in over]
        for i, face in enumerate(found):
            track = chosen.get(i)
            if track is None:
                track = face
                track.label, self._next = self._next, self._next + 1
                if i in claims:
                    track.rivals, track.owner = claims[i], _seen_alone(claims[i])
                    track.since = seconds
                self._live.append(track)
            else:
                track.update(face)
            labels[order[i]] = track.label
        return labels


Pairs = dict[int, _Track]
Claims = dict[int, tuple[_Track, ...]]


def _face(seconds: float, left: float, top: float, right: float, bottom: float) -> _Track:
    size = math.sqrt(max(right - left, 1e-6) * max(bottom - top, 1e-6))
    return _Track(-1, seconds, (left + right) / 2, (top + bottom) / 2, size)


def _match(
    tracks: list[_Track], found: list[_Track], weights: NDArray[np.floating], seconds: float
) -> tuple[Pairs, Claims, list[_Track]]:
    """Who each face is {face: track}, whose it may be {face: tracks}, and tracks that are over.

    A face is claimed, and nobody's, if a track that got no face fits it about as well as the one
    that did. Two tracks that fit each other's faces about as well as their own are over.
    """
    costs = _costs(tracks, found, seconds)
    if len(tracks) == len(found) == 1:  # most samples: there is nobody to mix it up with
        return ({0: tracks[0]} if costs[0, 0] + weights[0] < FORBIDDEN else {}), {}, []
    pairs = _assign(costs + weights)
    margins = [MARGIN_SIZES + MARGIN_SIZES_PER_SECOND * (seconds - t.seconds) for t in tracks]
    idle = set(range(len(tracks))) - set(pairs.values())
    claims: Claims = {}
    for j, i in pairs.items():
        others = [k for k in sorted(idle) if costs[k, j] < costs[i, j] + margins[k]]
        if others:
            claims[j] = tuple(tracks[k] for k in (i, *others))
    over: set[int] = set()
    for j, i in pairs.items():
        for k, h in pairs.items():
            own, swapped = costs[i, j] + costs[h, k], costs[i, k] + costs[h, j]
            if j < k and swapped < own + max(margins[i], margins[h]):
                over |= {i, h}
    sure = {j: tracks[i] for j, i in pairs.items() if i not in over and j not in claims}
    claims = {j: c for j, c in claims.items() if pairs[j] not in over}
    return sure, claims, [tracks[i] for i in sorted(over)]


def _resolve(
    held: list[_Track], found: list[_Track], pairs: Pairs, claims: Claims, seconds: float
) -> list[_Track]:
    """Tracks that are over because a claimed face can, or never will, be told whose it was.

    The face that carries on from the claimed ones must be the owner's: if it is another's, or there
    is no owner, the two either passed or turned back while they were one, and motion cannot say
    which. Their pairs are undone.
    """
    over: list[_Track] = []
    costs = _costs(held, found, seconds)
    for i, track in enumerate(held):
        nearest = int(np.argmin(costs[i]))
        if costs[i, nearest] >= FORBIDDEN or nearest in claims:
            continue
        over.append(track)
        heir = pairs.get(nearest)
        brief = track.owner is None and track.seconds - track.since <= TURN_SECONDS
        if heir not in track.rivals or not (brief or heir is track.owner):
            over += track.rivals
            for j in [j for j, t in pairs.items() if t in track.rivals]:
                del pairs[j]
    return over


def _seen_alone(rivals: tuple[_Track, ...]) -> _Track | None:
    latest = max(t.seconds for t in rivals)
    last = [t for t in rivals if t.seconds == latest]
    return last[0] if len(last) == 1 else None


def _assign(costs: NDArray[np.float64]) -> dict[int, int]:
    """The cheapest allowed pairs, {column: row}."""
    if not costs.size:
        return {}
    rows, columns = linear_sum_assignment(costs)
    allowed = costs[rows, columns] < FORBIDDEN
    return dict(zip(columns[allowed].tolist(), rows[allowed].tolist(), strict=True))


def _costs(tracks: list[_Track], found: list[_Track], seconds: float) -> NDArray[np.float64]:
    """(tracks, faces): distance from the predicted place in face sizes, plus change of size.

    One by one: on the few faces of a sample, NumPy takes longer for its calls than for the work.
    """
    costs = np.full((len(tracks), len(found)), FORBIDDEN)
    for row, track in enumerate(tracks):
        passed = seconds - track.seconds
        near = (GATE_SIZES + GATE_SIZES_PER_SECOND * passed) * track.size
        alike = GATE_LOG_SIZE + GATE_LOG_SIZE_PER_SECOND * passed
        x, y = track.predict(seconds)
        for column, face in enumerate(found):
            if abs(face.x - x) > near or abs(face.y - y) > near:
                continue
            away = math.hypot(face.x - x, face.y - y)
            grown = abs(math.log(face.size / track.size))
            if away <= near and grown <= alike:
                costs[row, column] = away / track.size + grown
    return costs
