"""News of a run for people: a panel on a terminal, one line elsewhere."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live as Screen
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from infra.live import ClusterUse, News, StageNews
from pipelines.progress import EVERY_SECONDS, clock

_BAR_WIDTH = 40
_REFRESHES_A_SECOND = 2


class Shown:
    """What a run says, on the driver's terminal for the length of the block."""

    def __init__(self, console: Console, now: Callable[[], News]) -> None:
        self._console, self._now = console, now
        self._said = time.monotonic()
        self._screen: Screen | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._screen = Screen(
                get_renderable=lambda: panel(self._now()),
                console=self._console,
                refresh_per_second=_REFRESHES_A_SECOND,
                transient=True,
            )
            self._screen.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._screen is not None:
            self._screen.stop()

    def step(self) -> None:
        """Something came: where there is no terminal, say so now and then."""
        now = time.monotonic()
        if self._screen is None and now - self._said >= EVERY_SECONDS:
            self._said = now
            self._console.print(line(self._now()), soft_wrap=True, highlight=False)


def line(news: News) -> str:
    """One line: how far, how fast, what is lost, when it ends."""
    parts = [f"{_doing(news)} {_share(news):.0%}", *_totals(news)]
    parts += [
        f"{name} {stage.rows_per_second:,.1f} {stage.unit}/s"
        for name, stage in news.stages.items()
        if stage.rows
    ]
    parts += _trouble(news)
    return ", ".join(parts)


def panel(news: News) -> RenderableType:
    """Everything that is known, for a terminal."""
    spent = clock((news.at - news.since).total_seconds())
    bar = Table.grid(padding=(0, 1))
    done = ProgressBar(total=1.0, completed=_share(news), width=_BAR_WIDTH)
    bar.add_row(f"{_doing(news)}, {spent}", done, f"{_share(news):.0%}")
    lines = [", ".join(_totals(news)), ", ".join(_trouble(news)), _cluster(news.cluster)]
    return Group(bar, *(Text(text) for text in lines if text), _stages(news))


def _doing(news: News) -> str:
    return news.phase if news.wave is None else f"{news.phase} wave {news.wave}"


def _share(news: News) -> float:
    return min(1.0, news.seconds / news.planned_seconds) if news.planned_seconds else 1.0


def _totals(news: News) -> list[str]:
    eta = "unknown" if news.eta_seconds is None else clock(news.eta_seconds)
    return [
        f"{news.written}/{news.planned_segments} segments",
        f"{clock(news.seconds)} of {clock(news.planned_seconds)} of video",
        f"{news.faces:,} faces",
        f"{news.times_real_time:.1f} x real time",
        f"ETA {eta}",
    ]


def _trouble(news: News) -> list[str]:
    said = []
    if news.quarantined:
        reasons = ", ".join(f"{name} {count}" for name, count in sorted(news.quarantined.items()))
        said.append(f"quarantined {sum(news.quarantined.values())} ({reasons})")
    if news.retried:
        said.append(f"{news.retried} segments tried again")
    if news.cluster and news.cluster.worker_restarts:
        said.append(f"{news.cluster.worker_restarts} workers restarted")
    return said


def _cluster(use: ClusterUse | None) -> str:
    if use is None:
        return ""
    parts = [f"CPUs {use.cpus_in_use:g} of {use.cpus:g} taken"]
    if use.gpus:
        parts.append(f"GPUs {use.gpus_in_use:g} of {use.gpus:g} taken")
    store, capacity = use.object_store_bytes >> 20, use.object_store_capacity_bytes >> 20
    parts.append(f"object store {store:,} of {capacity:,} MiB, {use.spilled_bytes >> 20:,} spilled")
    return ", ".join(parts)


def _stages(news: News) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("stage")
    for name in ("done", "rows/s", "workers busy", "segments waiting", "in flight"):
        table.add_column(name, justify="right")
    for name, stage in news.stages.items():
        table.add_row(name, *_row(stage))
    return table


def _row(stage: StageNews) -> tuple[str, ...]:
    return (
        f"{stage.rows:,} {stage.unit}",
        f"{stage.rows_per_second:,.1f}",
        "" if stage.busy_workers is None else f"{stage.busy_workers:.1f}",
        "" if stage.queued is None else f"{stage.queued:,}",
        "" if stage.in_flight is None else f"{stage.in_flight:,}",
    )
