"""The main job on a real cluster: exactly once, whatever is cut, changed, broken or killed."""

import json
import shutil
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from rich.console import Console

from infra import audit_log, live, runs, staging
from infra.errors import AuditFailed
from infra.runs import State
from infra.storage import Root
from infra.store import Store
from infra.tables import table_rows
from pipelines.record import Outcome
from pipelines.score import publish_staged, score
from schemas.config import Config
from schemas.tables import TABLES
from tests.pipelines.jobs import frames, job, same_rows, start_until_staged, tables
from tests.pipelines.onlooker import Onlooker
from tests.videos import write_video

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


_backbone: dict[str, str] = {}


@pytest.fixture(scope="module", autouse=True)
def _random_weights(tiny_backbone: Path) -> None:
    _backbone["backbone"] = str(tiny_backbone)


def config(archive: Path, store: Path, **changes: Any) -> Config:
    return job(str(archive), str(store), _backbone["backbone"], **changes)


def run(archive: Path, store: Path, **changes: Any) -> Outcome:
    return score(config(archive, store, **changes), Console(quiet=True))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good videos of 5 s, and a text file that says it is one."""
    folder = tmp_path_factory.mktemp("archive")
    write_video(folder / "slow.mp4", frames(40, 1), fps=8)
    write_video(folder / "fast.mp4", frames(40, 3), fps=8)
    (folder / "letter.mp4").write_text("Dear archive, this is not a video." * 20)
    (folder / "notes.txt").write_text("skipped by its name")
    return folder


@pytest.fixture(scope="module")
def onlooker(tmp_path_factory: pytest.TempPathFactory) -> Onlooker:
    return Onlooker(tmp_path_factory.mktemp("scored") / "store")


@pytest.fixture(scope="module")
def scored(archive: Path, onlooker: Onlooker) -> tuple[Path, Outcome]:
    with onlooker, pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.live.EVERY_SECONDS", 0.2)
        return onlooker.store, run(archive, onlooker.store, run={"metrics_port": onlooker.port})


@pytest.fixture
def copied(scored: tuple[Path, Outcome], archive: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A scored store and its archive, to change at will; the copy counts as the same place."""
    shutil.copytree(scored[0], tmp_path / "store")
    return archive, tmp_path / "store"


def test_a_broken_file_costs_itself_alone(scored: tuple[Path, Outcome]) -> None:
    store, outcome = scored
    assert outcome.exit_code == 3
    assert outcome.record.state is State.PUBLISHED
    assert outcome.record.counts["skipped: not a video by name"] == 1
    videos = {Path(v["uri"]).name: v for v in tables(store)["videos"].to_pylist()}
    assert videos["letter.mp4"]["reason"] == "no_video"
    for name in ("slow.mp4", "fast.mp4"):
        assert videos[name]["status"] == "ok"
        assert videos[name]["seconds_scored"] == pytest.approx(5)


def test_a_run_is_seen_from_outside_while_it_works(
    scored: tuple[Path, Outcome], onlooker: Onlooker
) -> None:
    rows, last = tables(scored[0]), onlooker.news[-1]
    assert last.segments == {"ok": 4}
    assert (last.written, last.planned_segments) == (4, 4)
    assert last.seconds == last.planned_seconds == pytest.approx(10)
    assert last.faces == last.stages["embed"].rows == len(rows["faces"])
    assert (last.wave, last.quarantined) == (1, {"no_video": 1})
    assert last.cluster
    assert last.cluster.cpus == 4
    assert last.cluster.object_store_capacity_bytes > 0
    assert any(news.cluster.cpus_in_use for news in onlooker.news if news.cluster)
    at_work = [news.stages for news in onlooker.news if news.stages["extract"].in_flight]
    assert at_work[0]["extract"].queued
    assert at_work[0]["embed"].queued is not None
    text = [scrape for scrape in onlooker.scrapes if "mien_faces" in scrape][-1]
    assert 'mien_segments_total{status="ok"} 4.0' in text
    assert f"mien_faces_total {last.faces:.1f}" in text
    said = "".join([*onlooker.scrapes, *(news.model_dump_json() for news in onlooker.news)])
    for video in rows["videos"].to_pylist():
        assert video["video_id"] not in said
        assert Path(video["uri"]).name not in said
    assert live.told(Root(str(scored[0]))) == {}
    assert not {t.name for t in threading.enumerate()} & {"mien-live"}
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", onlooker.port))


