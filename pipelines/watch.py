"""`mien runs STORE --watch`: from any machine that reads the store, until no run is at work."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live as Screen
from rich.text import Text

from infra import live, runs
from infra.errors import UserError
from infra.live import News
from infra.runs import RunRecord, State
from infra.storage import Root
from infra.store import readable
from pipelines.live_view import line, panel
from pipelines.progress import clock

#: News this old is remarked on; a run this silent is taken for dead.
SILENT_SECONDS, DEAD_SECONDS = 30.0, 600.0


@dataclass
class Watched:
    """A run that is at work by its record, and what it said last."""

    record: RunRecord
    news: News | None
    silent_seconds: float

    @property
    def dead(self) -> bool:
        return self.silent_seconds > DEAD_SECONDS

    @property
    def silence(self) -> str | None:
        """What to make of how long nothing was heard; None while that is short."""
        if self.silent_seconds <= SILENT_SECONDS:
            return None
        ago = f"no news for {_ago(self.silent_seconds)}"
        if self.dead:
            return f"{ago}: its driver is gone; `mien score` with the same arguments goes on"
        return f"{ago}: is the driver alive?"


@dataclass
class Look:
    """What one refresh found: runs at work, and those that were and have ended."""

    at_work: list[Watched] = field(default_factory=list)
    ended: list[RunRecord] = field(default_factory=list)
    trouble: str | None = None

    @property
    def over(self) -> bool:
        return self.trouble is None and all(run.dead for run in self.at_work)


class Watcher:
    """Looks at a store again and again. Only what can have changed is read."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._records: dict[str, RunRecord] = {}
        self._heard: dict[str, tuple[News, float]] = {}
        self._last = Look()

    def look(self) -> Look:
        """How things are now. A store that stops answering is `trouble`, not an error."""
        try:
            self._last = self._look()
        except (OSError, UserError) as error:
            if not self._records:
                raise
            self._last = Look(self._last.at_work, [], f"the store does not answer: {error}")
        return self._last

    def _look(self) -> Look:
        before = {run_id for run_id, record in self._records.items() if _at_work(record)}
        told = live.told(self._root)
        if not self._records:
            self._records = {record.run_id: record for record in runs.list_runs(self._root)}
        for run_id in before | set(told):
            self._records[run_id] = runs.load(self._root, run_id)
        at_work = [
            self._watched(record, told.get(run_id))
            for run_id, record in sorted(self._records.items())
            if _at_work(record)
        ]
        now = {run.record.run_id for run in at_work}
        return Look(at_work, [self._records[run_id] for run_id in sorted(before - now)])

    def _watched(self, record: RunRecord, news: News | None) -> Watched:
        """Clocks may differ: news that changed under our eyes is new, whatever its time says."""
        if news is None:
            heard = self._heard.get(record.run_id)
            at = heard[0].at if heard else record.started
            return Watched(record, heard and heard[0], _since(at))
        heard, monotonic = self._heard.get(record.run_id), time.monotonic()
        if heard is None:
            self._heard[record.run_id] = news, monotonic - _since(news.at)
        elif heard[0].at != news.at:
            self._heard[record.run_id] = news, monotonic
        return Watched(record, news, monotonic - self._heard[record.run_id][1])


def watch(
    store: str,
    as_json: bool,
    pause: Callable[[], None],
    out: Console | None = None,
) -> None:
    """Show the runs at work until there is none left; Ctrl-C ends it, too.

    `pause` waits between two refreshes. Raises `StoreError` where there is no store.
    """
    watcher = Watcher(readable(store))
    console = out or Console()
    try:
        if as_json:
            _repeat(watcher, pause, _print_json)
        elif console.is_terminal:
            with Screen(console=console, auto_refresh=False) as screen:
                _repeat(watcher, pause, lambda look: screen.update(_screen(look), refresh=True))
        else:
            _repeat(watcher, pause, lambda look: _print_lines(look, console))
    except KeyboardInterrupt:
        return


def _repeat(watcher: Watcher, pause: Callable[[], None], show: Callable[[Look], None]) -> None:
    while True:
        look = watcher.look()
        show(look)
        if look.over:
            return
        pause()


def _print_json(look: Look) -> None:
    body: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(),
        "runs": [
            {
                "run_id": run.record.run_id,
                "state": str(run.record.state),
                "silent_seconds": round(run.silent_seconds, 1),
                "warning": run.silence,
                "news": run.news and run.news.model_dump(mode="json"),
            }
            for run in look.at_work
        ],
        "ended": [
            {"run_id": record.run_id, "state": str(record.state), "message": record.message}
            for record in look.ended
        ],
        "trouble": look.trouble,
    }
    sys.stdout.write(json.dumps(body) + "\n")
    sys.stdout.flush()


def _print_lines(look: Look, console: Console) -> None:
    at = f"{datetime.now():%H:%M:%S}"
    for text in _lines(look, lambda news: f": {line(news)}"):
        console.print(f"{at} {text}", soft_wrap=True, highlight=False, markup=False)


def _screen(look: Look) -> RenderableType:
    panels = [panel(run.news) for run in look.at_work if run.news]
    return Group(*(Text(text) for text in _lines(look, lambda news: "")), *panels)


def _lines(look: Look, about: Callable[[News], str]) -> list[str]:
    said = [look.trouble] if look.trouble else []
    for run in look.at_work:
        news = about(run.news) if run.news else ": nothing was said yet"
        warning = f"; {run.silence}" if run.silence else ""
        said.append(f"run {run.record.run_id}{news}{warning}")
    said += [f"run {record.run_id}: {_end(record)}" for record in look.ended]
    return said or ["no run is at work"]


def _end(record: RunRecord) -> str:
    if not record.message or record.message.startswith(record.state):
        return record.message or record.state
    return f"{record.state}: {record.message}"


def _at_work(record: RunRecord) -> bool:
    return record.state is State.RUNNING


def _since(moment: datetime) -> float:
    return max(0.0, (datetime.now(UTC) - moment).total_seconds())


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else clock(seconds)
