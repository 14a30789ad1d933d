"""What the driver says of its run: counted from WRITTEN rows, kept where others can read it."""

import io
import itertools
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from infra import live as store_news
from infra.live import ClusterUse, News, Point
from infra.runs import RunRecord
from infra.store import Store
from pipelines import live
from pipelines.live import MOST_POINTS, Curve, Live, Tally
from pipelines.live_view import line, panel
from pipelines.planned import FULL, Plan, Video
from schemas.flow import WRITTEN
from schemas.reasons import DEFERRED
from tests.rows import staged_rows, store_tables

FACES = 40  # of a video of 5 s: two segments of equal length
RUN_ID = "20260101T000000000Z-aaaaaa"
FLOW = (("extract", (0, 2)), ("embed", (1, 1)), ("write", (0, 1)))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def plan_of(videos: int) -> Plan:
    """Videos of two segments each, and one that cannot be read."""
    rows = [{**row, "reason": None} for row in store_tables(videos, FACES)["videos"].to_pylist()]
    cut = rows[0]["duration_seconds"] / 2
    broken = {**rows[0], "video_id": "b", "reason": "no_video", "duration_seconds": None}
    return Plan([Video(row, FULL, ["zero_shot"], cut) for row in (*rows, broken)])


def written(videos: int, seed: int = 0) -> pa.Table:
    return staged_rows(videos, FACES, seed=seed).select(WRITTEN.names).cast(WRITTEN)


def with_value(rows: pa.Table, name: str, values: list) -> pa.Table:
    at = rows.schema.get_field_index(name)
    return rows.set_column(at, rows.schema.field(at), pa.array(values, rows.schema.field(at).type))


def test_rates_look_back_a_minute_and_the_eta_follows_the_speed() -> None:
    clock, rows = Clock(), written(4)
    tally = Tally(RUN_ID, plan_of(4), clock)
    span = rows["end_seconds"][0].as_py() - rows["start_seconds"][0].as_py()
    first = tally.news()
    assert (first.planned_segments, first.written, first.eta_seconds) == (8, 0, None)
    assert first.planned_seconds == pytest.approx(8 * span)
    for index in range(4):
        clock.now += 30
        tally.add(rows.slice(index, 1))
    news = tally.news()
    frames = rows["frames_sampled"].to_pylist()
    busy = rows["extract_seconds"].to_pylist()
    assert news.segments == {"ok": 4}
    assert news.seconds == pytest.approx(4 * span)
    assert news.times_real_time == pytest.approx(4 * span / 120)
    assert news.eta_seconds == pytest.approx(120)
    assert news.stages["extract"].rows == sum(frames[:4])
    assert news.stages["extract"].rows_per_second == pytest.approx(sum(frames[2:4]) / 60)
    assert news.stages["extract"].busy_workers == pytest.approx(sum(busy[2:4]) / 60)
    assert news.stages["write"].rows_per_second == pytest.approx(2 / 60)
    clock.now += 45
    assert tally.news().stages["write"].rows_per_second == pytest.approx(1 / 60)
    clock.now += 3600
    stuck = tally.news()
    assert stuck.stages["write"].rows_per_second == 0
    assert stuck.eta_seconds is None


def test_many_small_batches_are_kept_as_few_samples() -> None:
    clock, rows = Clock(), written(1)
    tally = Tally(RUN_ID, plan_of(1), clock)
    for _ in range(7_000):
        clock.now += 0.1
        tally.add(rows.slice(0, 1))
    assert len(tally._samples) < live.ETA_SECONDS + 5
    assert tally.news().stages["write"].rows_per_second == pytest.approx(10, rel=0.02)


def test_what_an_earlier_driver_wrote_is_done_and_says_nothing_of_the_speed() -> None:
    clock, rows = Clock(), written(2)
    tally = Tally(RUN_ID, plan_of(2), clock)
    clock.now += 10
    tally.add(rows.slice(2, 1))
    tally.add(rows.slice(0, 2), earlier=True)
    news = tally.news()
    assert news.written == 3
    assert news.stages["write"].rows_per_second == pytest.approx(0.1)
    assert news.eta_seconds == pytest.approx(10)


