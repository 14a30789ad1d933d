"""`mien erase` on stores of synthetic rows: what goes, what stays, and what it survives."""

import base64
import contextlib
import io
import json
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from infra import audit_log, erasures, runs, staging, tombstones, tracking
from infra.errors import ConfigurationError, Resumable, StoreBusy
from infra.mlflow_eraser import erase_logged
from infra.runs import RunRecord
from infra.storage import Root
from infra.store import Store
from infra.tables import read_small_table, rows_of_videos, table_rows, write_part, write_small_table
from infra.traces import PROBES
from pipelines.cli import main
from pipelines.compact import compact
from pipelines.erase import Ask, Erased, erase
from pipelines.erasing import finish_pending
from pipelines.plan import PROBE_CACHE
from pipelines.planned import PLANNED_VIDEO
from pipelines.publish import make_visible
from pipelines.query import open_store, run_query
from pipelines.selection import Selector, choose
from schemas.tables import TABLES
from tests.infra.places import KEY
from tests.pipelines.test_compact import QUIET
from tests.rows import RUN_ID, staged_rows, store_tables, video_ids

FACES = 20
VIDEOS = 3  # a night
COUNTS = "select video_id, count(*) n from faces group by 1 order by 1"


def silent(text: str) -> None:
    del text


def publish(store: Store, seed: int, change: Any = None) -> None:
    """A night's videos in files of their own."""
    rows = store_tables(VIDEOS, FACES, seed=seed)
    if change:
        rows = change(rows)
    files = [
        file
        for table, new in rows.items()
        for file in write_part(store.root, table, new, f"n{seed}", {"mien.run_id": RUN_ID})
    ]
    make_visible(store, RUN_ID, files, {table: [] for table in TABLES})


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Two nights."""
    monkeypatch.setenv("MIEN_KEY", KEY)
    made = Store.open(str(tmp_path / "store"), create=True)
    for seed in (0, 1):
        publish(made, seed)
    return made


VICTIM = video_ids(VIDEOS, 0)[1]
TRACK = f"{VICTIM}-t{0:015d}-00"


def do(store: Store, grace: float = 0, wait: float = 0, **selector: Any) -> Erased:
    wanted = Selector(**selector)
    wanted.check()
    ask = Ask("erase", wanted.facts(store.identity), grace, wait, nothing="nothing fits")
    return erase(store.root.url, ask, lambda s, state: choose(s, state, wanted), yes, silent)


def yes(seen: Erased) -> bool:
    del seen
    return True


def rows_of(store: Store) -> dict[str, pa.Table]:
    return {table: table_rows(store.root, store.latest(), table) for table in TABLES}


def others(tables: dict[str, pa.Table], gone: set[str]) -> dict[str, pa.Table]:
    return {
        name: rows.filter(pa.array([v not in gone for v in rows["video_id"].to_pylist()]))
        for name, rows in tables.items()
    }


def holding(store: Store, video_id: str) -> list[str]:
    """Every file of the tables, live or not, with rows of a video."""
    rels = [rel for rel, _ in store.root.list("tables")]
    return [rel for rel in rels if rows_of_videos(store.root, rel, [video_id])]


def test_a_video_goes_and_only_its_files_are_written_anew(store: Store) -> None:
    before, old = rows_of(store), store.latest()
    done = do(store, videos=[VICTIM])
    now = store.latest()
    assert {t: r.to_pylist() for t, r in rows_of(store).items()} == {
        t: r.to_pylist() for t, r in others(before, {VICTIM}).items()
    }
    touched = {file.path for file in old.files if file.path.rsplit("/", 1)[-1].startswith("n0")}
    assert {file.path for file in old.files} - {file.path for file in now.files} == touched
    assert [(loss.table, loss.files, loss.of_files) for loss in done.tables] == [
        (table, 1, 2) for table in TABLES
    ]
    assert {loss.table: loss.rows for loss in done.tables}["faces"] == FACES
    assert not holding(store, VICTIM)
    assert not done.waiting
    assert not erasures.pending(store.root)
    with pytest.raises(ConfigurationError, match="nothing fits"):
        do(store, sources=["/never/seen.mp4"])
    again = do(store, videos=[VICTIM])
    assert (again.videos, store.latest().seq) == (0, now.seq)


def test_the_proof_is_in_the_audit_log_and_names_no_file(store: Store) -> None:
    uri = f"/archive/{VICTIM}.mp4"
    dead = {file.path: file for file in store.latest().files}
    erased = store.identity.source_id(uri)

    def at_its_place(rows: dict[str, pa.Table]) -> dict[str, pa.Table]:
        ids = [store.identity.source_id(uri) for uri in rows["videos"]["uri"].to_pylist()]
        place = rows["videos"].schema.get_field_index("source_id")
        field = rows["videos"].schema.field(place)
        return {**rows, "videos": rows["videos"].set_column(place, field, pa.array(ids))}

    publish(store, 2, at_its_place)
    name = store_tables(VIDEOS, FACES, seed=2)["videos"]["uri"][0].as_py()
    gone = Path(name).stem
    done = do(store, sources=[name])
    begun, ended = audit_log.events(store)[-2:]
    assert (begun.kind, ended.kind) == ("erase", "erase_done")
    assert begun.facts["erasure_id"] == ended.facts["erasure_id"] == done.erasure_id
    assert begun.facts["files_removed"]["faces"]["rows"] == VIDEOS * FACES
    assert ended.facts["rows"]["faces"] == FACES
    assert ended.facts["selector"] == {"source": store.identity.source_id(name)}
    deleted = {file["path"] for file in ended.facts["files_deleted"]}
    assert len(deleted) == len(TABLES)
    assert not deleted & {*dead, *(file.path for file in store.latest().files)}
    assert audit_log.verify(store) == []
    text = "".join(path.read_text() for path in Path(store.root.url, "audit").iterdir())
    assert name not in text
    assert gone not in text
    assert erased not in text


def test_who_began_to_read_before_reads_on_until_the_grace_is_over(store: Store) -> None:
    reader = open_store(store.root.url)
    said = run_query(reader, COUNTS, "csv")
    done = do(store, grace=600, videos=[VICTIM])
    assert done.waiting
    assert run_query(reader, COUNTS, "csv") == said
    with open_store(store.root.url) as fresh:
        assert VICTIM not in str(run_query(fresh, COUNTS, "csv"))
    assert holding(store, VICTIM)
    (waiting,) = erasures.pending(store.root)
    erasures.save(store.root, waiting.model_copy(update={"due_at": 1.0}))
    compact(store.root.url, QUIET)  # whoever holds the store next ends it
    assert not holding(store, VICTIM)
    assert not erasures.pending(store.root)
    assert audit_log.events(store)[-1].kind in ("erase_done", "compact")


def test_it_waits_for_the_readers_where_it_is_told_to(store: Store) -> None:
    assert not do(store, grace=0.3, wait=30, videos=[VICTIM]).waiting
    assert not holding(store, VICTIM)


def test_a_busy_store_is_left_alone(store: Store) -> None:
    with store.locked():
        before = store.latest()
        with pytest.raises(StoreBusy):
            do(store, videos=[VICTIM])
        assert store.latest() == before
    assert not erasures.pending(store.root)


def traced(store: Store) -> Path:
    """What runs leave of the victim beside the tables; the folder of MLflow's artifacts."""
    root, page = store.root, f"<html>{VICTIM[:12]}</html>".encode()
    staging.write_segments(staged_rows(VIDEOS, FACES), root, "waiting")
    record = RunRecord(run_id="waiting", started=datetime.now(UTC), config_yaml="tracking: {}")
    runs.save(root, record)
    videos = store_tables(VIDEOS, FACES)["videos"].to_pylist()
    empty = dict.fromkeys(PLANNED_VIDEO.names)
    plan = [{**empty, **{n: v for n, v in row.items() if n in empty}} for row in videos]
    loose = pa.schema([field.with_nullable(True) for field in PLANNED_VIDEO])
    runs.save_plan(root, "waiting", pa.Table.from_pylist(plan, loose))
    looks = [{**dict.fromkeys(PROBE_CACHE.names), "source_id": r["source_id"]} for r in videos]
    loose = pa.schema([field.with_nullable(True) for field in PROBE_CACHE])
    write_small_table(root, PROBES, pa.Table.from_pylist(looks, loose))
    root.write("runs/waiting.report.html", page)
    held = {name: base64.b64encode(text).decode() for name, text in _pages(page).items()}
    root.write(f"runs/waiting{tracking.BUFFER}", json.dumps({"artifacts": held}).encode())
    folder = Path(root.url, "mlflow-artifacts", "1", "artifacts")
    folder.mkdir(parents=True)
    for name, text in _pages(page).items():
        (folder / name).write_bytes(text)
    return folder