def test_what_was_done_is_in_the_audit_log(scored: tuple[Path, Outcome]) -> None:
    store = Store.open(str(scored[0]), create=False)
    begun, published, ended = audit_log.events(store)
    assert (begun.kind, published.kind, ended.kind) == ("run_begun", "publish", "run_ended")
    run_id = scored[1].record.run_id
    assert {event.facts["run_id"] for event in (begun, published, ended)} == {run_id}
    assert begun.facts["governance"]["overseer"] == "tests"
    assert begun.facts["videos"] == 3
    assert published.facts["files_added"]["faces"] == {"files": 1, "rows": 40}
    assert ended.facts["counts"]["faces"] == 40
    assert store.latest().audit_head == f"{published.seq}:{published.mac}"
    assert runs.load(store.root, run_id).audit_head == f"{ended.seq}:{ended.mac}"
    assert audit_log.verify(store) == []
    text = "".join(path.read_text() for path in scored[0].glob("audit/*.json"))
    for video in tables(scored[0])["videos"].to_pylist():
        assert Path(video["uri"]).name not in text


def test_the_privacy_report_lies_beside_the_record(scored: tuple[Path, Outcome]) -> None:
    record = scored[1].record
    facts = json.loads((scored[0] / "runs" / f"{record.run_id}.privacy.json").read_text())
    page = (scored[0] / "runs" / f"{record.run_id}.privacy.md").read_text()
    assert facts["pixels_at_rest"] == "none"
    assert facts["counts"]["faces"] == 40
    assert facts["audit_head"] == record.audit_head
    assert record.run_id in page
    for video in tables(scored[0])["videos"].to_pylist():
        for said in (page, json.dumps(facts)):
            assert Path(video["uri"]).name not in said
            assert video["video_id"] not in said


def test_every_sampled_frame_has_its_face_in_one_track(scored: tuple[Path, Outcome]) -> None:
    rows = tables(scored[0])
    assert len(rows["faces"]) == len(rows["scores"]) == 2 * 20
    assert rows["tracks"]["faces"].to_pylist() == [20, 20]
    assert not list((scored[0] / "staging").rglob("*.parquet"))


def test_a_second_call_scores_nothing_and_other_pools_neither(
    scored: tuple[Path, Outcome], archive: Path
) -> None:
    before = Store.open(str(scored[0]), create=False).latest().files
    outcome = run(archive, scored[0], embed={"actors": 2})
    assert outcome.record.state is State.NOTHING_NEW
    assert outcome.exit_code == 0
    assert Store.open(str(scored[0]), create=False).latest().files == before


def test_a_run_killed_right_after_publishing_is_ended_by_the_next(
    copied: tuple[Path, Path],
) -> None:
    archive, folder = copied
    store = Store.open(str(folder), create=False)
    record = runs.list_runs(store.root)[0]
    runs.save(store.root, record.model_copy(update={"state": State.RUNNING}))
    assert run(archive, folder).record.state is State.NOTHING_NEW
    assert [r.state for r in runs.list_runs(store.root)] == [State.PUBLISHED]


def test_cutting_never_shows(scored: tuple[Path, Outcome], archive: Path, tmp_path: Path) -> None:
    run(archive, tmp_path / "store", plan={"segment_seconds": 3600})
    assert len(tables(tmp_path / "store")["segments"]) == 2
    first, second = tables(scored[0]), tables(tmp_path / "store")
    for name in ("faces", "tracks", "scores", "track_scores"):
        # keys differ between stores: compare what they key, in their order
        columns = [
            c for c in first[name].column_names if not c.endswith("_id") and c != "score_hash"
        ]
        order = [("size_px", "ascending")] if name == "faces" else None
        left, right = first[name], second[name]
        if order:
            left, right = left.sort_by(order), right.sort_by(order)
        key = [c for c in columns if left[c].type == pa.float32()]
        left, right = (
            table.select(columns).sort_by([(c, "ascending") for c in key])
            for table in (left, right)
        )
        assert left.equals(right), name