def test_reasons_are_counted_deferred_rows_are_not_and_retries_are() -> None:
    tally, rows = Tally(RUN_ID, plan_of(2)), written(2)
    rows = with_value(rows, "status", ["ok", "partial", "quarantined", DEFERRED])
    rows = with_value(rows, "reason", [None, "truncated", "signal", "stopping"])
    tally.begin(rows)
    tally.add(rows)
    assert tally.news().retried == 0
    tally.begin(rows.slice(1, 2))
    tally.begin(written(1, seed=1))  # the next wave
    news = tally.news()
    assert news.segments == {"ok": 1, "partial": 1, "quarantined": 1}
    assert news.quarantined == {"no_video": 1, "truncated": 1, "signal": 1}
    assert news.retried == 2


def test_what_is_not_begun_waits_for_the_first_stage() -> None:
    tally = Tally(RUN_ID, plan_of(4))
    tally.add(written(1))
    stages = tally.news(FLOW).stages
    assert (stages["extract"].queued, stages["extract"].in_flight) == (8 - 2 - 5, 2)
    assert (stages["embed"].queued, stages["embed"].in_flight) == (1, 1)
    assert stages["anonymize"].queued is None  # in the same process as extract


def test_a_curve_of_any_length_is_bounded_and_covers_the_run() -> None:
    begin, curve = datetime(2026, 1, 1, tzinfo=UTC), Curve()
    for second in range(0, 12 * 3600, 5):
        curve.add(Point(begin + timedelta(seconds=second), {}))
        assert len(curve.points) <= MOST_POINTS
    times = [(point.at - begin).total_seconds() for point in curve.points]
    assert times[0] == 0
    assert times[-1] > 11.5 * 3600
    steps = {round(after - before) for before, after in itertools.pairwise(times)}
    assert max(steps) <= 2 * min(steps)
    assert len(times) > MOST_POINTS / 2 - 1


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "EVERY_SECONDS", 0.05)


def started(store: Store) -> Live:
    record = RunRecord(run_id=RUN_ID, started=datetime.now(UTC))
    return Live(store, record, plan_of(2), ("extract", "embed", "write"))


def wait_for(root_news, want) -> News:
    deadline = time.monotonic() + 20
    while not (news := root_news().get(RUN_ID)) or not want(news):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return news


@pytest.mark.usefixtures("quick")
def test_the_stores_file_follows_the_run_and_goes_with_it(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"), create=True)
    store_news.put(store.root, News(run_id="killed", at=datetime.now(UTC), since=datetime.now(UTC)))
    with started(store) as run:
        assert wait_for(lambda: store_news.told(store.root), lambda news: True).written == 0
        run.wave = 2
        run.add(written(2))
        told = wait_for(lambda: store_news.told(store.root), lambda news: news.written == 4)
        assert (told.wave, told.phase) == (2, "scoring")
        assert [*store_news.told(store.root)] == [RUN_ID]
        points = run.points()
    assert store_news.told(store.root) == {}
    assert points[-1].values["faces"] == told.faces > 0
    everything = (tmp_path / "store" / "runs").glob("*")
    assert [path.name for path in everything] == []


@pytest.mark.usefixtures("quick")
def test_a_store_that_takes_no_file_costs_the_run_nothing(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"), create=True)
    (tmp_path / "store" / "runs").write_text("in the way")
    begun = time.monotonic()
    with started(store) as run:
        time.sleep(0.2)
        assert run._thread.is_alive()
        (tmp_path / "store" / "runs").unlink()
        wait_for(lambda: store_news.told(store.root), lambda news: True)  # tried again later
    assert not run._thread.is_alive()
    assert time.monotonic() - begun < 5


def test_a_line_and_a_panel_say_everything() -> None:
    clock = Clock()
    tally = Tally(RUN_ID, plan_of(4), clock)
    tally.wave = 7
    clock.now += 60
    tally.begin(written(2))
    tally.add(written(2))
    tally.begin(written(1))
    use = ClusterUse(
        cpus=4, cpus_in_use=3.5, gpus=2, gpus_in_use=1, spilled_bytes=3 << 20, worker_restarts=5
    )
    news = tally.news(FLOW).model_copy(update={"cluster": use})
    out = io.StringIO()
    Console(file=out, width=120).print(panel(news))
    shown = out.getvalue()
    for text in ("wave 7", "4/8 segments", "x real time", "ETA 1:00", "quarantined 1 (no_video 1)"):
        assert text in shown
        assert text in line(news)
    assert "2 segments tried again, 5 workers restarted" in shown
    assert "CPUs 3.5 of 4 taken, GPUs 1 of 2 taken" in shown
    assert "3 spilled" in shown
    rows = {words[0]: words[1:] for text in shown.splitlines() if (words := text.split())}
    assert rows["embed"][-2:] == ["1", "1"]
    assert rows["write"] == ["4", "segments", "0.1", "0", "1"]
