"""Memory and CPU time of a process and everything that it started."""

import threading
import time
from abc import ABC, abstractmethod

import psutil


class _Watched(ABC):
    """Looks at a process tree every so often, from a thread, for the length of a `with` block.

    What Ray starts is below the driver, so the raylet, actors and their children are all in.
    """

    def __init__(self, every_seconds: float, pid: int | None = None) -> None:
        self._every = every_seconds
        self._root = psutil.Process(pid)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(self._every):
            try:
                tree = [self._root, *self._root.children(recursive=True)]
            except psutil.Error:
                return  # it ended
            self.look(tree)

    @abstractmethod
    def look(self, tree: list[psutil.Process]) -> None:
        """Take in what the tree is now."""


class PeakPss(_Watched):
    """`peak_mib`: the largest sum of proportional set sizes (shared pages counted once)."""

    def __init__(self, every_seconds: float = 1.0) -> None:
        super().__init__(every_seconds)
        self.peak_mib = 0.0

    def look(self, tree: list[psutil.Process]) -> None:
        self.peak_mib = max(self.peak_mib, sum(_pss(process) for process in tree) / 2**20)


class CpuSeconds(_Watched):
    """`total`: CPU seconds of all processes that were seen; each may miss its last moment.

    `history`: the total as it grew, with the system's monotonic clock.
    """

    def __init__(self, pid: int, every_seconds: float = 0.1) -> None:
        super().__init__(every_seconds, pid)
        self._seen: dict[tuple[int, float], float] = {}
        self.history: list[tuple[float, float]] = []

    @property
    def total(self) -> float:
        return sum(self._seen.values())

    def look(self, tree: list[psutil.Process]) -> None:
        for process in tree:
            try:
                times = process.cpu_times()
                self._seen[process.pid, process.create_time()] = times.user + times.system
            except psutil.Error:
                continue  # it ended in between
        self.history.append((time.monotonic(), self.total))


def _pss(process: psutil.Process) -> int:
    try:
        return process.memory_full_info().pss
    except psutil.Error:
        return 0  # it ended in between
