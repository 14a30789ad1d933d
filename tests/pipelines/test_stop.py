"""When and how a run stops."""

import os
import signal
import time as clock
from collections.abc import Callable
from datetime import datetime, time

import pytest
import ray

from infra.stopping import Stop, seconds_until, stoppable
from pipelines.work import left_over


def test_the_next_time_the_clock_shows_it() -> None:
    evening = datetime(2026, 1, 1, 22, 30)
    assert seconds_until(time(23, 0), evening) == 30 * 60
    assert seconds_until(time(6, 0), evening) == 7.5 * 3600
    assert seconds_until(time(22, 29), evening) == 24 * 3600 - 60


def test_a_run_that_is_cut_short_says_why() -> None:
    assert str(left_over("stopped", 2, 9)).startswith("stopped; 2 of 9 segments are left")


def signalled(number: int) -> None:
    """Get a signal, and give it time to interrupt."""
    os.kill(os.getpid(), number)
    clock.sleep(5)


def test_outside_of_gentle_work_a_signal_interrupts() -> None:
    with pytest.raises(KeyboardInterrupt), stoppable(None):
        signalled(signal.SIGTERM)


@ray.remote
def asked(stopping: Callable[[], bool], seconds: float) -> bool:
    """Whether a worker hears of a stop within some seconds."""
    until = clock.monotonic() + seconds
    while clock.monotonic() < until:
        if stopping():
            return True
        clock.sleep(0.1)
    return False


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGALRM])
def test_a_first_signal_asks_workers_and_a_second_interrupts(number: signal.Signals) -> None:
    said: list[str] = []
    with stoppable(None) as stop, stop.gentle(60, said.append) as stopping:
        assert not ray.get(asked.remote(stopping, 0.3))
        os.kill(os.getpid(), number)
        assert stop.asked
        assert ray.get(asked.remote(stopping, 20))
        assert len(said) == 1
        with pytest.raises(KeyboardInterrupt):
            signalled(number)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_the_end_of_the_grace_time_interrupts() -> None:
    with stoppable(None) as stop, stop.gentle(0.5, lambda text: None):
        os.kill(os.getpid(), signal.SIGTERM)
        begin = clock.monotonic()
        with pytest.raises(KeyboardInterrupt):
            clock.sleep(20)
        assert clock.monotonic() - begin < 10


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_stop_of_one_pass_is_not_forgotten_by_the_next_and_none_is_invented() -> None:
    stop = Stop()
    with stop.gentle(5, lambda text: None):
        pass
    assert not stop.asked
    stop.ask()
    with stop.gentle(5, lambda text: None) as stopping:
        assert ray.get(asked.remote(stopping, 20))
