"""A gentle stop: what is in flight is finished, and nothing more is begun.

The first signal asks for it; workers hear of it through a small Ray actor. A second signal, or the
end of the grace time, interrupts at once.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, time, timedelta
from typing import Any

import ray
from ray.exceptions import RayError

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
_ANSWER_SECONDS = 5.0
_POLL_SECONDS = 0.1


@ray.remote(num_cpus=0, max_restarts=-1)
class _Flag:
    """Where workers look."""

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        self._set = True

    def is_set(self) -> bool:
        return self._set


class Stop:
    """Whether this run was asked to stop, for the driver."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._grace_seconds: float | None = None  # None: outside `gentle`, a signal interrupts

    @property
    def asked(self) -> bool:
        return self._asked.is_set()

    def ask(self) -> None:
        """Ask for a gentle stop, as the first signal does."""
        self._asked.set()

    @contextlib.contextmanager
    def gentle(
        self, grace_seconds: float, say: Callable[[str], None]
    ) -> Iterator[Callable[[], bool]]:
        """Until the end of the block a first signal asks, and only a second one interrupts.

        Yields what workers call to hear of it; it pickles. `say` is told once.
        """
        flag: Any = _Flag.remote()
        over = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(flag, over, say), daemon=True)
        self._grace_seconds = grace_seconds
        watcher.start()
        try:
            yield Stopping(flag)
        finally:
            self._grace_seconds = None
            if self.asked:
                signal.setitimer(signal.ITIMER_REAL, 0)
            over.set()
            watcher.join()

    def _watch(self, flag: Any, over: threading.Event, say: Callable[[str], None]) -> None:
        while not self._asked.wait(_POLL_SECONDS):
            if over.is_set():
                return
        say("stopping: what is in flight is being finished; once more to stop at once")
        while not over.is_set():  # again and again: its node may have died and forgotten
            with contextlib.suppress(RayError):
                ray.get(flag.set.remote(), timeout=_ANSWER_SECONDS)
            over.wait(1.0)

    def on_signal(self, signum: int, frame: object) -> None:
        if self._grace_seconds is None or self.asked:
            raise KeyboardInterrupt
        signal.setitimer(signal.ITIMER_REAL, max(self._grace_seconds, 0.001))
        self.ask()


class Stopping:
    """Asked by a worker: whether the run is to stop."""

    def __init__(self, flag: Any) -> None:
        self._flag = flag

    def __call__(self) -> bool:
        try:
            return bool(ray.get(self._flag.is_set.remote(), timeout=_ANSWER_SECONDS))
        except RayError:  # out of reach just now: it costs a segment's time, nothing more
            return False


@contextlib.contextmanager
def stoppable(stop_at: time | None) -> Iterator[Stop]:
    """SIGTERM, Ctrl-C and the clock at `stop_at` stop the run: see `Stop`."""
    stop = Stop()
    before = {number: signal.signal(number, stop.on_signal) for number in _SIGNALS}
    if stop_at is not None:
        signal.setitimer(signal.ITIMER_REAL, seconds_until(stop_at, datetime.now()))
    try:
        yield stop
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number in _SIGNALS:
            signal.signal(number, before[number])


def seconds_until(moment: time, now: datetime) -> float:
    """From `now` to the next time that the clock shows `moment`; both local."""
    then = datetime.combine(now.date(), moment)
    return ((then - now) % timedelta(days=1)).total_seconds()
