"""How well people are recognised: splits, rates, and their intervals over people."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

BOOTSTRAP_DRAWS = 2000
ROUNDING = 1e-6


def numbered(names: Sequence[Any] | NDArray) -> NDArray[np.int64]:
    """People by number from 0, in the order of their names: (N,)."""
    return np.unique(np.asarray(names), return_inverse=True)[1].astype(np.int64)


def splits(
    who: NDArray[np.int64], count: int, shots: int, seed: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """`count` random splits of faces into (known, probes): at most `shots` a person in each.

    A person with fewer faces than twice `shots` is known by half of them.

    Raises:
        ValueError: a person with a single face, or fewer than two people.
    """
    people, faces = np.unique(who, return_counts=True)
    if len(people) < 2:
        raise ValueError("re-identification is measured between two people or more")
    if faces.min() < 2:
        raise ValueError(
            f"{int((faces < 2).sum())} of {len(people)} people have one face only: who is known "
            "by it cannot be looked for; give two faces a person or more"
        )
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        known, probes = [], []
        for person in people:
            rows = rng.permutation(np.flatnonzero(who == person))
            first = min(shots, len(rows) // 2)
            known.append(rows[:first])
            probes.append(rows[first : first + shots])
        yield np.concatenate(known), np.concatenate(probes)


def hits(scores: NDArray[np.float64], who: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """For each probe, the chance (0 to 1) that its person is among the first k: (N,).

    Equal scores are drawn at random: who has the same score as others has his share. Equal are
    those that rounding may have parted, by a millionth of the spread of a probe's scores.
    """
    own = scores[np.arange(len(who)), who][:, None]
    finite = np.isfinite(scores)
    highest = np.max(scores, axis=1, where=finite, initial=-np.inf)
    lowest = np.min(scores, axis=1, where=finite, initial=np.inf)
    slack = ROUNDING * np.maximum(0, highest - lowest)[:, None]
    above = scores > own + slack
    level = ~above & (scores >= own - slack)
    return np.clip((k - above.sum(axis=1)) / level.sum(axis=1), 0, 1)


def equal_error_rate(scores: NDArray[np.float64], who: NDArray[np.int64]) -> float:
    """The rate at which a probe's own person is refused as often as another is accepted.

    `scores (N, people)`, each row centred first: a verifier knows how a face scores at large.
    """
    finite = np.where(np.isfinite(scores), scores, scores[np.isfinite(scores)].min())
    spread = finite.std(axis=1, keepdims=True)
    level = (finite - finite.mean(axis=1, keepdims=True)) / np.maximum(spread, 1e-12)
    own = np.zeros(scores.shape, bool)
    own[np.arange(len(who)), who] = True
    genuine, other = np.sort(level[own]), np.sort(level[~own])
    # a corner of the curve at every score; what lies between two corners is reached by a coin
    thresholds = np.append(np.unique(np.concatenate([genuine, other])), np.inf)
    refused = np.searchsorted(genuine, thresholds, "left") / len(genuine)
    accepted = 1 - np.searchsorted(other, thresholds, "left") / len(other)
    at = int(np.argmax(refused >= accepted))
    before, after = (accepted - refused)[[max(at - 1, 0), at]]
    share = before / (before - after) if before > after else 1.0
    return float((1 - share) * refused[max(at - 1, 0)] + share * refused[at])


def interval_over_people(
    hit: NDArray[np.float64], who: NDArray[np.int64], seed: int = 0
) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean of `hit`: people are drawn, with all their probes."""
    people = np.unique(who)
    rates = np.asarray([hit[who == person].mean() for person in people])
    rng = np.random.default_rng(seed)
    drawn = rates[rng.integers(0, len(rates), (BOOTSTRAP_DRAWS, len(rates)))].mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)