def _pages(page: bytes) -> dict[str, bytes]:
    return {"report.html": page, "other.html": b"<html>nobody</html>"}


def test_staging_plans_probes_reports_and_mlflow_forget_it(store: Store) -> None:
    folder = traced(store)
    do(store, videos=[VICTIM])
    left = {name.split("-")[0] for name in staging.staged_segments(store.root, "waiting")}
    assert left == set(video_ids(VIDEOS, 0)) - {VICTIM}
    assert VICTIM not in runs.load_plan(store.root, "waiting")["video_id"].to_pylist()
    probes = read_small_table(store.root, PROBES)
    assert probes is not None
    assert len(probes) == VIDEOS - 1
    assert not store.root.exists("runs/waiting.report.html")
    buffer = json.loads(store.root.read_bytes(f"runs/waiting{tracking.BUFFER}"))
    assert list(buffer["artifacts"]) == ["other.html"]
    assert [path.name for path in folder.iterdir()] == ["other.html"]
    told = audit_log.events(store)[-1].facts["other_traces"]
    assert told == {
        "staged_segments": 2,
        "planned_videos": 1,
        "probes": 1,
        "reports": 1,
        "waiting_for_mlflow": 1,
        "mlflow_artifacts": 1,
    }


class Killed(BaseException):
    """What `except Exception` does not catch."""