def test_changed_bytes_are_scored_alone_and_replace_the_old_rows(
    scored: tuple[Path, Outcome], archive: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "archive"
    shutil.copytree(archive, mine)
    store = tmp_path / "store"
    run(mine, store)
    before = tables(store)["videos"].to_pylist()
    write_video(mine / "fast.mp4", frames(24, 2), fps=8)
    outcome = run(mine, store)
    assert outcome.record.counts["videos"] == 1
    rows = tables(store)
    assert len(rows["videos"]) == 3
    changed = [v["video_id"] for v in rows["videos"].to_pylist() if v not in before]
    assert len(changed) == 1
    for name in TABLES:
        assert set(rows[name]["video_id"].to_pylist()) <= {
            v["video_id"] for v in rows["videos"].to_pylist()
        }
    mask = pc.equal(rows["faces"]["video_id"], changed[0])
    assert rows["faces"].filter(mask).num_rows == 12


def test_a_changed_method_replaces_its_scores_and_nothing_else(
    copied: tuple[Path, Path],
) -> None:
    archive, store = copied
    before, snapshot = tables(store), Store.open(str(store), create=False).latest()
    outcome = run(archive, store, score={"zero_shot": {"temperature": 3.0}})
    assert outcome.record.state is State.PUBLISHED
    after, later = tables(store), Store.open(str(store), create=False).latest()
    for name in ("faces", "tracks", "segments"):
        assert later.of(name) == snapshot.of(name)
    assert after["scores"]["face_id"].equals(before["scores"]["face_id"])
    assert set(after["scores"]["score_hash"].to_pylist()).isdisjoint(
        before["scores"]["score_hash"].to_pylist()
    )
    assert len(after["videos"]) == len(before["videos"])


def test_too_much_quarantined_publishes_nothing_more(archive: Path, tmp_path: Path) -> None:
    """A first wave of a good video, a second one with the broken file."""
    limits = {"max_quarantined": 0.05, "wave_segments": 2}
    with pytest.raises(AuditFailed, match=r"run.max_quarantined allows 5.0%") as caught:
        run(archive, tmp_path / "store", run=limits)
    assert caught.value.exit_code == 4
    store = Store.open(str(tmp_path / "store"), create=False)
    assert [Path(v["uri"]).name for v in tables(tmp_path / "store")["videos"].to_pylist()] == [
        "fast.mp4"
    ]
    assert [r.state for r in runs.list_runs(store.root)] == [State.OVER_BUDGET]
    outcome = publish_staged(
        str(tmp_path / "store"), None, ["run.max_quarantined=1"], Console(quiet=True)
    )
    assert outcome.exit_code == 3
    assert len(tables(tmp_path / "store")["faces"]) == 40
    assert outcome.record.counts["videos"] == 3
    assert [wave.published for wave in outcome.record.waves] == [True, True]


def test_a_first_sigterm_finishes_what_is_in_flight(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    write_video(tmp_path / "archive" / "a-short.mp4", frames(4, 0), fps=4)
    write_video(tmp_path / "archive" / "long.mp4", frames(320, 0), fps=4)
    cfg = config(tmp_path / "archive", tmp_path / "store", plan={"segment_seconds": 1})
    driver = start_until_staged(tmp_path / "job.yaml", cfg)
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(timeout=100) == 6
    said = " ".join((tmp_path / "job.log").read_text().split())
    store = Store.open(str(tmp_path / "store"), create=False)
    record = runs.list_runs(store.root)[0]
    done = staging.staged_segments(store.root, record.run_id)
    published = tables(tmp_path / "store")["videos"]["uri"].to_pylist()
    assert [Path(uri).name for uri in published] == ["a-short.mp4"]  # it was ready
    assert len(done) < 79  # a rest of a second is read with the segment before it
    assert f"stopped; {79 - len(done)} of 80 segments are left" in said
    assert "Warning" not in said
    assert "stopping: what is in flight is being finished" in said
    assert record.state is State.INTERRUPTED


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 6)])
def test_a_stopped_driver_is_gone_on_with_and_nothing_differs(
    scored: tuple[Path, Outcome], archive: Path, tmp_path: Path, stop: signal.Signals, code: int
) -> None:
    """Stopped as soon as a segment is staged; then the same command again."""
    store = tmp_path / "store"
    store.mkdir()
    shutil.copy(scored[0] / "key", store / "key")  # equal keys, equal ids
    job = tmp_path / "job.yaml"
    at_once = {"grace_seconds": 0}  # a gentle stop would finish so small an archive
    driver = start_until_staged(job, config(archive, store, run=at_once))
    driver.send_signal(stop)
    assert driver.wait(timeout=60) == code
    done = len(list(store.glob("staging/*/*.parquet")))
    assert len(list(store.glob("runs/*.live.json"))) == (stop is signal.SIGKILL)
    assert Store.open(str(store), create=False).latest().files == ()
    outcome = run(archive, store)
    assert outcome.exit_code == 3
    assert len(runs.list_runs(Store.open(str(store), create=False).root)) == 1
    assert 1 <= done < 6
    assert not list(store.glob("runs/*.live.json"))
    same_rows(scored[0], store)


def test_waves_never_show_and_what_is_published_stays_so(
    scored: tuple[Path, Outcome], archive: Path, tmp_path: Path
) -> None:
    """Killed once a first wave is published, while the next is scored; then gone on with."""
    folder = tmp_path / "store"
    folder.mkdir()
    shutil.copy(scored[0] / "key", folder / "key")  # equal keys, equal ids
    cfg = config(archive, folder, run={"wave_segments": 1})
    driver = start_until_staged(tmp_path / "job.yaml", cfg)
    deadline = time.monotonic() + 100
    while not (list(folder.glob("snapshots/*2.json"))):  # 1 takes the lock
        assert driver.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    store = Store.open(str(folder), create=False)
    early = table_rows(store.root, store.latest(), "videos")
    assert 1 <= len(early) < 3
    outcome = run(archive, folder, run={"wave_segments": 2})
    record, whole = outcome.record, scored[1].record
    assert outcome.exit_code == 3
    same_rows(scored[0], folder)
    assert len(runs.list_runs(store.root)) == 1
    assert all(wave.published for wave in record.waves)
    assert record.counts.keys() == whole.counts.keys()
