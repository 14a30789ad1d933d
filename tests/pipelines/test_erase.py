"""`mien erase` on stores of synthetic rows: what goes, what stays, and what it survives."""

import contextlib
import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from infra import audit_log, erasures, tombstones
from infra.errors import ConfigurationError, StoreBusy
from infra.storage import Root
from infra.store import Store
from pipelines.cli import main
from pipelines.compact import compact
from pipelines.erasing import finish_pending
from pipelines.query import open_store, run_query
from schemas.tables import TABLES
from tests.pipelines.erasable import (
    FACES,
    TRACK,
    VICTIM,
    VIDEOS,
    do,
    holding,
    others,
    publish,
    rows_of,
    silent,
    traced,
)
from tests.pipelines.test_compact import QUIET
from tests.rows import store_tables, video_ids

COUNTS = "select video_id, count(*) n from faces group by 1 order by 1"


def test_a_video_goes_and_only_its_files_are_written_anew(erasable: Store) -> None:
    before, old = rows_of(erasable), erasable.latest()
    done = do(erasable, videos=[VICTIM])
    now = erasable.latest()
    assert {t: r.to_pylist() for t, r in rows_of(erasable).items()} == {
        t: r.to_pylist() for t, r in others(before, {VICTIM}).items()
    }
    touched = {file.path for file in old.files if file.path.rsplit("/", 1)[-1].startswith("n0")}
    assert {file.path for file in old.files} - {file.path for file in now.files} == touched
    assert [(loss.table, loss.files, loss.of_files) for loss in done.tables] == [
        (table, 1, 2) for table in TABLES
    ]
    assert {loss.table: loss.rows for loss in done.tables}["faces"] == FACES
    assert not holding(erasable, VICTIM)
    assert not done.waiting
    assert not erasures.pending(erasable.root)
    with pytest.raises(ConfigurationError, match="nothing fits"):
        do(erasable, sources=["/never/seen.mp4"])
    again = do(erasable, videos=[VICTIM])
    assert (again.videos, erasable.latest().seq) == (0, now.seq)


def test_the_proof_is_in_the_audit_log_and_names_no_file(erasable: Store) -> None:
    uri = f"/archive/{VICTIM}.mp4"
    dead = {file.path: file for file in erasable.latest().files}
    erased = erasable.identity.source_id(uri)

    def at_its_place(rows: dict[str, pa.Table]) -> dict[str, pa.Table]:
        ids = [erasable.identity.source_id(uri) for uri in rows["videos"]["uri"].to_pylist()]
        place = rows["videos"].schema.get_field_index("source_id")
        field = rows["videos"].schema.field(place)
        return {**rows, "videos": rows["videos"].set_column(place, field, pa.array(ids))}

    publish(erasable, 2, at_its_place)
    name = store_tables(VIDEOS, FACES, seed=2)["videos"]["uri"][0].as_py()
    gone = Path(name).stem
    done = do(erasable, sources=[name])
    begun, ended = audit_log.events(erasable)[-2:]
    assert (begun.kind, ended.kind) == ("erase", "erase_done")
    assert begun.facts["erasure_id"] == ended.facts["erasure_id"] == done.erasure_id
    assert begun.facts["files_removed"]["faces"]["rows"] == VIDEOS * FACES
    assert ended.facts["rows"]["faces"] == FACES
    assert ended.facts["selector"] == {"source": erasable.identity.source_id(name)}
    deleted = {file["path"] for file in ended.facts["files_deleted"]}
    assert len(deleted) == len(TABLES)
    assert not deleted & {*dead, *(file.path for file in erasable.latest().files)}
    assert audit_log.verify(erasable) == []
    text = "".join(path.read_text() for path in Path(erasable.root.url, "audit").iterdir())
    assert name not in text
    assert gone not in text
    assert erased not in text


