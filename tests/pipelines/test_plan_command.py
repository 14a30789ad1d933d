"""`mien plan` on a real cluster: it knows what is left, and leaves the store as it was."""

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from infra import runs, staging
from infra.ramdisk import RAM_DISK, SPILL
from infra.runs import RunRecord, State, new_run_id
from infra.store import Store
from pipelines.cli import main
from pipelines.forecast_text import print_forecast
from pipelines.score import score
from pipelines.scratch import scratch_store, staged_already
from tests.pipelines.jobs import frames, job
from tests.rows import staged_rows, video_ids
from tests.videos import write_video


def mien_plan(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["mien", "plan", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def own_spill() -> set[Path]:
    """Places in memory that this process has made: the suite's cluster has one."""
    return set(RAM_DISK.glob(f"{SPILL}-{os.getpid()}-*"))


@pytest.mark.ray
def test_it_foresees_what_is_left_and_changes_nothing(
    ray_cluster: Path,
    tiny_backbone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One video is scored, one is new, one is none. Of the new one each frame has one face."""
    archive, store, plot = tmp_path / "archive", tmp_path / "store", tmp_path / "plot.png"
    archive.mkdir()
    write_video(archive / "a.mp4", frames(8, 1), fps=8)
    write_video(archive / "b.mp4", frames(80, 1), fps=8)
    (archive / "letter.mp4").write_text("Dear archive, this is not a video." * 20)
    cfg = job(str(archive), str(store), str(tiny_backbone))
    assert score(cfg, Console(quiet=True), limit=1).exit_code == 0
    (tmp_path / "job.yaml").write_text(cfg.model_dump_json())
    before, spilled = contents(store), own_spill()

    given = ("-c", str(tmp_path / "job.yaml"), "--json", "--plot", str(plot), "--start", "20:00")
    code = mien_plan(monkeypatch, *given, "run.stop_at=06:00", "--cpus", "64")
    out, err = capsys.readouterr()
    assert code == 0, err
    assert contents(store) == before
    assert own_spill() == spilled
    body: dict[str, Any] = json.loads(out)
    assert body["left"] == {
        "videos": 2,
        "unreadable_videos": 1,
        "segments": 5,
        "video_hours": pytest.approx(10 / 3600),
    }
    assert body["left_out"] == {"covered_videos": 1, "staged_segments": 0}
    rows = {name: estimate["value"] for name, estimate in body["rows"].items()}
    assert rows == {
        "videos": 2,
        "segments": 5,
        "faces": 40,
        "tracks": 1,
        "scores": 40,
        "track_scores": 1,
        "embeddings": 0,
    }
    assert body["lost_share"]["value"] == pytest.approx(0.5)
    assert body["cluster"] == {"cpus": 64, "gpus": 0, "pools": {"extract": 1, "embed": 1}}
    assert body["busy_seconds"]["extract"]["value"] > 0
    assert body["published_bytes"]["value"] > 1000
    assert body["wall_seconds"]["value"] > body["busy_seconds"]["extract"]["value"]
    assert body["start"].endswith("20:00:00")
    assert body["nights"]["value"] == 1
    assert plot.read_bytes().startswith(b"\x89PNG")

    print_forecast(body)
    said = " ".join(capsys.readouterr().out.split())
    assert "2 videos left" in said
    assert "rows of faces 40 40 40" in said
    assert "before 06:00" in said
    assert "50.0% of the seconds will be quarantined, 50.0% are allowed" in said
    late = {"nights": {"value": 3, "low": 3, "high": 3}, "lost_share": body["lost_share"]}
    print_forecast({**body, **late, "max_quarantined": 0.05})
    said = " ".join(capsys.readouterr().out.split())
    assert "not before 06:00: it takes 3 nights" in said
    assert "nothing would be published (exit 4)" in said


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["governance=null"], 5, "no governance section"),
        (["source=null"], 2, "no source"),
        (["source=/nowhere/at/all"], 2, "does not exist"),
        (["--start", "teatime"], 2, "write it as HH:MM"),
        (["--plot", "/nowhere/plot.png"], 2, "a folder that exists"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    cfg = job(str(tmp_path), str(tmp_path / "store"), "mien-lite")
    (tmp_path / "job.yaml").write_text(cfg.model_dump_json())
    assert mien_plan(monkeypatch, "-c", str(tmp_path / "job.yaml"), *arguments) == code
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "store").exists()


def test_what_an_unfinished_run_staged_is_left_out(tmp_path: Path) -> None:
    """The last one that would write the same rows of these videos: others are not gone on with."""
    store = Store.open(str(tmp_path / "store"), create=True)
    rows = staged_rows(videos=2)
    for state, run_hash, part in (
        (State.INTERRUPTED, "same", rows.slice(0, 1)),
        (State.INTERRUPTED, "same", rows.slice(1, 2)),
        (State.INTERRUPTED, "other", rows),
        (State.PUBLISHED, "same", rows),
    ):
        run_id = new_run_id()
        staging.write_segments(part, store.root, run_id)
        record = RunRecord(
            run_id=run_id, state=state, started=datetime.now(UTC), hashes={"run": run_hash}
        )
        runs.save(store.root, record)
    ids = rows["segment_id"].to_pylist()
    first, second = video_ids(2)
    assert staged_already(store, "same", {first, second}) == set(ids[1:3])
    assert staged_already(store, "same", {second}) == {ids[2]}
    assert staged_already(store, "none", {first}) == set()


def test_a_place_that_is_no_store_yet_is_not_made_one(tmp_path: Path) -> None:
    with scratch_store(str(tmp_path / "store")) as (scratch, real):
        folder = Path(scratch.root.url)
        assert folder.is_dir()
        assert real is None
    assert not folder.exists()
    assert not (tmp_path / "store").exists()
