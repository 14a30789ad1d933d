"""One piece of work at a time in a thread, beside what its caller does meanwhile."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

#: How long an interrupted caller waits for a piece of work that can still come to its end.
LAST_SECONDS = 5.0


class Beside:
    """Starts a piece of work once the one before is done; what that raised is raised then.

    Left by an exception, it does not wait long: the thread does not keep the process alive.
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

    def wait(self) -> None:
        """Until the present piece of work is done. Raises what it raised."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self, work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again by `wait`
            self._error = error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.wait()
        elif self._thread is not None:
            self._thread.join(LAST_SECONDS)
