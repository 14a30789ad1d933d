"""One piece of work at a time in a thread, beside what its caller does meanwhile."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: How long an interrupted caller waits for a piece of work that can still come to its end.
LAST_SECONDS = 5.0


class Beside:
    """Starts a piece of work once the one before is done; what that raised is raised then.

    Its threads do not keep the process alive, as those of `concurrent.futures` do.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def failed(self) -> bool:
        """Whether the present piece of work has raised something, which `wait` will raise."""
        return self._error is not None

    def start(self, work: Callable[[], object]) -> None:
        """Begin `work`, after the one before."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def join(self, seconds: float | None = None) -> None:
        """Wait until the present piece of work is done, or so long."""
        if self._thread is not None:
            self._thread.join(seconds)

    def wait(self) -> None:
        """Until the present piece of work is done. Raises what it raised."""
        self.join()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self, work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - not lost: `wait` raises it
            self._error = error


@contextmanager
def beside() -> Iterator[Beside]:
    """Waits at its end for what was started; left by an exception, not long."""
    pieces = Beside()
    try:
        yield pieces
    except BaseException:
        pieces.join(LAST_SECONDS)
        raise
    pieces.wait()
