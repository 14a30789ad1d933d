"""Estimators and intervals: exact where they can be, covering where they cannot."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.forecast import STAGES, Estimate, Forecast, Left, Resamples, Sampled, forecast
from pipelines.sampling import AGES, Stratum, draw
from schemas.flow import WRITTEN
from schemas.tables import TABLES

KEYS = [("h264", "up to 480 px", age) for age in AGES]
BYTES = dict.fromkeys(TABLES, (1000.0, 10.0))


def written(spans: list[float], faces: list[float], **changes: Any) -> pa.Table:
    rows = [
        {
            "segment_id": str(index),
            "video_id": "v",
            "start_seconds": 0.0,
            "end_seconds": span,
            "frames_sampled": round(4 * span),
            "faces_found": int(count),
            "faces_dropped": 0,
            "cuts": 0,
            "seconds_read": span,
            "decoder": "pyav",
            "device": "cpu",
            "status": "ok",
            "reason": None,
            **{f"{stage}_seconds": span / 16 for stage in STAGES},
            **{name: values[index] for name, values in changes.items()},
        }
        for index, (span, count) in enumerate(zip(spans, faces, strict=True))
    ]
    return pa.Table.from_pylist(rows, WRITTEN)


def left(strata: list[Stratum], **changes: Any) -> Left:
    seconds = np.array([stratum.seconds for stratum in strata])
    values: dict[str, Any] = {
        "videos": 3,
        "unreadable_videos": 0,
        "usual_seconds": 0.0,
        "published_segments": sum(s.segments for s in strata),
        "strata": tuple(strata),
        "published_seconds": seconds,
        "method_seconds": seconds,
    }
    return Left(**{**values, **changes})


def sampled(rows: pa.Table, tracks: list[float] | None = None) -> Sampled:
    spans = np.array(rows["end_seconds"].to_pylist())
    return Sampled(rows, np.array(tracks or spans / 4), spans * 100, spans / 64, BYTES)


def predict(strata: list[Stratum], rows: pa.Table, **changes: Any) -> Forecast:
    return forecast(left(strata, **changes), sampled(rows), embeds_on_gpu=False)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(2, 50), st.lists(st.integers(1, 60), min_size=2, max_size=2)),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 8),
)
def test_an_archive_of_one_rate_is_predicted_exactly(
    shape: list[tuple[int, list[int]]], faces_a_second: int
) -> None:
    strata, spans = [], []
    for number, (count, drawn) in enumerate(shape):
        seconds = float(count * 30)
        strata.append(Stratum(KEYS[number % 3], count, seconds, (0, 1)))
        spans += [float(span) for span in drawn]
    total = sum(s.seconds for s in strata)
    found = predict(strata, written(spans, [faces_a_second * span for span in spans]))
    for estimate, value in (
        (found.faces, faces_a_second * total),
        (found.rows["scores"], faces_a_second * total),
        (found.rows["tracks"], total / 4),
        (found.staging_bytes, total * 100),
        (found.busy_seconds["extract"], total / 16),
        (found.cpu_hours, total * (4 / 16 + 1 / 64) / 3600),
        (found.gpu_hours, 0),
        (found.lost_share, 0),
    ):
        assert estimate.value == pytest.approx(value)
        assert estimate.low == pytest.approx(value)
        if value:  # of nothing, nobody knows whether it is nowhere else either
            assert estimate.high == pytest.approx(value)
    assert found.rows["videos"] == Estimate.exactly(3)
    assert found.video_hours == pytest.approx(total / 3600)


def test_totals_are_the_sums_of_their_strata_and_parts() -> None:
    rng = np.random.default_rng(0)
    spans, faces = rng.uniform(1, 60, 9).tolist(), rng.integers(0, 99, 9).tolist()
    strata = [Stratum(KEYS[n], 40 + n, 900.0 + n, tuple(range(3))) for n in range(3)]
    whole = predict(strata, written(spans, faces))
    parts = [
        predict([stratum], written(spans[3 * n : 3 * n + 3], faces[3 * n : 3 * n + 3]))
        for n, stratum in enumerate(strata)
    ]
    assert whole.faces.value == pytest.approx(sum(part.faces.value for part in parts))
    assert whole.video_hours == pytest.approx(sum(part.video_hours for part in parts))
    assert whole.segments == sum(part.segments for part in parts)
    for stage in STAGES:
        alone = sum(part.busy_seconds[stage].value for part in parts)
        assert whole.busy_seconds[stage].value == pytest.approx(alone)


def test_faces_that_are_published_already_give_new_scores_only() -> None:
    strata = [Stratum(KEYS[0], 10, 100.0, (0, 1))]
    found = predict(
        strata,
        written([10, 10], [20, 20]),
        published_seconds=np.array([25.0]),
        method_seconds=np.array([300.0]),
        published_segments=3,
    )
    assert found.faces.value == 200
    assert found.rows["faces"].value == 50
    assert found.rows["scores"].value == 600
    assert found.rows["segments"] == Estimate.exactly(3)
    few = found.published_bytes.value
    rows = {name: estimate.value for name, estimate in found.rows.items()}
    assert few == pytest.approx(sum(1000 + 10 * (count - 1) for count in rows.values()))


def test_what_is_broken_is_counted_as_the_run_will_count_it() -> None:
    """A span read to its half, one that was not read, a good one, and a video without segments."""
    strata = [Stratum(KEYS[0], 8, 80.0, (0, 1, 2, 3))]
    rows = written(
        [10, 10, 10, 10],
        [0, 0, 0, 0],
        seconds_read=[5.0, 0.0, 10.0, 9.9],
        reason=["truncated", "corrupt", None, None],
    )
    found = predict(strata, rows, unreadable_videos=2, usual_seconds=10.0)
    assert found.lost_share.value == pytest.approx((80 * 15 / 40 + 20) / 100)
    assert found.lost_share.low is not None
    assert 0 < found.lost_share.low < found.lost_share.value


def test_a_whole_archive_is_counted_exactly_but_its_time_is_not() -> None:
    strata = [Stratum(KEYS[0], 4, 40.0, (0, 1, 2, 3))]
    costs = [1.0, 2.0, 1.5, 1.2]
    found = predict(strata, written([10] * 4, [3, 9, 0, 1], extract_seconds=costs))
    assert found.faces == Estimate.exactly(13)
    busy = found.busy_seconds["extract"]
    assert busy.value == pytest.approx(sum(costs))
    assert busy.low is not None
    assert busy.high is not None
    assert busy.low < busy.value < busy.high


def test_one_segment_tells_no_spread() -> None:
    found = predict([Stratum(KEYS[0], 9, 90.0, (0,))], written([10], [7]))
    assert found.faces.value == pytest.approx(63)
    assert (found.faces.low, found.faces.high) == (None, None)


def test_what_no_sampled_segment_had_may_still_be_there() -> None:
    found = predict([Stratum(KEYS[0], 9, 90.0, (0, 1, 2))], written([10] * 3, [0] * 3))
    assert found.faces == Estimate(0, 0, None)
    assert found.gpu_hours == Estimate.exactly(0)
    whole = predict([Stratum(KEYS[0], 3, 30.0, (0, 1, 2))], written([10] * 3, [0] * 3))
    assert whole.faces == Estimate.exactly(0)


def test_few_segments_are_said_to_be_few() -> None:
    """Equal spread in the sample, wider interval from fewer of it."""
    widths = []
    for count in (2, 4, 16):
        stratum = Stratum(KEYS[0], 1000, 10000.0, tuple(range(count)))
        draws = Resamples([stratum], np.full(count, 10.0))
        values = np.tile([5.0, 15.0], count // 2)
        found = draws.interval(draws.totals(values, np.array([10000.0])))
        assert found.low is not None
        assert found.high is not None
        widths.append(found.high - found.low)
    assert widths[0] > widths[1] > widths[2] > 0


def test_the_same_seed_gives_the_same_interval() -> None:
    strata = [Stratum(KEYS[0], 9, 90.0, (0, 1, 2))]
    rows = written([10, 10, 10], [1, 5, 7])
    assert predict(strata, rows).faces == predict(strata, rows).faces


@pytest.mark.parametrize(("wanted", "skew"), [(6, 0.3), (12, 0.5), (40, 0.5)])
def test_intervals_cover_what_is_there(wanted: int, skew: float) -> None:
    """Nine of ten draws from an archive of two kinds tell a range that holds the truth."""
    rng = np.random.default_rng(5)
    kind = rng.integers(0, 2, 600)
    spans = rng.choice([60.0, 60.0, 17.0], 600)
    cost = spans * (1 + 4 * kind) * rng.lognormal(0, skew, 600)
    names = [KEYS[number] for number in kind]
    held = []
    for seed in range(200):
        strata = draw(names, spans, wanted, seed)
        chosen = np.array([index for stratum in strata for index in stratum.drawn])
        draws = Resamples(strata, spans[chosen], seed)
        total = draws.totals(cost[chosen], np.array([s.seconds for s in strata]))
        found = draws.interval(total)
        assert found.low is not None
        assert found.high is not None
        held.append(found.low <= cost.sum() <= found.high)
    assert 0.82 <= np.mean(held) <= 0.98