def test_who_began_to_read_before_reads_on_until_the_grace_is_over(erasable: Store) -> None:
    reader = open_store(erasable.root.url)
    said = run_query(reader, COUNTS, "csv")
    done = do(erasable, grace=600, videos=[VICTIM])
    assert done.waiting
    assert run_query(reader, COUNTS, "csv") == said
    with open_store(erasable.root.url) as fresh:
        assert VICTIM not in str(run_query(fresh, COUNTS, "csv"))
    assert holding(erasable, VICTIM)
    (waiting,) = erasures.pending(erasable.root)
    erasures.save(erasable.root, waiting.model_copy(update={"due_at": 1.0}))
    compact(erasable.root.url, QUIET)  # whoever holds the store next ends it
    assert not holding(erasable, VICTIM)
    assert not erasures.pending(erasable.root)
    assert audit_log.events(erasable)[-1].kind in ("erase_done", "compact")


def test_it_waits_for_the_readers_where_it_is_told_to(erasable: Store) -> None:
    assert not do(erasable, grace=0.3, wait=30, videos=[VICTIM]).waiting
    assert not holding(erasable, VICTIM)


def test_a_busy_store_is_left_alone(erasable: Store) -> None:
    with erasable.locked():
        before = erasable.latest()
        with pytest.raises(StoreBusy):
            do(erasable, videos=[VICTIM])
        assert erasable.latest() == before
    assert not erasures.pending(erasable.root)


class Killed(BaseException):
    """What `except Exception` does not catch."""


@pytest.mark.slow
def test_killed_at_any_step_the_next_writer_ends_it(
    erasable: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced(erasable)
    expected = {t: r.to_pylist() for t, r in others(rows_of(erasable), {VICTIM}).items()}
    original = {name: getattr(Root, name) for name in ("write", "create", "delete")}
    step = 0
    while True:
        step += 1
        place = tmp_path / f"copy{step}"
        shutil.copytree(erasable.root.url, place)
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


def test_a_copy_under_another_name_goes_with_it(erasable: Store) -> None:
    copies = video_ids(VIDEOS, 2)
    same = store_tables(VIDEOS, FACES)["videos"]["content_id"]

    def copied(rows: dict[str, pa.Table]) -> dict[str, pa.Table]:
        place = rows["videos"].schema.get_field_index("content_id")
        field = rows["videos"].schema.field(place)
        return {**rows, "videos": rows["videos"].set_column(place, field, same)}

    publish(erasable, 2, copied)
    done = do(erasable, videos=[VICTIM])
    assert (done.videos, done.copies) == (2, 1)
    twin = copies[video_ids(VIDEOS, 0).index(VICTIM)]
    assert not holding(erasable, twin)
    assert set(rows_of(erasable)["videos"]["video_id"].to_pylist()) == (
        {*video_ids(VIDEOS, 0), *video_ids(VIDEOS, 1), *copies} - {VICTIM, twin}
    )


def test_a_track_goes_and_its_neighbour_stays(erasable: Store) -> None:
    before = rows_of(erasable)
    done = do(erasable, tracks=[TRACK])
    now = rows_of(erasable)
    assert (done.videos, done.parts) == (0, 1)
    for table in ("faces", "tracks", "scores", "track_scores"):
        kept = [row for row in before[table].to_pylist() if row["track_id"] != TRACK]
        found = now[table].to_pylist()
        keys = [[(r["video_id"], r["track_id"]) for r in rows] for rows in (kept, found)]
        assert keys[0] == keys[1], table
    found = {r["segment_id"]: r["faces_found"] for r in now["segments"].to_pylist()}
    faces = now["faces"]["segment_id"].to_pylist()
    assert found == {name: faces.count(name) for name in found}
    (stone,) = tombstones.read(erasable.root)
    assert (stone.kind, len(stone.path)) == ("track", FACES // 2)
    assert do(erasable, tracks=[TRACK]).parts == 0  # a second time there is nothing to do


def test_seconds_within_a_video_go(erasable: Store) -> None:
    do(erasable, videos=[VICTIM], from_seconds=0.5, until_seconds=1.25)
    now = rows_of(erasable)
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
    erasable: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before, url = erasable.latest(), erasable.root.url
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
    assert erasable.latest() == before
    assert not erasable.root.list(tombstones.FOLDER)
    assert mien(monkeypatch, url, "erase.reader_grace_seconds=0", "--video", VICTIM, "--yes") == 0
    assert "erased 1 videos" in " ".join(capsys.readouterr().err.split())
    assert not holding(erasable, VICTIM)
