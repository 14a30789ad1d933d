"""identity_projection: takes out of a face's vector what tells people apart. Fitted, not scored.

The subspace is that of Fisher's discriminants between the people of the data. Whom it was not
fitted on it may hardly protect: the artifact's card says how well people who were held out are
recognised behind it, by who learns from vectors that went through it too.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from operators.backbone import Backbone
from operators.evaluation.reidentification import numbered
from operators.methods.artifact import Artifact, make_card
from operators.methods.projections import PROJECTION, project
from operators.methods.registry import FitData, Fittable, Progress, Reads
from operators.training.calibration import held_out
from operators.training.checkpoint import Checkpoint
from schemas.config import Fit

SPLITS = 5


def removed_dimensions(removed: int | Literal["auto"], people: int, width: int) -> int:
    """How many dimensions of `width` go: `auto` is one fewer than people, at most half of all."""
    return min(people - 1, width // 2) if removed == "auto" else removed


def fit(
    cfg: Fit, backbone: Backbone, data: FitData, progress: Progress, checkpoint: Checkpoint
) -> Artifact:
    """Fit on most people; measure on the others, who were not seen.

    Raises:
        ValueError: faces of nobody in particular, or of too few people.
    """
    from operators.training.identity import identity_projection, require_people

    if data.people is None:
        raise ValueError("identity_projection learns from people: the data needs `subject`")
    who = numbered(data.people)
    if who.max() < 2:
        raise ValueError("identity_projection needs three people at least: two, and one held out")
    held = held_out(data.count, data.people, cfg.held_out, cfg.seed)
    own, width = numbered(who[~held]), backbone.embedding_dim
    removed = removed_dimensions(cfg.identity_projection.removed, int(own.max()) + 1, width)
    require_people(own, removed, width)  # before the costly pass
    features = checkpoint.array("features", data.fingerprint, data.faces)
    matrix = identity_projection(features[~held], own, removed)
    progress(1, 1, "projection")
    card = make_card(
        IDENTITY_PROJECTION.name,
        backbone,
        seed=cfg.seed,
        recipe=cfg.identity_projection.model_dump(mode="json"),
        removed=removed,
        people=int(own.max()) + 1,
        held_out=recognised(features[held], who[held], matrix, cfg.seed),
        trained_on=int((~held).sum()),
    )
    return Artifact(card, {PROJECTION: matrix})


def recognised(
    features: NDArray[np.float32], who: NDArray[np.int64], matrix: NDArray, seed: int
) -> dict[str, Any]:
    """How many of these people an attacker recognises who trains on some of their vectors.

    Nothing but their number where there are fewer than two people, or one has a single face.
    """
    from operators.evaluation.attackers import Seen  # these load torch
    from operators.evaluation.attacks import Protocol, attack

    protocol = Protocol(numbered(who), SPLITS, seed)
    facts: dict[str, Any] = {"n": len(who), "people": protocol.people}

    def top1(vectors: NDArray) -> float:
        seen = Seen(np.zeros((len(who), 0, 0), np.uint8), vectors.astype(np.float32))
        rows = attack(protocol, seen, lambda _: seen, "features")
        return max(row["top1"] for row in rows if row["trained"])

    try:
        raw = top1(features)
    except ValueError:
        return facts
    return {
        **facts,
        "chance": round(1 / protocol.people, 4),
        "recognised_raw": raw,
        "recognised_projected": top1(project(features, matrix.astype(np.float64))),
    }


IDENTITY_PROJECTION = Fittable(
    name="identity_projection",
    summary="what tells people apart is taken out of the vectors that embed.protection keeps",
    source="Fisher's discriminants between people, cut out; Ledoit and Wolf 2004 for the scatter",
    reads=Reads.EMBEDDINGS,
    fit=fit,
)
