"""Metrics: right on cases that can be counted by hand, intervals that cover what they should."""

import numpy as np
import pytest

from operators.evaluation.metrics import summarise
from operators.training.calibration import held_out

NAMES = ("a", "b", "c")


def certain(predicted: list[int]) -> np.ndarray:
    return np.eye(3)[predicted] * 0.7 + 0.1


def test_counts_by_hand() -> None:
    labels = np.array([0, 0, 0, 1])
    metrics = summarise(certain([0, 0, 1, 1]), labels, NAMES)
    assert metrics["confusion"] == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]  # rows are the true labels
    assert metrics["accuracy"] == metrics["war"] == 0.75
    assert metrics["uar"] == pytest.approx((2 / 3 + 1) / 2, abs=1e-4)  # c never occurs
    assert metrics["f1_macro"] == pytest.approx((0.8 + 2 / 3) / 2, abs=1e-4)
    assert metrics["ece"] == pytest.approx(0.05, abs=1e-4)  # all say 0.8, three of four are right
    rows = {row["label"]: row for row in metrics["per_class"]}
    assert (rows["a"]["recall"], rows["a"]["precision"]) == (0.6667, 1.0)
    assert (rows["b"]["n"], rows["b"]["precision"]) == (1, 0.5)
    assert rows["c"]["recall"] is None


def test_the_surest_80_percent_leave_the_least_sure_out() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.85, 0.15], [0.95, 0.05], [0.55, 0.45]])
    metrics = summarise(probabilities, np.array([0, 0, 0, 0, 1]), ("a", "b"))
    assert metrics["accuracy"] == 0.8
    assert metrics["accuracy_surest_80_percent"] == 1.0


def test_intervals_hold_the_estimate_and_follow_the_number_of_faces() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for count in (100, 10_000):
        labels = rng.integers(0, 3, count)
        predicted = np.where(rng.random(count) < 0.7, labels, (labels + 1) % 3)
        metrics = summarise(certain(predicted.tolist()), labels, NAMES)
        for key in ("accuracy", "war", "uar", "f1_macro"):
            low, high = metrics["ci95"][key]
            assert low < metrics[key] < high
        low, high = metrics["ci95"]["accuracy"]
        widths.append(high - low)
    assert widths[1] == pytest.approx(2 * 1.96 * (0.7 * 0.3 / 10_000) ** 0.5, rel=0.2)
    assert widths[0] == pytest.approx(10 * widths[1], rel=0.3)


def test_people_are_drawn_where_they_are_known() -> None:
    """Ten people, each always right or always wrong: the faces tell no more than the people."""
    labels = np.zeros(1000, int)
    predicted = np.repeat([0, 1] * 5, 100)
    people = [f"p{index // 100}" for index in range(1000)]
    alone = summarise(certain(predicted.tolist()), labels, NAMES)["ci95"]["accuracy"]
    grouped = summarise(certain(predicted.tolist()), labels, NAMES, people)["ci95"]["accuracy"]
    assert grouped[1] - grouped[0] > 5 * (alone[1] - alone[0])


def test_no_face_has_no_metrics() -> None:
    with pytest.raises(ValueError, match="0 faces"):
        summarise(np.zeros((0, 3)), np.zeros(0, int), NAMES)


def test_whole_people_are_held_out() -> None:
    people = [f"p{row // 10}" for row in range(100)]
    marks = held_out(100, people, 0.2, seed=0)
    kept = {person for person, mark in zip(people, marks, strict=True) if not mark}
    held = {person for person, mark in zip(people, marks, strict=True) if mark}
    assert not kept & held
    assert marks.sum() == 20
    assert held_out(100, None, 0.2, seed=0).sum() == 20
    assert 0 < held_out(100, ["one"] * 100, 0.2, seed=0).sum() < 100
    uneven = ["big"] * 90 + ["small"] * 10
    assert all(0 < held_out(100, uneven, 0.2, seed=seed).sum() < 100 for seed in range(8))