@pytest.mark.slow
def test_killed_at_any_step_the_next_writer_ends_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced(store)
    expected = {t: r.to_pylist() for t, r in others(rows_of(store), {VICTIM}).items()}
    original = {name: getattr(Root, name) for name in ("write", "create", "delete")}
    step = 0
    while True:
        step += 1
        place = tmp_path / f"copy{step}"
        shutil.copytree(store.root.url, place)
        copy, left = Store.open(str(place), create=False), [step]

        def counted(name: str, left: list[int] = left) -> Any:
            def call(root: Root, *arguments: Any, **options: Any) -> Any:
                if not str(arguments[0]).startswith("lock/"):
                    left[0] -= 1
                    if left[0] == 0:
                        raise Killed
                return original[name](root, *arguments, **options)

            return call

        with monkeypatch.context() as patch:
            for name in original:
                patch.setattr(Root, name, counted(name))
            with contextlib.suppress(Killed):
                do(copy, videos=[VICTIM])
        if left[0] > 0:
            break
        with copy.locked() as locked:
            finish_pending(locked, silent)
        do(copy, videos=[VICTIM])  # the same command, again
        assert {t: r.to_pylist() for t, r in rows_of(copy).items()} == expected, step
        assert not holding(copy, VICTIM), step
        assert not erasures.pending(copy.root)
        assert tombstones.load(copy.root).holds_source(VICTIM[::-1])
        assert audit_log.events(copy)[-1].kind == "erase_done", step
        assert audit_log.verify(copy) == []
    assert step > 12


def test_a_copy_under_another_name_goes_with_it(store: Store) -> None:
    copies = video_ids(VIDEOS, 2)
    same = store_tables(VIDEOS, FACES)["videos"]["content_id"]

    def copied(rows: dict[str, pa.Table]) -> dict[str, pa.Table]:
        place = rows["videos"].schema.get_field_index("content_id")
        field = rows["videos"].schema.field(place)
        return {**rows, "videos": rows["videos"].set_column(place, field, same)}

    publish(store, 2, copied)
    done = do(store, videos=[VICTIM])
    assert (done.videos, done.copies) == (2, 1)
    twin = copies[video_ids(VIDEOS, 0).index(VICTIM)]
    assert not holding(store, twin)
    assert set(rows_of(store)["videos"]["video_id"].to_pylist()) == (
        {*video_ids(VIDEOS, 0), *video_ids(VIDEOS, 1), *copies} - {VICTIM, twin}
    )


