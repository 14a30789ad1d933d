import multiprocessing
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from infra import snapshots
from infra.errors import StoreError
from infra.snapshots import Snapshot, TableFile
from infra.storage import Root


def file(name: str) -> TableFile:
    return TableFile("faces", f"tables/faces/{name}.parquet", 1, 10, "0" * 64, "a", "b")


def add_files(root: Root, names: list[str]) -> None:
    """Commit one file after the other, as publishers do."""
    for name in names:
        snapshots.commit(root, lambda now, name=name: replace(now, files=(*now.files, file(name))))


def test_an_empty_store_is_snapshot_0(root: Root) -> None:
    assert snapshots.latest(root) == Snapshot()


def test_a_commit_is_what_the_next_reader_finds(root: Root) -> None:
    wanted = Snapshot(files=(file("a"),), run_id="r", audit_head="h")
    made = snapshots.commit(root, lambda now: wanted)
    assert made == replace(wanted, seq=1)
    assert snapshots.latest(root) == made
    assert made.of("faces") == (file("a"),)
    assert made.of("tracks") == ()


def test_no_change_commits_nothing(root: Root) -> None:
    assert snapshots.commit(root, lambda now: now).seq == 0
    assert root.list("snapshots") == []


def test_a_writer_that_slept_is_told_and_tries_again(root: Root) -> None:
    states: list[int] = []

    def change(now: Snapshot) -> Snapshot:
        states.append(now.seq)
        if now.seq < 3:  # somebody else commits while we think
            add_files(root, [f"other{now.seq}"])
        return replace(now, files=(*now.files, file("mine")))

    made = snapshots.commit(root, change)
    assert states == [0, 1, 2, 3]
    assert [one.path for one in made.files] == [
        file(name).path for name in ("other0", "other1", "other2", "mine")
    ]


def test_many_threads_lose_nothing_and_a_reader_sees_whole_states(tmp_path: Path) -> None:
    root = Root(str(tmp_path))
    names = [[f"{writer}-{number}" for number in range(8)] for writer in range(6)]
    writers = [threading.Thread(target=add_files, args=(root, some), daemon=True) for some in names]
    seen: list[Snapshot] = []
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        seen.append(snapshots.latest(root))
    final = snapshots.latest(root)
    assert {one.path for one in final.files} == {file(n).path for some in names for n in some}
    assert final.seq == 48
    assert all(len(state.files) == state.seq for state in seen)
    assert [state.seq for state in seen] == sorted(state.seq for state in seen)


@pytest.mark.slow
def test_many_processes_lose_nothing(tmp_path: Path) -> None:
    root = Root(str(tmp_path))
    names = [[f"{writer}-{number}" for number in range(10)] for writer in range(3)]
    context = multiprocessing.get_context("forkserver")
    writers = [context.Process(target=add_files, args=(root, some), daemon=True) for some in names]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    final = snapshots.latest(root)
    assert {one.path for one in final.files} == {file(n).path for some in names for n in some}
    assert len(final.files) == final.seq == 30


def test_a_damaged_snapshot_is_named(root: Root) -> None:
    root.write("snapshots/000000000001.json", b"{")
    with pytest.raises(StoreError, match=r"000000000001\.json"):
        snapshots.latest(root)


def test_numbers_beyond_a_thousand_sort(root: Root) -> None:
    root.write("snapshots/000000000999.json", snapshots._encode(Snapshot(999)))
    root.write("snapshots/000000001000.json", snapshots._encode(Snapshot(1000)))
    assert snapshots.latest(root).seq == 1000
