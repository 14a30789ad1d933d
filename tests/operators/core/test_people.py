"""Detection, cuts and linking together, on two portraits: who is in which track."""

import itertools
from collections.abc import Callable
from fractions import Fraction

import cv2
import numpy as np
import pytest

from operators.core.cuts import is_cut
from operators.core.decode import Pixels, probe, samples
from operators.core.detect import FaceDetector
from operators.core.frames import THUMB_HW
from operators.core.link import link
from tests.videos import paste, portraits

#: Where the middle of each portrait's face lies, in fractions of the portrait's height.
FACE_AT = ((0.48, 0.40), (0.445, 0.39))
HEIGHT = 150
Path = Callable[[float], tuple[float, float]]


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector(long_side_px=320)


def followed(detector: FaceDetector, paths: list[Path], fps: float, seconds: float):
    """Persons by track: each found face counts as the person whose true place is nearest."""
    times = np.arange(round(fps * seconds)) / fps
    boxes, scores, persons, thumbs = [], [], [], []
    for t in times:
        image = np.full((180, 320, 3), 127, np.uint8)
        for which, path in enumerate(paths):
            image = paste(image, portraits()[which], *path(t), HEIGHT)
        found = detector([image])[0]
        middles = (found.xyxy_px[:, :2] + found.xyxy_px[:, 2:]) / 2
        places = np.array(
            [np.add(p(t), np.multiply(a, HEIGHT)) for p, a in zip(paths, FACE_AT, strict=True)]
        )
        # Pasted later, the second portrait covers the first where both meet.
        apart = np.linalg.norm(middles[:, None] - places, axis=2) - [0, 2]
        persons.append(apart.argmin(axis=1))
        boxes.append(found.xyxy_px)
        scores.append(found.scores)
        luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        thumbs.append(np.asarray(cv2.resize(luma, THUMB_HW[::-1], interpolation=cv2.INTER_AREA)))
    cuts = [False, *(is_cut(a, b) for a, b in itertools.pairwise(thumbs))]
    tracks: dict[int, set[int]] = {}
    labels = link(times, boxes, scores, cuts)
    for of_sample, who in zip(labels, persons, strict=True):
        for label, person in zip(of_sample, who, strict=True):
            tracks.setdefault(int(label), set()).add(int(person))
    return tracks, labels


def test_two_people_side_by_side_are_two_tracks(detector):
    paths: list[Path] = [lambda t: (10 + 10 * t, 10), lambda t: (170 - 10 * t, 20)]
    tracks, labels = followed(detector, paths, 8, 2)
    assert tracks == {0: {0}, 1: {1}}
    assert all(len(x) == 2 for x in labels)


@pytest.mark.parametrize("fps", [8, 24])
def test_two_people_who_cross_are_never_merged(detector, fps):
    paths: list[Path] = [lambda t: (-10 + 95 * t, 15), lambda t: (185 - 95 * t, 15)]
    tracks, labels = followed(detector, paths, fps, 2)
    assert all(len(people) == 1 for people in tracks.values())
    assert set(labels[0]) == set(labels[-1]) == {0, 1}


def test_real_footage_of_one_person_is_one_face_a_frame_and_one_track(detector, shared_media):
    with (shared_media / "WolfgangLanger_Pexels.mp4").open("rb") as file:
        info = probe(file)
        pixels = Pixels(info.rotation_degrees)
        sampled = samples(file, info, 0, 99, Fraction(8), Fraction(4))
        seen = [
            (s.pts_seconds, s.cut, detector([pixels.rgb_fit(s.frame, 320, 180)])[0])
            for s in sampled
        ]
    times, cuts, found = zip(*seen, strict=True)
    assert [len(f) for f in found] == [1] * 158
    labels = link(times, [f.xyxy_px for f in found], [f.scores for f in found], cuts)
    assert {int(x) for of_sample in labels for x in of_sample} == {0}
