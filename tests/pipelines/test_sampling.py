"""The draw: who is in which stratum, how many of each, and always the same ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sampling import AGES, ANY, UNKNOWN, Key, Traits, draw, keys

KEYS = [(codec, size, AGES[0]) for codec in ("h264", "vp9") for size in ("up to 480 px", "other")]

archives = st.lists(
    st.tuples(st.sampled_from(KEYS), st.floats(1, 60)), min_size=1, max_size=200
).map(lambda rows: ([key for key, _ in rows], np.array([seconds for _, seconds in rows])))


def test_videos_are_told_apart_by_codec_size_and_age() -> None:
    videos = [Traits("h264", px, float(at)) for at, px in enumerate((480, 481, 720, 1080, 1081, 9))]
    videos.append(Traits("vp9", 1080, None))
    found = keys(videos)
    assert [size for _, size, _ in found] == [
        "up to 480 px",
        "up to 720 px",
        "up to 720 px",
        "up to 1080 px",
        "above 1080 px",
        "up to 480 px",
        "up to 1080 px",
    ]
    assert [age for _, _, age in found] == [AGES[n] for n in (0, 0, 1, 1, 2, 2)] + [UNKNOWN]
    assert found[-1][0] == "vp9"


def test_videos_of_one_age_share_a_third() -> None:
    assert len(set(keys([Traits("h264", 480, 7.0)] * 9))) == 1


@given(archives, st.integers(1, 250), st.integers(0, 5))
def test_strata_hold_every_segment_once_and_draw_from_their_own(
    archive: tuple[list[Key], np.ndarray], wanted: int, seed: int
) -> None:
    names, seconds = archive
    strata = draw(names, seconds, wanted, seed)
    assert sum(s.segments for s in strata) == len(names)
    assert sum(s.seconds for s in strata) == pytest.approx(seconds.sum())
    drawn = [index for s in strata for index in s.drawn]
    assert len(set(drawn)) == len(drawn)
    for stratum in strata:
        assert min(2, stratum.segments) <= len(stratum.drawn) <= stratum.segments
        for index in stratum.drawn:
            merged = zip(stratum.key, names[index], strict=True)
            assert all(part in (ANY, own) for part, own in merged)


@given(archives, st.integers(10, 100))
def test_each_stratum_is_drawn_by_its_share_of_the_seconds(
    archive: tuple[list[Key], np.ndarray], wanted: int
) -> None:
    names, seconds = archive
    strata = draw(names, seconds, wanted, 0)
    if wanted >= len(names):
        assert all(len(s.drawn) == s.segments for s in strata)
        return
    for stratum in strata:
        share = wanted * stratum.seconds / seconds.sum()
        assert len(stratum.drawn) <= max(2, share + 0.5)
        if ANY not in stratum.key:
            assert len(stratum.drawn) >= min(stratum.segments, share - 0.5)


def test_no_segment_is_likelier_than_another() -> None:
    times = np.zeros(20)
    for seed in range(2000):
        (stratum,) = draw([KEYS[0]] * 20, np.ones(20), 5, seed)
        times[list(stratum.drawn)] += 1
    assert np.all(np.abs(times / 2000 - 0.25) < 0.05)  # five standard deviations


def test_a_seed_draws_the_same_and_another_draws_others() -> None:
    names, seconds = [KEYS[0], KEYS[1]] * 500, np.ones(1000)
    assert draw(names, seconds, 50, 1) == draw(names, seconds, 50, 1)
    assert draw(names, seconds, 50, 1) != draw(names, seconds, 50, 2)


def test_small_strata_are_put_together_age_first() -> None:
    big, small = [("h264", "up to 480 px", age) for age in AGES[:2]]
    other = ("vp9", "up to 480 px", AGES[0])
    names = [big] * 90 + [small] * 4 + [("h264", "up to 480 px", AGES[2])] * 4 + [other] * 2
    found = {s.key: (s.segments, len(s.drawn)) for s in draw(names, np.ones(100), 30, 0)}
    assert found == {
        big: (90, 27),
        ("h264", "up to 480 px", ANY): (8, 2),
        (ANY, ANY, ANY): (2, 2),
    }
