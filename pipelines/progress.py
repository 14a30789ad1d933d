"""Progress with an ETA: a live bar on a terminal, a plain line now and then elsewhere."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

EVERY_SECONDS = 15.0


class VideoProgress:
    """Counts seconds of video; the ETA follows from seconds of work a second of video."""

    def __init__(self, console: Console, total_seconds: float, segments: int) -> None:
        self._console = console
        self._total = max(total_seconds, 1e-9)
        self._segments = segments
        self._done = 0.0
        self._faces = 0
        self._count = 0
        self._begin = self._said = time.monotonic()
        self._bar = Progress(
            TextColumn("scoring"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[line]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("scoring", total=self._total, line="")

    def __enter__(self) -> "VideoProgress":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def add(self, seconds: float, faces: int) -> None:
        """One more segment is written."""
        self._done += seconds
        self._faces += faces
        self._count += 1
        line = self._line()
        self._bar.update(self._task, completed=self._done, line=line)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._said >= EVERY_SECONDS:
            self._said = now
            self._console.print(f"scoring {self._done / self._total:.0%}, {line}", soft_wrap=True)

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
