"""Learn which directions of a face's vector tell people apart, and leave them out."""

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf


def identity_projection(
    features: NDArray[np.float32], who: NDArray[np.int64], removed: int
) -> NDArray[np.float32]:
    """The map `(D, D)` after which the people's means are alike in `removed` directions.

    features: (N, D); who: (N,) from 0. Directions are those of Fisher's discriminants: where people
    differ most, measured by how much one person's faces differ (the within-person scatter, shrunk
    after Ledoit and Wolf 2004). In the space where that scatter is the same everywhere they are at
    right angles, and there they are cut out.

    Raises:
        ValueError: what `require_people` says.
    """
    require_people(who, removed, features.shape[1])
    counts = np.bincount(who)
    x = features.astype(np.float64)
    means = np.stack([x[who == person].mean(axis=0) for person in range(len(counts))])
    several = counts[who] > 1  # a lonely face says nothing of how its person varies
    within, _ = ledoit_wolf((x - means[who])[several], assume_centered=True)
    values, vectors = np.linalg.eigh(within)
    root = np.sqrt(np.maximum(values, 1e-12))
    between = (means - x.mean(axis=0)) * np.sqrt(counts)[:, None]
    _, _, directions = np.linalg.svd((between @ vectors) / root, full_matrices=False)
    cut = directions[:removed]
    keep = np.eye(len(values)) - cut.T @ cut
    return np.asarray((vectors * root) @ keep @ (vectors / root).T, np.float32)


def require_people(who: NDArray[np.int64], removed: int, width: int) -> None:
    """Raise `ValueError` where fewer than two people have two faces, or too much is to go."""
    people = int(who.max()) + 1
    if (np.bincount(who) > 1).sum() < 2:
        raise ValueError("what tells people apart is learnt from two people or more, twice each")
    if not 0 < removed < min(people, width):
        raise ValueError(
            f"{removed} dimensions cannot be removed: {people} people differ in "
            f"{min(people, width) - 1} of {width} at most"
        )
