"""Linking: what may be one track, and what must never be."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from operators.core.detect import suppress
from operators.core.link import link

SIZE = 100.0


def box(x: float, y: float, size: float = SIZE) -> list[float]:
    return [x - size / 2, y - size / 2, x + size / 2, y + size / 2]


def track_sets(labels, persons) -> dict[int, set[int]]:
    """Who is in each track."""
    sets: dict[int, set[int]] = {}
    for of_sample, who in zip(labels, persons, strict=True):
        for label, person in zip(of_sample, who, strict=True):
            sets.setdefault(int(label), set()).add(int(person))
    return sets


def filmed(paths, fps: float, seconds: float, front: int = 0, hide: bool = True, noise: float = 0):
    """Times, boxes, scores and persons, as a detector with suppression would see the paths."""
    rng = np.random.default_rng(5)
    times = np.arange(round(fps * seconds)) / fps
    boxes, scores, persons = [], [], []
    for t in times:
        found = np.array([box(*(p(t) + rng.normal(0, noise, 2))) for p in paths], np.float32)
        score = np.array([0.9 if i == front else 0.8 for i in range(len(paths))], np.float32)
        kept = suppress(found, score) if hide else np.arange(len(paths))
        boxes.append(found[kept])
        scores.append(score[kept])
        persons.append(kept)
    return times, boxes, scores, persons


def linked(times, boxes, scores=None, cuts=None, **options):
    scores = [np.full(len(b), 0.9) for b in boxes] if scores is None else scores
    return link(times, boxes, scores, [False] * len(times) if cuts is None else cuts, **options)


def test_two_still_faces_cheek_to_cheek_stay_two_tracks():
    film = filmed([lambda t: (100, 200), lambda t: (165, 200)], 24, 3, noise=2)
    assert track_sets(linked(*film[:3]), film[3]) == {0: {0}, 1: {1}}


@pytest.mark.parametrize("fps", [8, 24, 30])
@pytest.mark.parametrize("speed", [50, 100, 200, 400])
@pytest.mark.parametrize("front", [0, 1])
def test_crossing_faces_are_never_merged(fps, speed, front):
    meet = 100 + speed * 1.5
    paths = [
        lambda t: (100 + speed * t, 200),
        lambda t: (2 * meet - 100 - speed * t, 200),
    ]
    film = filmed(paths, fps, 3, front=front, noise=1)
    tracks = track_sets(linked(*film[:3]), film[3])
    assert all(len(persons) == 1 for persons in tracks.values())
    assert len(tracks) <= 5
    if speed >= 100:  # fast enough that motion tells who is who: the two go on
        labels = linked(*film[:3])
        assert set(labels[0]) == set(labels[-1])


@pytest.mark.parametrize("fps", [8, 24])
@pytest.mark.parametrize("nearest", [4, 10, 20, 40])
def test_faces_that_meet_and_turn_back_are_never_merged(fps, nearest):
    def swing(t):
        return nearest + 80 * (1 + np.cos(2 * np.pi * t / 3))

    film = filmed([lambda t: (300 - swing(t), 200), lambda t: (300 + swing(t), 200)], fps, 3)
    tracks = track_sets(linked(*film[:3]), film[3])
    assert all(len(persons) == 1 for persons in tracks.values())


def test_faces_that_pass_at_different_heights_stay_two_tracks():
    paths = [lambda t: (100 + 150 * t, 200), lambda t: (550 - 150 * t, 275)]
    film = filmed(paths, 8, 3, noise=2)
    assert track_sets(linked(*film[:3]), film[3]) == {0: {0}, 1: {1}}


def test_a_cut_ends_every_track():
    times = np.arange(10) / 8
    boxes = [np.array([box(100, 100), box(300, 100)])] * 10
    cuts = [i == 5 for i in range(10)]
    labels = linked(times, boxes, cuts=cuts)
    assert {tuple(x) for x in labels[:5]} == {(0, 1)}
    assert {tuple(x) for x in labels[5:]} == {(2, 3)}


@pytest.mark.parametrize(("missing", "tracks"), [(7, 1), (8, 2)])
def test_a_gap_of_up_to_a_second_is_bridged_and_no_longer_one(missing, tracks):
    times = np.arange(20) / 8
    face = np.array([box(100, 100)])
    boxes = [face if not 5 <= i < 5 + missing else np.zeros((0, 4)) for i in range(20)]
    labels = linked(times, boxes)
    assert len({int(x) for found in labels for x in found}) == tracks


def test_another_person_elsewhere_does_not_inherit_a_track_over_a_gap():
    times = np.arange(8) / 8
    boxes = [np.array([box(100, 100)])] * 4 + [np.array([box(320, 100)])] * 4
    assert len({int(x) for found in linked(times, boxes) for x in found}) == 2


def test_a_face_of_another_size_at_the_same_place_is_another_track():
    times = np.arange(8) / 8
    boxes = [np.array([box(100, 100)])] * 4 + [np.array([box(100, 100, 45)])] * 4
    assert len({int(x) for found in linked(times, boxes) for x in found}) == 2


def test_a_flickering_second_box_on_one_face_does_not_steal_its_track():
    times = np.arange(24) / 24
    face, double = box(100, 100), box(145, 100)
    boxes = [np.array([face, double] if i % 3 == 1 else [face]) for i in range(24)]
    scores = [np.array([0.9, 0.5])[: len(b)] for b in boxes]
    labels = linked(times, boxes, scores)
    assert {int(found[0]) for found in labels} == {0}


@pytest.mark.parametrize("better", [0, 1])
def test_of_two_boxes_as_likely_by_place_the_better_detection_goes_on(better):
    boxes = [np.array([box(100, 100)])] * 3 + [np.array([box(70, 100), box(130, 100)])]
    scores = [np.array([0.9])] * 3 + [np.array([0.6, 0.6])]
    scores[3][better] = 0.9
    labels = linked(np.arange(4) / 8, boxes, scores)
    assert labels[3][better] == 0


def test_a_fast_head_keeps_its_track_at_eight_samples_a_second():
    film = filmed([lambda t: (200 + 120 * np.sin(3 * t), 200)], 8, 5, noise=3)
    assert track_sets(linked(*film[:3]), film[3]) == {0: {0}}


def test_bad_arguments_are_refused():
    face = [np.array([box(1, 1)])] * 2
    with pytest.raises(ValueError, match="as long as each other"):
        link([0.0], face, [np.ones(1)] * 2, [False] * 2)
    with pytest.raises(ValueError, match="rise"):
        linked([0.0, 0.0], face)


@st.composite
def scenes(draw):
    """A few wandering faces that come and go; integer boxes, so that arithmetic is exact."""
    samples = draw(st.integers(1, 12))
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    faces = draw(st.integers(1, 4))
    at = rng.integers(0, 400, (faces, 2))
    speed = rng.integers(-25, 26, (faces, 2))
    boxes, cuts = [], []
    for i in range(samples):
        present = rng.random(faces) < 0.8
        centers = (at + i * speed)[present]
        boxes.append(np.concatenate([centers - 32, centers + 32], axis=1).astype(np.float64))
        cuts.append(bool(rng.random() < 0.1))
    times = np.cumsum(rng.integers(1, 6, samples)) / 8
    scores = [rng.integers(50, 100, len(b)) / 128 for b in boxes]
    return times, boxes, scores, cuts


@settings(max_examples=60, deadline=None)
@given(scenes(), st.randoms(use_true_random=False))
def test_the_order_of_boxes_permutes_the_labels_and_nothing_else(scene, random):
    times, boxes, scores, cuts = scene
    assume(all(len(np.unique(b, axis=0)) == len(b) for b in boxes))
    orders = [random.sample(range(len(b)), len(b)) for b in boxes]
    labels = link(times, boxes, scores, cuts)
    shuffled = link(
        times,
        [b[o] for b, o in zip(boxes, orders, strict=True)],
        [s[o] for s, o in zip(scores, orders, strict=True)],
        cuts,
    )
    for plain, mixed, order in zip(labels, shuffled, orders, strict=True):
        assert plain[order].tolist() == mixed.tolist()


@settings(max_examples=40, deadline=None)
@given(scenes(), st.sampled_from([0.25, 0.5, 2, 8]), st.integers(-512, 512))
def test_labels_do_not_depend_on_the_frames_scale_or_origin(scene, scale, shift):
    times, boxes, scores, cuts = scene
    labels = link(times, boxes, scores, cuts)
    moved = link(times, [b * scale + shift for b in boxes], scores, cuts)
    assert [x.tolist() for x in labels] == [x.tolist() for x in moved]


@settings(max_examples=60, deadline=None)
@given(scenes())
def test_a_track_has_one_box_a_sample_spans_no_cut_and_no_long_gap(scene):
    times, boxes, scores, cuts = scene
    labels = link(times, boxes, scores, cuts)
    last: dict[int, int] = {}
    first_seen: list[int] = []
    for i, of_sample in enumerate(labels):
        assert len(of_sample) == len(boxes[i])
        assert len(set(of_sample.tolist())) == len(of_sample)
        for label in of_sample.tolist():
            if label in last:
                assert times[i] - times[last[label]] <= 1 + 1e-9
                assert not any(cuts[last[label] + 1 : i + 1])
            else:
                first_seen.append(label)
            last[label] = i
    assert sorted(first_seen) == list(range(len(first_seen)))


def test_what_lies_further_back_than_the_longest_gap_changes_nothing():
    rng = np.random.default_rng(0)
    early = [np.array([box(*rng.uniform(95, 105, 2))]) for _ in range(20)]
    late = [np.array([box(100 + 3 * i, 100), box(400, 100 + 2 * i)]) for i in range(20)]
    times = np.concatenate([np.arange(20) / 8, 10 + np.arange(20) / 8])
    alone = linked(times[20:], late)
    labels = linked(times, early + late)
    before, after = labels[:20], labels[20:]
    offset = after[0].min()
    assert offset > max(int(x.max()) for x in before)
    assert [(x - offset).tolist() for x in after] == [x.tolist() for x in alone]
