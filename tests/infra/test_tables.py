from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from infra.snapshots import Snapshot
from infra.storage import Root
from infra.tables import (
    read_small_table,
    rewrite_without,
    table_rows,
    write_part,
    write_small_table,
)
from schemas.tables import SORT_KEYS, TABLES
from tests.infra.places import places
from tests.rows import store_tables, video_ids

METHODS = ("zero_shot", "other")
FOOTER = {"mien.run_id": "r", "mien.extract_hash": "e"}


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(str(tmp_path))


def parquet(root: Root, rel: str) -> pq.ParquetFile:
    return pq.ParquetFile(pa.BufferReader(root.read_bytes(rel)))


def shuffled(rows: pa.Table) -> pa.Table:
    return rows.take(np.random.default_rng(1).permutation(rows.num_rows))


@pytest.mark.parametrize("table", TABLES)
def test_a_file_says_what_it_holds(root: Root, table: str) -> None:
    rows = store_tables(methods=METHODS)[table]
    rows = rows.cast(pa.schema([(field.name, field.type) for field in TABLES[table]]))
    [file] = write_part(root, table, rows, "p", FOOTER)
    found = parquet(root, file.path)
    for field in TABLES[table]:
        assert found.schema_arrow.field(field.name).metadata == field.metadata
        assert found.schema_arrow.field(field.name).nullable == field.nullable
    assert found.schema_arrow.metadata == {
        b"mien.schema_version": b"2",
        b"mien.run_id": b"r",
        b"mien.extract_hash": b"e",
    }
    assert found.metadata.row_group(0).column(0).compression == "ZSTD"
    assert (file.rows, file.bytes) == (rows.num_rows, len(root.read_bytes(file.path)))
    assert [file.min_video_id, file.max_video_id] == video_ids(2)


@pytest.mark.parametrize("table", TABLES)
def test_equal_rows_make_equal_bytes_in_sort_order(root: Root, table: str) -> None:
    rows = store_tables(methods=METHODS)[table]
    whole = write_part(root, table, rows, "p", FOOTER)
    pieces = pa.concat_tables([rows.slice(3), rows.slice(0, 3)])  # other chunks, other order
    assert write_part(root, table, shuffled(pieces), "p", FOOTER) == whole
    found = parquet(root, whole[0].path).read()
    keys = [tuple(row[key] for key in SORT_KEYS[table]) for row in found.to_pylist()]
    assert keys == sorted(keys)


def test_other_rows_never_meet_under_one_name(root: Root) -> None:
    one, other = (store_tables(seed=seed)["faces"] for seed in (0, 1))
    [first] = write_part(root, "faces", one, "p", FOOTER)
    [second] = write_part(root, "faces", other, "p", FOOTER)
    assert first.path != second.path
    assert parquet(root, first.path).read().num_rows == one.num_rows


def test_files_hold_at_most_so_many_rows_and_lose_none(root: Root) -> None:
    rows = store_tables(videos=3, faces_per_video=11)["faces"]
    files = write_part(root, "faces", rows, "p", FOOTER, max_rows=10)
    assert [file.rows for file in files] == [10, 10, 10, 3]
    assert table_rows(root, Snapshot(files=tuple(files)), "faces").equals(
        rows.sort_by([(key, "ascending") for key in SORT_KEYS["faces"]])
    )


def test_no_rows_make_no_file(root: Root) -> None:
    assert write_part(root, "faces", TABLES["faces"].empty_table(), "p", FOOTER) == []


@pytest.mark.parametrize("broken", ["missing", "unknown", "null"])
def test_rows_of_another_shape_are_refused(root: Root, broken: str) -> None:
    rows = store_tables()["faces"]
    if broken == "missing":
        rows = rows.drop_columns(["occlusion"])
    elif broken == "unknown":
        rows = rows.append_column("crops", rows["occlusion"])
    else:
        index = rows.schema.get_field_index("occlusion")
        nulls = pa.nulls(rows.num_rows, pa.float32())
        rows = rows.cast(pa.schema([f.with_nullable(True) for f in rows.schema])).set_column(
            index, "occlusion", nulls
        )
    with pytest.raises(ValueError, match=r"occlusion|crops"):
        write_part(root, "faces", rows, "p", FOOTER)
    assert root.list("") == []


def test_erasing_leaves_every_other_row(root: Root) -> None:
    first, second = video_ids(2)
    rows = store_tables(methods=METHODS)["scores"]
    [file] = write_part(root, "scores", rows, "p", FOOTER)
    before = root.read_bytes(file.path)

    def left(*gone: tuple[str, str | None]) -> set[tuple[str, str]]:
        new = rewrite_without(root, file, gone)
        assert new is not None
        found = table_rows(root, Snapshot(files=(new,)), "scores", ["video_id", "method"])
        assert (new.rows, new == file) == (found.num_rows, new.rows == file.rows)
        return {(row["video_id"], row["method"]) for row in found.to_pylist()}

    everything = {(video, method) for video in (first, second) for method in METHODS}
    assert left((first, None)) == {pair for pair in everything if pair[0] == second}
    assert left((first, "other")) == everything - {(first, "other")}
    assert left((first, "other"), (second, None)) == {(first, "zero_shot")}
    assert left(("nobody", None), (first, "unknown")) == everything
    assert rewrite_without(root, file, [(first, None), (second, None)]) is None
    assert root.read_bytes(file.path) == before


def test_a_rewritten_file_keeps_order_and_footer(root: Root) -> None:
    first, second = video_ids(2)
    rows = store_tables()["faces"]
    [file] = write_part(root, "faces", rows, "p", FOOTER)
    new = rewrite_without(root, file, [(first, None)])
    assert new is not None
    only = rows.filter(pc.field("video_id") == second)
    assert write_part(root, "faces", only, "p", FOOTER) == [new]


def test_a_method_in_gone_touches_no_table_without_methods(root: Root) -> None:
    [file] = write_part(root, "faces", store_tables()["faces"], "p", FOOTER)
    assert rewrite_without(root, file, [(video_ids(2)[0], "zero_shot")]) is file


def test_an_untouched_file_is_not_even_read(root: Root) -> None:
    [file] = write_part(root, "faces", store_tables()["faces"], "p", FOOTER)
    gone_from_disk = replace(file, path="tables/faces/missing-0.parquet")
    assert rewrite_without(root, gone_from_disk, [("zzz", None)]) is gone_from_disk


def test_rows_by_video_and_column(tmp_path: Path) -> None:
    root = Root(places(tmp_path)["bucket"])
    scores = store_tables(videos=3)["scores"]
    first = pc.field("video_id") == video_ids(3)[0]
    files = [
        *write_part(root, "scores", scores.filter(first), "a", FOOTER),
        *write_part(root, "scores", scores.filter(~first), "b", FOOTER),
    ]
    snapshot = Snapshot(files=tuple(files))
    wanted = video_ids(3)[1]
    found = table_rows(root, snapshot, "scores", ["method", "face_id"], [wanted])
    assert found.column_names == ["method", "face_id"]
    assert {face.split("-")[0] for face in found["face_id"].to_pylist()} == {wanted}
    assert found.num_rows == 10
    assert table_rows(root, snapshot, "scores", video_ids=[]).num_rows == 0
    assert table_rows(root, snapshot, "tracks").schema == TABLES["tracks"]


def test_small_tables_beside_the_published_ones(root: Root) -> None:
    rows = store_tables()["segments"]
    assert read_small_table(root, "probes.parquet") is None
    write_small_table(root, "probes.parquet", rows)
    found = read_small_table(root, "probes.parquet")
    assert found is not None
    assert found.equals(rows, check_metadata=True)
