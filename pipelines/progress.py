"""Progress with an ETA: a live bar on a terminal, a plain line now and then elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

EVERY_SECONDS = 15.0


class _Live:
    """A bar that is drawn on a terminal only, and gone when its block ends."""

    def __init__(self, console: Console, what: str, total: float | None = None) -> None:
        self._console, self._what = console, what
        self._begin = self._said = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[line]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(what, total=total, line="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def _show(self, done: float, total: float, line: str, text: str) -> None:
        """Move the bar; where there is none, print `text` now and then."""
        self._bar.update(self._task, completed=done, total=total, line=line)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._said >= EVERY_SECONDS:
            self._said = now
            self._console.print(f"{self._what}{text}", soft_wrap=True)


class VideoProgress(_Live):
    """Counts seconds of video; the ETA follows from seconds of work a second of video."""

    def __init__(self, console: Console, total_seconds: float, segments: int, what: str) -> None:
        self._total = max(total_seconds, 1e-9)
        super().__init__(console, what, self._total)
        self._segments = segments
        self._done = 0.0
        self._faces = 0
        self._count = 0

    def count(self, seconds: float, faces: int) -> None:
        """One more segment of so many seconds of video is done."""
        self._done += seconds
        self._faces += faces
        self._count += 1
        line = self._line()
        self._show(self._done, self._total, line, f" {self._done / self._total:.0%}, {line}")

    def _line(self) -> str:
        spent = time.monotonic() - self._begin
        speed = self._done / max(spent, 1e-9)
        left = (self._total - self._done) / max(speed, 1e-9)
        return (
            f"{self._count}/{self._segments} segments, {self._faces} faces, "
            f"{speed:.1f} x real time, ETA {clock(left)}"
        )


def clock(seconds: float) -> str:
    """`1:02:03`, or `2:03` below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class StepProgress(_Live):
    """Progress of work that counts its own steps."""

    _last = 0

    def say(self, what: str) -> None:
        """Another part of the work begins."""
        self._what = what
        self._bar.update(self._task, description=what)

    def step(self, done: int, total: int, text: str) -> None:
        """`done` of `total` steps; a count that starts over starts the clock again."""
        now = time.monotonic()
        if done <= self._last:
            self._begin = now
        self._last = done
        left = (now - self._begin) / max(done, 1) * (total - done)
        line = f"{done}/{total} {text}, ETA {clock(left)}"
        self._show(done, total, line, f": {line}")
