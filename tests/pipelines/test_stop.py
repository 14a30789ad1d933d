"""When a run stops by the clock."""

from datetime import datetime, time

from infra.stopping import seconds_until


def test_the_next_time_the_clock_shows_it() -> None:
    evening = datetime(2026, 1, 1, 22, 30)
    assert seconds_until(time(23, 0), evening) == 30 * 60
    assert seconds_until(time(6, 0), evening) == 7.5 * 3600
    assert seconds_until(time(22, 29), evening) == 24 * 3600 - 60
