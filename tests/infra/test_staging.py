from pathlib import Path

import pyarrow as pa
import pytest

from infra import staging
from infra.storage import Root
from schemas.flow import STAGED, WRITTEN
from tests.rows import staged_rows

RUN = "20260101T000000000Z-000000"


def with_column(rows: pa.Table, name: str, values: list) -> pa.Table:
    index = rows.schema.get_field_index(name)
    return rows.set_column(index, rows.schema.field(name), pa.array(values, pa.string()))


def test_rows_come_back_as_they_went(root: Root) -> None:
    rows = staged_rows(methods=("a", "b"))
    written = staging.write_segments(rows, root, RUN)
    assert written == rows.select(WRITTEN.names)
    found = staging.read_staged(root, RUN, reversed(rows["segment_id"].to_pylist()))
    assert found.schema == STAGED
    assert found == rows
    assert staging.staged_segments(root, RUN) == set(rows["segment_id"].to_pylist())
    assert staging.staged_runs(root) == [RUN]


def test_deferred_rows_come_back_but_are_not_written(root: Root) -> None:
    rows = staged_rows()
    states = ["ok", staging.DEFERRED, "quarantined", staging.DEFERRED]
    written = staging.write_segments(with_column(rows, "status", states), root, RUN)
    assert written["status"].to_pylist() == states
    ids = rows["segment_id"].to_pylist()
    assert staging.staged_segments(root, RUN) == {ids[0], ids[2]}


def test_only_declared_columns_reach_the_storage(root: Root) -> None:
    rows = staged_rows()
    extra = rows.append_column("uri", pa.array(["/secret/film.mp4"] * rows.num_rows))
    staging.write_segments(extra, root, RUN)
    assert all(b"secret" not in root.read_bytes(rel) for rel, _ in root.list("staging"))


def test_a_second_attempt_replaces_the_first(root: Root) -> None:
    rows = staged_rows()
    staging.write_segments(with_column(rows, "decoder", ["old"] * 4), root, RUN)
    staging.write_segments(rows, root, RUN)
    assert staging.read_staged(root, RUN, staging.staged_segments(root, RUN)) == rows


def test_batching_changes_no_byte(tmp_path: Path) -> None:
    rows = staged_rows()
    one, other = Root(str(tmp_path / "1")), Root(str(tmp_path / "2"))
    staging.write_segments(rows, one, RUN)
    for index in (2, 0, 3, 1):
        staging.write_segments(rows.slice(index, 1), other, RUN)
    assert {rel: one.read_bytes(rel) for rel, _ in one.list("")} == {
        rel: other.read_bytes(rel) for rel, _ in other.list("")
    }


def test_a_missing_column_is_named_and_nothing_is_written(root: Root) -> None:
    with pytest.raises(KeyError, match="scores"):
        staging.write_segments(staged_rows().drop_columns(["scores"]), root, RUN)
    assert root.list("") == []


def test_no_rows(root: Root) -> None:
    assert staging.write_segments(STAGED.empty_table(), root, RUN).num_rows == 0
    assert staging.read_staged(root, RUN, []).schema == STAGED
    assert staging.staged_segments(root, RUN) == set()


def test_discard_some_or_all_of_one_run(root: Root) -> None:
    rows = staged_rows()
    ids = rows["segment_id"].to_pylist()
    for run_id in (RUN, "other"):
        staging.write_segments(rows, root, run_id)
    staging.discard(root, RUN, ids[:1])
    assert staging.staged_segments(root, RUN) == set(ids[1:])
    staging.discard(root, RUN)
    assert staging.staged_runs(root) == ["other"]
    assert staging.staged_segments(root, "other") == set(ids)
