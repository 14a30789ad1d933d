"""Peak memory of a process and everything that it started."""

import threading

import psutil


class PeakPss:
    """Samples the proportional set size (shared pages counted once) of this process's tree.

    Use as a context manager; `peak_mib` is the largest sum seen. What Ray starts is below the
    driver, so the object store, the raylet, actors and their children are all in.
    """

    def __init__(self, every_seconds: float = 1.0) -> None:
        self._every = every_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak_mib = 0.0

    def __enter__(self) -> "PeakPss":
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(self._every):
            total = sum(_pss(process) for process in [me, *me.children(recursive=True)])
            self.peak_mib = max(self.peak_mib, total / 2**20)


def _pss(process: psutil.Process) -> int:
    try:
        return process.memory_full_info().pss
    except psutil.Error:
        return 0  # it ended in between