def test_a_track_goes_and_its_neighbour_stays(store: Store) -> None:
    before = rows_of(store)
    done = do(store, tracks=[TRACK])
    now = rows_of(store)
    assert (done.videos, done.parts) == (0, 1)
    for table in ("faces", "tracks", "scores", "track_scores"):
        kept = [row for row in before[table].to_pylist() if row["track_id"] != TRACK]
        found = now[table].to_pylist()
        keys = [[(r["video_id"], r["track_id"]) for r in rows] for rows in (kept, found)]
        assert keys[0] == keys[1], table
    found = {r["segment_id"]: r["faces_found"] for r in now["segments"].to_pylist()}
    faces = now["faces"]["segment_id"].to_pylist()
    assert found == {name: faces.count(name) for name in found}
    (stone,) = tombstones.read(store.root)
    assert (stone.kind, len(stone.path)) == ("track", FACES // 2)
    assert do(store, tracks=[TRACK]).parts == 0  # a second time there is nothing to do


def test_seconds_within_a_video_go(store: Store) -> None:
    do(store, videos=[VICTIM], from_seconds=0.5, until_seconds=1.25)
    now = rows_of(store)
    for table in ("faces", "scores"):
        times = [r["pts_seconds"] for r in now[table].to_pylist() if r["video_id"] == VICTIM]
        assert sorted(set(times)) == [0.0, 0.25, 1.25, 1.5, 1.75, 2.0, 2.25]
    assert sum(v == VICTIM for v in now["tracks"]["video_id"].to_pylist()) == 2


def mien(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["mien", "erase", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_the_command_says_first_and_asks(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before, url = store.latest(), store.root.url
    assert mien(monkeypatch, url, "--video", VICTIM, "--dry-run", "--json") == 0
    seen = json.loads(capsys.readouterr().out)
    assert seen["dry_run"]
    assert {loss["table"]: loss["rows"] for loss in seen["tables"]}["scores"] == FACES
    monkeypatch.setattr(sys, "stdin", io.StringIO())  # nobody agrees
    assert mien(monkeypatch, url, "--video", VICTIM) == 2
    assert "nothing was erased" in capsys.readouterr().err
    for wrong in ([], ["--video", "x"], ["--track", TRACK, "--from-seconds", "1"]):
        assert mien(monkeypatch, url, *wrong, "--yes") == 2
    assert mien(monkeypatch, url, "--session", "nobody's", "--yes") == 2
    assert store.latest() == before
    assert not store.root.list(tombstones.FOLDER)
    assert mien(monkeypatch, url, "erase.reader_grace_seconds=0", "--video", VICTIM, "--yes") == 0
    assert "erased 1 videos" in " ".join(capsys.readouterr().err.split())
    assert not holding(store, VICTIM)


def test_an_mlflow_server_out_of_reach_is_asked_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced(store)
    answers: list[int | None] = [None, 2]
    asked = []

    def server(cfg: Any, *arguments: Any) -> int | None:
        asked.append(cfg.uri)
        return answers.pop(0) if cfg.uri else erase_logged(cfg, *arguments)

    text = "tracking: {uri: 'http://me:secret@nowhere:1'}"
    record = RunRecord(run_id="later", started=datetime.now(UTC), config_yaml=text)
    runs.save(store.root, record)
    monkeypatch.setattr("pipelines.erasing.erase_logged", server)
    with pytest.raises(Resumable, match="out of reach") as stopped:
        do(store, videos=[VICTIM])
    assert "secret" not in str(stopped.value)
    assert not holding(store, VICTIM)  # the files do not wait for it
    do(store, videos=[VICTIM])
    assert not erasures.pending(store.root)
    assert audit_log.events(store)[-1].facts["other_traces"]["mlflow_artifacts"] == 3
