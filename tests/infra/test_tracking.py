import json
import os
import socket
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from infra.live import Point
from infra.mlflow_eraser import erase_logged
from infra.runs import RunRecord, Stage, State, Wave, new_run_id
from infra.storage import Root
from infra.tracking import Tracker
from schemas.config import Tracking
from tests.mlflow_server import mlflow_server

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def record(**changes) -> RunRecord:
    values = {
        "run_id": new_run_id(NOW),
        "state": State.PUBLISHED,
        "started": NOW,
        "ended": NOW + timedelta(seconds=5),
        "config_yaml": "source: /archive/private.mp4\nstore: /s\nplan:\n  segment_seconds: 60\n",
        "audit_head": "7:" + "a" * 64,
        "hashes": {"extract": "e" * 64},
        "versions": {"ray": "2"},
        "counts": {"faces": 3, "decoder: odd/name": 1},
        "stages": {"extract": Stage(rows=10, wall_seconds=2, rows_per_second=5)},
    }
    return RunRecord(**{**values, **changes})


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        yield listener.getsockname()[1]


def rows(root: Root, sql: str) -> list[tuple]:
    with sqlite3.connect(Path(root.url, "mlflow.db")) as con:
        return con.execute(sql).fetchall()


@pytest.mark.slow
def test_a_server_out_of_reach_costs_a_warning_and_the_next_call_sends_all(
    tmp_path: Path, closed_port: int
) -> None:
    root = Root(str(tmp_path / "my store"))
    lost, kept = record(), record(run_id=new_run_id(NOW + timedelta(days=1)))
    away = Tracker(Tracking(uri=f"http://me:secret@127.0.0.1:{closed_port}"), root)
    warning = away.log_run(lost, {})
    assert warning is not None
    assert "out of reach" in warning
    assert "secret" not in warning
    assert [rel for rel, _ in root.list("runs")] == [f"runs/{lost.run_id}.mlflow.json"]

    here = Tracker(Tracking(), root)
    here.warm()
    curve = [
        Point(NOW + timedelta(seconds=30 * step), {"faces": step, "embed_rows_per_second": 0.5})
        for step in range(500)
    ]
    assert here.log_run(kept, {"report/report.html": b"<html>"}, curve) is None
    assert root.list("runs") == []
    assert {name for (name,) in rows(root, "select name from runs")} == {lost.run_id, kept.run_id}
    assert here.log_run(kept.model_copy(update={"state": State.FAILED}), {}) is None
    assert rows(root, f"select status from runs where name = '{kept.run_id}'") == [("FAILED",)]

    params = dict(rows(root, "select key, value from params"))
    assert params == {"plan.segment_seconds": "60"}
    metrics = dict(rows(root, "select key, value from latest_metrics"))
    tags = rows(root, "select distinct value from tags where key = 'mien.audit_head'")
    assert tags == [("7:" + "a" * 64,)]
    assert metrics["count.faces"] == 3
    assert metrics["stage.extract.rows_per_second"] == 5
    assert metrics["wall_seconds"] == 5
    faces = rows(
        root, "select step, timestamp, value from metrics where key = 'live/faces' order by step"
    )
    begin = int(NOW.timestamp() * 1000)
    assert faces == [(30 * step, begin + 30_000 * step, step) for step in range(500)]
    assert metrics["live/embed_rows_per_second"] == 0.5
    files = {path.name: path for path in Path(root.url, "mlflow-artifacts").rglob("*.*")}
    assert set(files) == {"config.yaml", "audit.json", "report.html"}
    everything = b"".join(path.read_bytes() for path in Path(root.url).rglob("*") if path.is_file())
    assert b"private.mp4" not in everything


