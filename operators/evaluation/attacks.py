"""Attacks by every attacker, over random splits of people's faces into known and looked for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.evaluation.attackers import Seen, attackers
from operators.evaluation.reidentification import (
    equal_error_rate,
    hits,
    interval_over_people,
    splits,
)

SHOTS = 5
#: Faces as an attacker sees them, given which of them he knows: (N,) bool.
Expose = Callable[[NDArray[np.bool_]], Seen]


@dataclass(frozen=True)
class Protocol:
    """How attacks are measured: `count` random splits, five faces known and five looked for."""

    who: NDArray[np.int64]
    count: int
    seed: int

    @property
    def people(self) -> int:
        return int(self.who.max()) + 1


def attack(
    protocol: Protocol, clean: Seen, expose: Expose, reads: str | None = None
) -> list[dict[str, Any]]:
    """Every attacker against the same splits, one row each.

    Raises `ValueError` where people or faces are too few to be split.
    """
    who, rows = protocol.who, []
    drawn = list(splits(who, protocol.count, SHOTS, protocol.seed))
    exposed = [expose(np.isin(np.arange(len(who)), known)) for known, _ in drawn]
    for attacker in attackers(reads):
        first, five, rates, asked = [], [], [], []
        for (known, probes), seen in zip(drawn, exposed, strict=True):
            own = (seen if attacker.trained else clean)[known]
            scores = attacker.attack(own, who[known], seen[probes], protocol.people, protocol.seed)
            first.append(hits(scores, who[probes], 1))
            five.append(hits(scores, who[probes], 5))
            rates.append(equal_error_rate(scores, who[probes]))
            asked.append(who[probes])
        hit = np.concatenate(first)
        low, high = interval_over_people(hit, np.concatenate(asked))
        rows.append(
            {
                "attacker": attacker.name,
                "trained": attacker.trained,
                "top1": round(float(hit.mean()), 4),
                "top1_low": round(low, 4),
                "top1_high": round(high, 4),
                "top5": round(float(np.concatenate(five).mean()), 4),
                "eer": round(float(np.mean(rates)), 4),
            }
        )
    return rows
