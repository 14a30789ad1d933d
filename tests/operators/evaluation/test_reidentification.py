"""Re-identification: attackers find what is there, and nothing where nothing is."""

import numpy as np
import pytest
from numpy.typing import NDArray

from operators.evaluation.attackers import Attacker, Seen, attackers, register
from operators.evaluation.reidentification import (
    equal_error_rate,
    hits,
    interval_over_people,
    splits,
)

pytestmark = pytest.mark.slow  # seconds each, or many of them

PEOPLE, SHOTS = 6, 6
WHO = np.repeat(np.arange(PEOPLE), SHOTS)


def people(signal: float, seed: int = 0) -> Seen:
    """Six people, each a pattern of his own under noise."""
    rng = np.random.default_rng(seed)
    patterns = rng.normal(0, 40 * signal, (PEOPLE, 48, 48))
    faces = 128 + patterns[WHO] + rng.normal(0, 20, (len(WHO), 48, 48))
    pixels = np.clip(faces, 0, 255).astype(np.uint8)
    features = pixels.reshape(len(WHO), -1)[:, ::40].astype(np.float32)
    features -= 128
    return Seen(pixels, features / np.linalg.norm(features, axis=1, keepdims=True))


@pytest.mark.parametrize("attacker", attackers(), ids=lambda entry: entry.name)
def test_an_attacker_finds_people_only_where_they_differ(
    attacker: Attacker,
) -> None:
    known, probes = next(splits(WHO, 1, 3, 0))

    def top1(seen: Seen) -> float:
        scores = attacker.attack(seen[known], WHO[known], seen[probes], PEOPLE, 0)
        return float(hits(scores, WHO[probes], 1).mean())

    assert top1(people(1.0)) > 0.9
    assert top1(people(0.0)) < 0.6
    grey = np.full((len(WHO), 48, 48), 127, np.uint8)
    same = Seen(grey, np.full((len(WHO), 8), 0.35, np.float32))
    assert top1(same) == pytest.approx(1 / PEOPLE, abs=1e-6)


@pytest.mark.parametrize(
    "attacker", [one for one in attackers() if one.name != "small CNN"], ids=lambda one: one.name
)
def test_where_there_are_few_pictures_rounding_decides_nothing(attacker: Attacker) -> None:
    """Everybody is one of three pictures: in what order the known faces come says nothing."""
    rng = np.random.default_rng(1)
    pictures = people(1.0)[np.array([0, 8, 16])]
    shown = rng.integers(0, 3, len(WHO))
    known, probes = next(splits(WHO, 1, 3, 0))
    found = []
    for _ in range(4):
        order = rng.permutation(known)
        own = pictures[shown[order]]
        scores = attacker.attack(own, WHO[order], pictures[shown[probes]], PEOPLE, 0)
        found.append(hits(scores, WHO[probes], 1))
    np.testing.assert_allclose(found, found[:1] * 4, atol=1e-9)


def test_splits_know_and_ask_different_faces_of_everybody() -> None:
    for known, probes in splits(WHO, 5, 3, 0):
        assert not set(known) & set(probes)
        for rows in (known, probes):
            assert np.bincount(WHO[rows]).tolist() == [3] * PEOPLE


def test_one_face_a_person_is_refused() -> None:
    with pytest.raises(ValueError, match="2 of 3 people have one face only"):
        next(splits(np.array([0, 0, 1, 2]), 1, 5, 0))


def test_equal_scores_share_the_hit() -> None:
    scores = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 2.0]])
    np.testing.assert_allclose(hits(scores, np.array([0, 1, 0]), 1), [0.5, 1 / 3, 0])
    np.testing.assert_allclose(hits(scores, np.array([0, 1, 0]), 2), [1, 2 / 3, 0])


@pytest.mark.parametrize(("sure", "rate"), [(True, 0.0), (False, 0.5)])
def test_equal_error_rate_of_a_sure_and_of_a_blind_verifier(sure: bool, rate: float) -> None:
    scores: NDArray = np.eye(PEOPLE)[WHO] if sure else np.zeros((len(WHO), PEOPLE))
    assert equal_error_rate(scores, WHO) == pytest.approx(rate, abs=1e-9)


def test_intervals_draw_people_not_faces() -> None:
    """Half of the people are always found: the interval is that of six draws, not of 36."""
    hit = (WHO % 2).astype(float)
    low, high = interval_over_people(hit, WHO)
    assert low < 0.2
    assert high > 0.8


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ValueError, match="registered already"):
        register(attackers()[0])