@pytest.mark.slow
def test_a_real_server_has_one_run_with_its_waves_as_steps(tmp_path: Path) -> None:
    stage = Stage(rows=4, wall_seconds=2, rows_per_second=2)
    waves = tuple(
        Wave(
            number=number,
            ended=NOW + timedelta(minutes=number),
            wall_seconds=10.0 * number,
            counts={"faces": 100 * number},
            stages={"embed": stage},
            published=True,
        )
        for number in (1, 2)
    )
    sent = record(waves=waves)
    with mlflow_server(tmp_path) as url:
        tracker = Tracker(Tracking(uri=url), Root(str(tmp_path / "store")))
        tracker.warm()
        erased = b"0123456789ab"
        pages = {"report/report.html": b"<html>", "report/named.html": erased}
        assert tracker.log_run(sent, pages) is None
        assert tracker.log_run(sent, {}) is None  # again: still one run

        def ask(method: str, call: str, **values: Any) -> dict[str, Any]:
            way: dict[str, Any] = {"params" if method == "get" else "json": values}
            answer = requests.request(method, f"{url}/api/2.0/mlflow/{call}", timeout=30, **way)
            answer.raise_for_status()
            return answer.json()

        found = ask("get", "experiments/get-by-name", experiment_name="mien")["experiment"]
        [run] = ask("post", "runs/search", experiment_ids=[found["experiment_id"]])["runs"]
        run_id = run["info"]["run_id"]
        faces = ask("get", "metrics/get-history", run_id=run_id, metric_key="wave/count.faces")
        steps = {(point["step"], point["timestamp"], point["value"]) for point in faces["metrics"]}
        begin = int(NOW.timestamp() * 1000)
        assert steps == {(1, begin + 60_000, 100), (2, begin + 120_000, 200)}
        last = {item["key"]: item["value"] for item in run["data"]["metrics"]}
        assert last["wave/stage.embed.rows_per_second"] == 2
        files = ask("get", "artifacts/list", run_id=run_id)["files"]
        assert {file["path"] for file in files} == {"config.yaml", "audit.json", "report"}
        root = Root(str(tmp_path / "store"))
        assert erase_logged(Tracking(uri=url), root, [sent.run_id], [erased]) == 1
        files = ask("get", "artifacts/list", run_id=run_id, path="report")["files"]
        assert [file["path"] for file in files] == ["report/report.html"]
    assert erase_logged(Tracking(uri=url), root, [sent.run_id], [erased]) is None


def test_a_server_that_hangs_is_given_up_on(
    tmp_path: Path, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.tracking._SERVER_SECONDS", 0.5)
    root = Root(str(tmp_path))
    begun = time.monotonic()
    tracker = Tracker(Tracking(uri=f"http://127.0.0.1:{silent_port}"), root)
    tracker.warm()
    warning = tracker.log_run(record(), {})
    assert warning is not None
    assert "no answer in time" in warning
    assert time.monotonic() - begun < 5
    assert len(root.list("runs")) == 1


def test_what_waits_holds_no_uri_of_a_video(tmp_path: Path, closed_port: int) -> None:
    root = Root(str(tmp_path))
    Tracker(Tracking(uri=f"http://127.0.0.1:{closed_port}"), root).log_run(record(), {})
    [(rel, _)] = root.list("runs")
    payload = json.loads(root.read_bytes(rel))
    assert payload["params"] == {"plan.segment_seconds": "60"}
    assert b"private" not in root.read_bytes(rel)


def test_the_writer_never_gets_the_stores_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIEN_KEY", "ab" * 32)
    tracker = Tracker(Tracking(uri="http://127.0.0.1:9"), Root(str(tmp_path)))
    tracker.warm()
    assert tracker._writer is not None
    path = Path(f"/proc/{tracker._writer.pid}/environ")
    deadline = time.monotonic() + 10
    while not (environment := path.read_bytes()) and time.monotonic() < deadline:
        time.sleep(0.01)  # it is empty while the process becomes another program
    tracker.close()
    assert b"MLFLOW_TRACKING_URI" in environment
    assert b"MIEN_KEY" not in environment


def test_close_ends_a_writer_that_was_not_used(tmp_path: Path) -> None:
    tracker = Tracker(Tracking(), Root(str(tmp_path)))
    tracker.warm()
    assert tracker._writer is not None
    pid = tracker._writer.pid
    tracker.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_switched_off_nothing_is_started_or_kept(tmp_path: Path) -> None:
    tracker = Tracker(Tracking(enabled=False), Root(str(tmp_path)))
    tracker.warm()
    assert tracker.log_run(record(), {}) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_writer_outlives_the_stop_of_its_run(tmp_path: Path) -> None:
    """Ray stops a job by a signal to every process of it, and the run's record is still to come."""
    tracker = Tracker(Tracking(), Root(str(tmp_path)))
    tracker.warm()
    writer = tracker._writer
    assert writer
    deadline = time.monotonic() + 60
    while "mlflow.db" not in {path.name for path in tmp_path.iterdir()}:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    writer.terminate()
    assert tracker.log_run(record(), {}) is None
