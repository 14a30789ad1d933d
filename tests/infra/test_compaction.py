"""Merged files hold the same rows, in order, and whatever others did meanwhile."""

import errno
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas.tables
from infra import compaction, snapshots, tables
from infra.compaction import Compaction, files_needed, merge, worth_merging
from infra.errors import StoreError
from infra.snapshots import Snapshot, TableFile
from infra.storage import Root
from infra.tables import rewrite_without, table_rows, write_part
from schemas.tables import SORT_KEYS, TABLES
from tests.infra.places import places
from tests.rows import store_tables, video_ids

NIGHTS = 6
ROWS_A_NIGHT = 2 * 9  # faces: two videos of nine
TARGET = 40


def write_night(root: Root, night: int, only: str | None = None) -> list[TableFile]:
    name = f"run{night}"
    rows = store_tables(videos=2, faces_per_video=9, seed=night, run_id=name)
    footer = {"mien.run_id": name, "mien.extract_hash": "e"}
    return [
        file
        for table in TABLES
        if only in (None, table)
        for file in write_part(root, table, rows[table], name, footer)
    ]


@pytest.fixture(autouse=True)
def rows_weigh_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here each table has files of equally many rows, small as they are."""
    monkeypatch.setattr(schemas.tables, "ROW_WEIGHTS", {})


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(str(tmp_path))


@pytest.fixture
def store(root: Root) -> Root:
    """Every night left one file a table."""
    for night in range(NIGHTS):
        add(root, write_night(root, night))
    return root


def add(root: Root, files: list[TableFile]) -> Snapshot:
    return snapshots.commit(root, lambda now: replace(now, files=(*now.files, *files)))


def rows_of(root: Root, snapshot: Snapshot) -> dict[str, pa.Table]:
    return {table: table_rows(root, snapshot, table) for table in TABLES}


# --- which files --------------------------------------------------------------------------------


def listed(sizes: list[int]) -> list[TableFile]:
    return [
        TableFile("faces", str(number), size, 1, "", f"{number % 7}", "9")
        for number, size in enumerate(sizes)
    ]


@given(st.lists(st.integers(1, 120), max_size=30), st.integers(1, 100))
def test_as_few_files_as_can_be_and_a_second_time_none(sizes: list[int], target: int) -> None:
    files = listed(sizes)
    chosen = worth_merging(files, target)
    assert all(file.rows < target for file in chosen)
    assert list(chosen) == sorted(chosen, key=lambda f: (f.min_video_id, f.max_video_id))
    new = files_needed(chosen, target)
    assert new < len(chosen) or not chosen
    small = [file for file in files if file.rows < target]
    assert len(small) - len(chosen) + new == files_needed(small, target)  # no fewer could hold them
    total = sum(file.rows for file in chosen)
    merged = [min(target, total - start) for start in range(0, total, target)]
    after = [*(file.rows for file in files if file not in chosen), *merged]
    assert worth_merging(listed(after), target) == ()


def test_a_file_that_lost_a_row_is_not_written_again_for_it() -> None:
    files = listed([99, 99, 99, 20, 30, 10])
    assert sorted(file.rows for file in worth_merging(files, 100)) == [10, 20, 30]


# --- the merge ----------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES)
def test_merged_files_hold_the_same_rows_in_one_order(store: Root, table: str) -> None:
    old = snapshots.latest(store).of(table)
    target = sum(file.rows for file in old) * 2 // 5  # no whole number of videos
    new = merge(store, old, target)
    assert [file.rows for file in new[:-1]] == [target] * (len(new) - 1)
    whole = table_rows(store, Snapshot(files=old), table)
    found = [pq.ParquetFile(pa.BufferReader(store.read_bytes(file.path))) for file in new]
    in_file_order = pa.concat_tables([parquet.read() for parquet in found])
    assert in_file_order.select(whole.column_names).cast(whole.schema).equals(whole)
    for parquet, file in zip(found, new, strict=True):
        for field in TABLES[table]:
            kept = parquet.schema_arrow.field(field.name)
            assert (kept.type, kept.nullable) == (field.type, field.nullable)
            assert kept.metadata == field.metadata
        ids = parquet.read(["video_id"])["video_id"].to_pylist()
        assert (file.min_video_id, file.max_video_id) == (ids[0], ids[-1])
        data = store.read_bytes(file.path)
        assert (file.bytes, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        group = parquet.metadata.row_group(0)
        keys = [parquet.schema_arrow.names.index(key) for key in SORT_KEYS[table]]
        assert [one.column_index for one in group.sorting_columns] == keys
        assert group.column(keys[0]).statistics.min == ids[0]


def test_row_groups_are_those_of_published_files(
    store: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_ROW_GROUP_ROWS", 7)
    [file] = merge(store, snapshots.latest(store).of("faces"), 1000)
    metadata = pq.ParquetFile(pa.BufferReader(store.read_bytes(file.path))).metadata
    sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    assert sizes == [7] * 15 + [3]


def test_the_footer_keeps_what_all_files_agree_on(store: Root) -> None:
    [file] = merge(store, snapshots.latest(store).of("videos"), 1000)
    with store.open(file.path) as source:
        footer = tables.own_footer(pq.ParquetFile(source))
    assert footer == {"mien.schema_version": "2", "mien.extract_hash": "e"}


@pytest.mark.parametrize("target", [ROWS_A_NIGHT, 5])
def test_no_more_than_a_piece_or_a_video_is_held(
    store: Root, target: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = []
    between = compaction._rows_between

    def noted(*arguments: Any) -> pa.Table:
        rows = between(*arguments)
        held.append(rows.num_rows)
        return rows

    monkeypatch.setattr(compaction, "_rows_between", noted)
    old = snapshots.latest(store).of("faces")
    new = merge(store, old, target)
    assert max(held) == max(target, 9)  # a video has nine rows
    assert max(file.rows for file in new) == target
    assert sum(held) == sum(file.rows for file in old)


@pytest.mark.parametrize("kind", ["folder", "bucket"])
@pytest.mark.parametrize("harm", ["flipped", "cut", "gone"])
def test_damaged_files_are_named_and_not_merged(tmp_path: Path, kind: str, harm: str) -> None:
    root = Root(places(tmp_path)[kind])
    before = [add(root, write_night(root, night, "faces")) for night in range(3)][-1]
    victim = before.files[1].path
    data = bytearray(root.read_bytes(victim))
    if harm == "gone":
        root.delete([victim])
    else:
        data[len(data) // 2] ^= 1
        root.write(victim, bytes(data if harm == "flipped" else data[:-100]))
    with pytest.raises(StoreError, match=victim):
        snapshots.commit(root, Compaction(root, 1000))
    assert snapshots.latest(root) == before


def test_an_outage_is_waited_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Root(places(tmp_path)["bucket"], patience_seconds=30)
    before = [add(root, write_night(root, night, "faces")) for night in range(3)][-1]
    read_table, left = pq.read_table, [2]

    def flaky(*arguments: Any, **options: Any) -> pa.Table:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(errno.EIO, "gone for a moment")
        return read_table(*arguments, **options)

    monkeypatch.setattr(pq, "read_table", flaky)
    made = snapshots.commit(root, Compaction(root, 1000))
    assert left[0] < -1
    assert len(made.files) == 1
    assert rows_of(root, made) == rows_of(root, before)


# --- beside other writers -----------------------------------------------------------------------


def between_times(root: Root, target: int, act: Any) -> tuple[Compaction, Snapshot]:
    """Compact, while another writer commits `act` just before."""
    change = Compaction(root, target)
    calls = []

    def interrupted(now: Snapshot) -> Snapshot:
        wanted = change(now)
        if not calls:
            act()
        calls.append(now.seq)
        return wanted

    made = snapshots.commit(root, interrupted)
    assert len(calls) == 2
    return change, made


def test_files_published_meanwhile_stay_and_nothing_is_merged_twice(store: Root) -> None:
    old = snapshots.latest(store)
    published: list[TableFile] = []
    written: list[int] = []

    def publish() -> None:
        written.append(len(store.list("tables")))
        published.extend(write_night(store, NIGHTS))
        add(store, published)

    _, made = between_times(store, TARGET, publish)
    assert set(published) <= set(made.files)
    assert len(store.list("tables")) == written[0] + len(published)
    wanted = rows_of(store, replace(old, files=(*old.files, *published)))
    assert rows_of(store, made) == wanted
    assert len(made.files) < len(old.files)


def test_rows_that_another_erased_meanwhile_do_not_come_back(store: Root) -> None:
    gone = video_ids(2, seed=3)[0]

    def erase() -> None:
        def change(now: Snapshot) -> Snapshot:
            left = [rewrite_without(store, file, [(gone, None)]) for file in now.files]
            return replace(now, files=tuple(file for file in left if file is not None))

        snapshots.commit(store, change)

    before = rows_of(store, snapshots.latest(store))
    change, made = between_times(store, TARGET, erase)
    for table, rows in rows_of(store, made).items():
        assert rows.equals(before[table].filter(pc.field("video_id") != gone))
        assert change.merges[table].old


def test_files_of_heavy_rows_hold_fewer(store: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas.tables, "ROW_WEIGHTS", {"embeddings": 2})
    made = snapshots.commit(store, Compaction(store, 2 * TARGET))
    held = {table: [file.rows for file in made.of(table)] for table in ("scores", "embeddings")}
    assert held == {"scores": [80, 28], "embeddings": [40, 40, 28]}


def test_a_second_time_commits_nothing(store: Root) -> None:
    made = snapshots.commit(store, Compaction(store, TARGET))
    assert {table: len(made.of(table)) for table in TABLES} == {
        "videos": 1,
        "segments": 1,
        "faces": 3,
        "tracks": 1,
        "scores": 3,
        "track_scores": 1,
        "embeddings": 3,
    }
    assert snapshots.commit(store, Compaction(store, TARGET)) == made
