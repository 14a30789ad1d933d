"""The identity projection: whom it hides, whom it does not, what it leaves, what it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from operators.backbone import Backbone, load_backbone
from operators.methods.artifact import Artifact, ArtifactError, make_card
from operators.methods.identity_projection import IDENTITY_PROJECTION, fit, recognised
from operators.methods.projections import project, projection_of
from operators.methods.registry import FitData
from operators.training.checkpoint import Checkpoint
from operators.training.identity import identity_projection
from schemas.config import Fit

WIDTH = 16


def people(count: int, shots: int, seed: int = 0, shared: int = WIDTH) -> tuple[NDArray, NDArray]:
    """Vectors of unit length `(count * shots, 16)`, and whose each is.

    People differ in the first `shared` dimensions only; each one's faces differ in all.
    """
    rng = np.random.default_rng(seed)
    centers = np.zeros((count, WIDTH))
    centers[:, :shared] = rng.standard_normal((count, shared))
    faces = np.repeat(centers, shots, axis=0) + 0.1 * rng.standard_normal((count * shots, WIDTH))
    vectors = faces / np.linalg.norm(faces, axis=1, keepdims=True)
    return vectors.astype(np.float32), np.repeat(np.arange(count), shots)


def nothing(done: int, total: int, text: str) -> None:
    pass


def data(vectors: NDArray, names: list[str] | None) -> FitData:
    return FitData(len(vectors), "print", lambda: vectors, lambda: iter(()), people=names)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 8), st.integers(2, 6), st.integers(0, 99))
def test_those_whom_it_was_fitted_on_have_one_mean(count: int, shots: int, seed: int) -> None:
    """And it is a projection: twice is once; so many dimensions go, the others stay."""
    vectors, who = people(count, shots, seed)
    matrix = identity_projection(vectors, who, count - 1).astype(np.float64)
    np.testing.assert_allclose(matrix @ matrix, matrix, atol=1e-3)
    assert round(np.trace(matrix)) == WIDTH - (count - 1)
    after = vectors @ matrix.T
    means = np.stack([after[who == person].mean(axis=0) for person in range(count)])
    before = np.stack([vectors[who == person].mean(axis=0) for person in range(count)])
    assert np.ptp(means, axis=0).max() < 1e-3 * np.ptp(before, axis=0).max()


def test_people_are_hidden_whose_kind_of_difference_it_has_seen() -> None:
    """Strangers too, where all people differ in few directions; where in all, they are not."""
    for shared, hidden in ((3, True), (WIDTH, False)):
        vectors, who = people(24, 10, shared=shared)
        fitted = who < 12
        matrix = identity_projection(vectors[fitted], who[fitted], 3)
        found = recognised(vectors[~fitted], who[~fitted], matrix, 0)
        assert (found["people"], found["chance"]) == (12, round(1 / 12, 4))
        assert found["recognised_raw"] > 0.8
        assert (found["recognised_projected"] < 0.3) == hidden


def test_a_fit_measures_on_people_that_it_has_not_seen(tiny_backbone: Path) -> None:
    backbone = load_backbone(str(tiny_backbone))
    vectors, who = people(10, 6)
    names = [f"person {person}" for person in who]
    cfg = Fit.model_validate({"held_out": 0.3, "identity_projection": {"removed": 4}})
    artifact = fit(cfg, backbone, data(vectors, names), nothing, Checkpoint())
    card: Any = artifact.card
    assert (card["people"], card["removed"], card["trained_on"]) == (7, 4, 42)
    assert (card["held_out"]["people"], card["held_out"]["n"]) == (3, 18)
    assert card["held_out"]["chance"] == pytest.approx(1 / 3, abs=1e-3)
    assert 0 <= card["held_out"]["recognised_projected"] <= 1
    artifact.require(IDENTITY_PROJECTION.name, backbone)
    after = project(vectors, projection_of(artifact, backbone))
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), 1)


@pytest.mark.parametrize(
    ("names", "removed", "told"),
    [
        (None, "auto", "needs `subject`"),
        (["a"] * 12 + ["b"] * 12, "auto", "three people"),
        ([str(row) for row in range(24)], "auto", "twice each"),
        ([str(row // 6) for row in range(24)], 3, "3 people differ in 2 of 16 at most"),
    ],
)
def test_data_that_it_cannot_learn_from_are_refused(
    names: list[str] | None, removed: Any, told: str, tiny_backbone: Path
) -> None:
    cfg = Fit.model_validate({"identity_projection": {"removed": removed}})
    vectors, _ = people(4, 6)
    backbone = load_backbone(str(tiny_backbone))
    with pytest.raises(ValueError, match=told):
        fit(cfg, backbone, data(vectors, names), nothing, Checkpoint())


def test_a_projection_that_is_none_is_refused(tiny_backbone: Path) -> None:
    backbone: Backbone = load_backbone(str(tiny_backbone))
    card = make_card(IDENTITY_PROJECTION.name, backbone)
    width = backbone.embedding_dim
    good = np.eye(width, dtype=np.float32)
    assert projection_of(Artifact(card, {"projection": good}), backbone).shape == (width, width)
    for tensors in ({}, {"projection": good[:, 1:]}, {"projection": good * np.nan}):
        with pytest.raises(ArtifactError, match="projection"):
            projection_of(Artifact(card, tensors), backbone)
    other = {**card, "backbone": {**card["backbone"], "pixel_mean": [9.0, 9.0, 9.0]}}
    with pytest.raises(ArtifactError, match="normalises pixels"):
        projection_of(Artifact(other, {"projection": good}), backbone)
