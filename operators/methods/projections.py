"""Linear maps that artifacts hold, and how vectors go through them."""

import numpy as np
from numpy.typing import NDArray

from operators.backbone import Backbone
from operators.methods.artifact import Artifact, ArtifactError

PROJECTION = "projection"  # the tensor's name


def projection_of(artifact: Artifact, backbone: Backbone) -> NDArray[np.float64]:
    """The artifact's map `(E, D) float64` of a backbone's vectors.

    Raises:
        ArtifactError: there is none, it is of another width or not finite, or it was fitted on
            pixels that were normalised in another way.
    """
    found = artifact.tensors.get(PROJECTION)
    if found is None or found.ndim != 2 or found.shape[1] != backbone.embedding_dim:
        raise ArtifactError(f"the artifact holds no projection of {backbone.embedding_dim} columns")
    if not np.isfinite(found).all():
        raise ArtifactError("the artifact's projection holds values that are not finite")
    pixels = artifact.card["backbone"]
    if (pixels["pixel_mean"], pixels["pixel_std"]) != (list(backbone.mean), list(backbone.std)):
        raise ArtifactError(f"{backbone.name} normalises pixels in another way than at the fit")
    return found.astype(np.float64)


def project(vectors: NDArray, projection: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(N, D)` through `(E, D)`: `(N, E) float64` rows of unit length."""
    # einsum without BLAS: a row's sum must not depend on how many rows there are
    projected = np.einsum("nd,ed->ne", vectors.astype(np.float64), projection)
    norms = np.sqrt(np.square(projected).sum(axis=1, keepdims=True))
    return projected / np.maximum(norms, 1e-12)
