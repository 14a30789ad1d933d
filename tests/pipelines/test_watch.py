"""`mien runs STORE --watch`, as another machine sees a run."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from infra import live, runs
from infra.live import News
from infra.runs import RunRecord, State
from infra.storage import Root
from infra.store import Store
from pipelines.cli import app
from pipelines.watch import Watcher, watch

RUN_ID = "20260101T000000000Z-aaaaaa"


@pytest.fixture
def root(tmp_path: Path) -> Root:
    root = Store.open(str(tmp_path / "store"), create=True).root
    Path(root.url, "key").unlink()  # a reader needs none
    return root


def record(root: Root, state: State = State.RUNNING, **changes) -> RunRecord:
    values = {"run_id": RUN_ID, "state": state, "started": datetime.now(UTC), **changes}
    runs.save(root, made := RunRecord(**values))
    return made


def say(root: Root, run_id: str = RUN_ID, ago_seconds: float = 0, **changes) -> None:
    at = datetime.now(UTC) - timedelta(seconds=ago_seconds)
    live.put(root, News(run_id=run_id, at=at, since=at, planned_seconds=60, **changes))


def watched(root: Root, *options: str) -> str:
    result = CliRunner().invoke(app, ["runs", root.url, "--watch", "--every", "0.1", *options])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_without_a_run_at_work_it_ends_at_once(root: Root) -> None:
    record(root, State.PUBLISHED)
    assert "no run is at work" in watched(root)
    assert json.loads(watched(root, "--json"))["runs"] == []


def driver(*steps: Callable[[], object]) -> Callable[[], None]:
    """A run that takes its next step while the watcher waits."""
    left = iter(steps)
    return lambda: (next(left)(), None)[1]


def test_it_follows_a_run_to_its_end(root: Root, capsys: pytest.CaptureFixture[str]) -> None:
    record(root)
    say(root, seconds=30, planned_segments=4, segments={"ok": 2}, quarantined={"truncated": 1})

    def end() -> None:
        record(root, State.PUBLISHED, message="published")
        live.discard(root, [RUN_ID])

    watch(root.url, True, driver(lambda: say(root, seconds=60, segments={"ok": 4}), end))
    first, second, last = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert first["runs"][0]["news"]["segments"] == {"ok": 2}
    assert second["runs"][0]["news"]["seconds"] == 60
    assert last["runs"] == []
    assert last["ended"] == [{"run_id": RUN_ID, "state": "published", "message": "published"}]


def test_where_there_is_no_terminal_a_refresh_is_a_plain_line(root: Root) -> None:
    record(root)
    say(root, seconds=15, planned_segments=4, segments={"ok": 1})
    out = io.StringIO()
    end = driver(lambda: record(root, State.INTERRUPTED, message="stopped; 3 left"))
    watch(root.url, False, end, Console(file=out))
    first, last = out.getvalue().splitlines()
    assert f"run {RUN_ID}: scoring 25%, 1/4 segments" in first
    assert last.endswith(f"run {RUN_ID}: interrupted: stopped; 3 left")
    assert "\x1b" not in out.getvalue()


def test_on_a_terminal_a_refresh_replaces_the_one_before(root: Root) -> None:
    record(root)
    say(root, seconds=15)
    out = io.StringIO()
    end = driver(lambda: record(root, State.PUBLISHED))
    watch(root.url, False, end, Console(file=out, force_terminal=True, width=100))
    assert "workers busy" in out.getvalue()
    assert "\x1b[2K" in out.getvalue()
    assert out.getvalue().splitlines()[-2].endswith(f"run {RUN_ID}: published")


@pytest.mark.parametrize(
    ("ago_seconds", "warning", "over"),
    [
        (5, None, False),
        (95, "no news for 95 s: is the driver alive?", False),
        (3725, "no news for 1:02:05: its driver is gone", True),
    ],
)
def test_silence_is_told_and_a_dead_run_is_not_waited_for(
    root: Root, ago_seconds: float, warning: str | None, over: bool
) -> None:
    record(root)
    say(root, ago_seconds=ago_seconds)
    look = Watcher(root).look()
    [run] = look.at_work
    assert look.over is over
    assert run.silence == warning or (warning and str(run.silence).startswith(warning))


def test_news_that_change_are_new_whatever_the_clocks_say(root: Root) -> None:
    record(root)
    say(root, ago_seconds=95)
    watcher = Watcher(root)
    assert watcher.look().at_work[0].silence
    say(root, ago_seconds=90)
    assert watcher.look().at_work[0].silence is None


def test_a_run_that_is_gone_on_with_is_seen(root: Root) -> None:
    record(root, State.INTERRUPTED)
    other = record(root, run_id="20260102T000000000Z-bbbbbb")
    say(root, other.run_id)
    watcher = Watcher(root)
    assert [run.record.run_id for run in watcher.look().at_work] == [other.run_id]
    record(root)
    say(root)
    assert [run.record.run_id for run in watcher.look().at_work] == [RUN_ID, other.run_id]


def test_a_store_that_stops_answering_is_asked_again(root: Root) -> None:
    record(root)
    say(root, seconds=15)
    watcher = Watcher(root)
    watcher.look()
    folder = Path(root.url, "runs")
    folder.rename(folder.with_name("away"))
    folder.write_text("no folder")
    look = watcher.look()
    assert look.trouble
    assert not look.over
    assert look.at_work[0].news.seconds == 15
    folder.unlink()
    folder.with_name("away").rename(folder)
    assert watcher.look().trouble is None


def test_ctrl_c_ends_the_watching_plainly(root: Root) -> None:
    record(root)
    say(root)
    out = io.StringIO()

    def interrupted() -> None:
        raise KeyboardInterrupt

    watch(root.url, False, interrupted, Console(file=out))
    assert len(out.getvalue().splitlines()) == 1


def test_no_store_is_an_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["runs", str(tmp_path / "none"), "--watch"])
    assert "is no store" in str(result.exception)
