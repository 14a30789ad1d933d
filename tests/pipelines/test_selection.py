"""What the options of `mien erase` mean."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.errors import ConfigurationError
from pipelines.selection import Selector, moment

VIDEO = "a" * 24
BEGAN = datetime(2026, 5, 3, 14, tzinfo=UTC)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "say what to erase"),
        ({"from_seconds": 1}, "say what to erase"),
        ({"videos": ["lobby"]}, "is no id"),
        ({"tracks": [VIDEO]}, "is no id"),
        ({"tracks": [f"{VIDEO}-t{0:015d}-00"], "until_seconds": 3}, "a whole track"),
        ({"videos": [VIDEO], "from_seconds": 5, "until_seconds": 5}, "must lie before"),
        ({"videos": [VIDEO], "from_seconds": -1}, "from 0 on"),
        ({"recorded_from": BEGAN, "recorded_until": BEGAN}, "must lie before"),
        ({"recorded_from": BEGAN, "from_seconds": 5}, "give a span"),
    ],
)
def test_what_nobody_can_mean_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Selector(**options).check()


@pytest.mark.parametrize(
    ("begin", "end", "span"),
    [
        (None, None, None),
        (0, 10, None),
        (0, 9, (0, 9)),
        (5, None, (5, 11)),
        (5, 99, (5, 99)),
        (20, None, (20, 21)),  # beyond what the length says: nothing, and what may lie there
    ],
)
def test_a_span_that_covers_all_is_the_whole_video(
    begin: float | None, end: float | None, span: tuple[float, float] | None
) -> None:
    row = {"duration_seconds": 10.0, "recorded_at": None}
    wanted = Selector(videos=[VIDEO], from_seconds=begin, until_seconds=end)
    assert wanted.span(row) == span


def test_times_of_recording_choose_the_part_that_was_filmed_then() -> None:
    row = {"duration_seconds": 3600.0, "recorded_at": BEGAN}
    later = Selector(recorded_from=BEGAN + timedelta(minutes=30))
    assert later.span(row) == (1800.0, 3601.0)
    day = Selector(recorded_from=BEGAN, recorded_until=BEGAN + timedelta(days=1))
    assert day.span(row) is None


def test_a_moment_without_a_zone_is_utc() -> None:
    assert moment("2026-05-03T14:00") == BEGAN
    assert moment("2026-05-03T16:00+02:00") == BEGAN
    with pytest.raises(ConfigurationError, match="write a time as"):
        moment("yesterday")
