"""Wall time from busy seconds and pools; finishing times and nights."""

import heapq
from datetime import datetime, time, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.finishing import (
    Arrival,
    Finish,
    Timing,
    Wall,
    finish,
    full_pool_factor,
    wall_time,
    warm_up,
)
from pipelines.forecast import STAGES, forecast
from pipelines.pools import Pools
from pipelines.sampling import Stratum
from schemas.config import Run
from tests.pipelines.test_forecast import KEYS, left, sampled, written

TIMING = Timing(start=10, probe=4, warm=6, factor=1.1, publish=8, part=2, end=1)
EVENING = datetime(2026, 3, 2, 20)


def pools(extract: int, embed: int = 1) -> Pools:
    return Pools(extract, 1.0, embed, 0, 1)


def wall(
    here: Pools, there: Pools, in_child: bool = False, cpus: float = 4, wave_segments: int = 1000
) -> Wall:
    """1,000 segments of 16 s, at 4 s of each stage and 1/4 s of resolve for each."""
    stratum = Stratum(KEYS[0], 1000, 16000.0, (0, 1))
    predicted = forecast(left([stratum]), sampled(written([16, 16], [16, 16])), False)
    run = Run(wave_segments=wave_segments)
    return wall_time(predicted, TIMING, there, here, cpus, run, in_child)


def test_the_slowest_stage_bounds() -> None:
    """Two extract actors share 2,000 s, and so do two that embed and score."""
    found = wall(pools(2), pools(2, 2))
    rest = 0.5 / 2 * 4  # half of what one of two actors takes for a segment's four seconds
    after = rest + 8 + 1 + 16000 / 64
    assert found.stages["extract"].value == pytest.approx(1100)
    assert found.stages["embed"].value == pytest.approx(1100)
    assert found.before_seconds == 20
    assert found.after_seconds == pytest.approx(after)
    assert found.seconds.value == pytest.approx(20 + 1100 + after)
    assert wall(pools(2), pools(1, 2)).stages["extract"].value == pytest.approx(2200)
    assert wall(pools(2), pools(2)).stages["embed"].value == pytest.approx(2200)


def test_each_wave_starts_its_actors_and_only_the_last_is_published_after_it() -> None:
    one, four = wall(pools(2), pools(2)), wall(pools(2), pools(2), wave_segments=250)
    rest = 0.5 / 2 * 4
    resolve = 16000 / 64
    between = 3 * (rest + TIMING.warm)
    assert four.after_seconds == pytest.approx(one.after_seconds - 3 / 4 * resolve)
    saved = 3 / 4 * resolve * (1 - 1 / 4)  # of 4 CPUs
    assert four.seconds.value == pytest.approx(one.seconds.value + between - saved)


def test_raw_crops_are_embedded_and_scored_by_who_decodes() -> None:
    assert set(wall(pools(4), pools(4), in_child=True).stages) == {"extract"}
    assert wall(pools(4), pools(4), True).stages["extract"].value == pytest.approx(1100)


def test_fewer_decoders_probe_longer_and_more_are_not_trusted_to_be_faster() -> None:
    assert wall(pools(4), pools(2)).before_seconds == 24
    assert wall(pools(4), pools(8)).before_seconds == 20


def simulated(actors: int, segments: int, slowdown: float, warm: float, late: float) -> list:
    """A flow whose actors come up one after the other, and that each take `slowdown` too long."""
    rng = np.random.default_rng(1)
    free = [warm + late * number for number in range(actors)]
    heapq.heapify(free)
    arrivals = []
    for busy in rng.uniform(2, 6, segments).tolist():
        done = heapq.heappop(free) + slowdown * busy
        heapq.heappush(free, done)
        costs = dict.fromkeys(STAGES, 0.0)
        arrivals.append(Arrival(done, {**costs, "extract": busy}))
    return sorted(arrivals, key=lambda arrival: arrival.seconds)


@pytest.mark.parametrize("actors", [1, 2, 8])
@pytest.mark.parametrize("slowdown", [1.0, 1.3])
def test_the_factor_is_seen_through_a_slow_start_and_an_empty_end(
    actors: int, slowdown: float
) -> None:
    arrivals = simulated(actors, 12 * actors, slowdown, warm=9, late=0.5)
    found = full_pool_factor(arrivals, pools(actors), False)
    assert found == pytest.approx(slowdown, rel=0.1)
    assert warm_up(arrivals) == pytest.approx(9, abs=2)


def test_a_sample_of_one_round_tells_no_factor() -> None:
    assert full_pool_factor(simulated(4, 8, 1.0, 5, 0), pools(4), False) is None
    assert full_pool_factor([], pools(4), False) is None


def test_without_an_end_it_is_done_when_it_is_done() -> None:
    assert finish(EVENING, 3600, 60, None) == Finish(EVENING + timedelta(hours=1), 1)


@given(st.floats(700, 10**6), st.floats(0, 600))
def test_nights_do_all_the_work_and_pay_each_start(wall_seconds: float, before: float) -> None:
    found = finish(EVENING, wall_seconds, before, time(6))
    assert found.at is not None
    assert found.nights is not None
    night = 10 * 3600
    work = wall_seconds - before
    assert (found.nights - 1) * (night - before) < work <= found.nights * (night - before)
    last = (found.at - EVENING - timedelta(days=found.nights - 1)).total_seconds()
    assert before < last <= night + 1e-3
    done = (found.nights - 1) * (night - before) + last - before
    assert done == pytest.approx(work, abs=1e-3)


def test_a_night_as_long_as_its_start_never_ends() -> None:
    assert finish(EVENING, 90000, 600, time(20, 10)) == Finish(None, None)
    assert finish(EVENING, 86400 - 600, 600, time(20)).nights == 1  # a whole day
