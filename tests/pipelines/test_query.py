import csv
import io
import json
import secrets
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra import runs
from infra.errors import ConfigurationError, StoreError
from infra.runs import RunRecord
from infra.snapshots import Snapshot
from infra.store import Store
from infra.tables import rewrite_without, write_part
from pipelines.query import open_store, run_query
from schemas.tables import TABLES
from tests.infra.places import KEY, places
from tests.rows import SPACING_SECONDS, store_tables, video_ids

VIEWS = (*TABLES, "expression_seconds")


@pytest.fixture(params=["folder", "bucket", "odd folder", "odd bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("MIEN_KEY", KEY)
    urls = {
        **places(tmp_path),
        "odd folder": str(tmp_path / "it's [a] *store?"),
        "odd bucket": f"memory://bucket/{secrets.token_hex(6)}/it's [a] store",
    }
    return Store.open(urls[request.param], create=True)


def publish(store: Store, tables: dict[str, pa.Table], part: str = "p") -> None:
    files = tuple(
        file
        for table, rows in tables.items()
        for file in write_part(store.root, table, rows, part, {})
    )
    store.commit(lambda now: Snapshot(files=(*now.files, *files)))


def one(con: duckdb.DuckDBPyConnection, sql: str) -> tuple:
    row = con.execute(sql).fetchone()
    assert row is not None
    return row


def with_column(rows: pa.Table, name: str, values: list) -> pa.Table:
    index = rows.schema.get_field_index(name)
    field = rows.schema.field(name)
    return rows.set_column(index, field, pa.array(values, field.type))


def test_an_empty_store_has_every_view_and_column(store: Store) -> None:
    con = open_store(store.root.url)
    for view in VIEWS:
        assert one(con, f"select count(*) from {view}") == (0,)
    for table, schema in TABLES.items():
        assert [row[0] for row in con.execute(f"describe {table}").fetchall()] == schema.names


def test_views_hold_the_live_rows_without_a_key(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = store_tables()
    publish(store, tables)
    monkeypatch.delenv("MIEN_KEY")
    con = open_store(store.root.url)
    for table, rows in tables.items():
        assert one(con, f"select count(*) from {table}") == (rows.num_rows,)
    assert one(con, "select sum(faces_found) from segments") == one(
        con, "select count(*) from faces"
    )


def test_a_connection_holds_its_snapshot(store: Store) -> None:
    publish(store, store_tables())
    before = open_store(store.root.url)
    first = video_ids(2)[0]

    def erase(now: Snapshot) -> Snapshot:
        left = [rewrite_without(store.root, file, [(first, None)]) for file in now.files]
        return Snapshot(files=tuple(file for file in left if file is not None))

    store.commit(erase)
    assert one(before, "select count(distinct video_id) from faces") == (2,)
    after = open_store(store.root.url)
    for view in VIEWS:
        assert one(after, f"select count(*) from {view} where video_id = '{first}'") == (0,)
        assert one(after, f"select count(distinct video_id) from {view}") == (1,)


def test_rows_of_one_run(store: Store) -> None:
    publish(store, store_tables(videos=1, seed=1, run_id="run-1"), "a")
    publish(store, store_tables(videos=2, seed=2, run_id="it's 2"), "b")
    for run_id in ("run-1", "it's 2"):
        runs.save(store.root, RunRecord(run_id=run_id, started=datetime.now(UTC)))
    connections = [open_store(store.root.url, run_id) for run_id in (None, "run-1", "it's 2")]
    for view in VIEWS:
        count = f"select count(distinct video_id) from {view}"
        assert [one(con, count) for con in connections] == [(3,), (1,), (2,)]
    with pytest.raises(StoreError, match="has no run nobody"):
        open_store(store.root.url, "nobody")


def test_seconds_of_a_label(tmp_path: Path) -> None:
    """A gap counts at most twice, the last sample once, an abstained face not at all."""
    store = Store.open(str(tmp_path / "s"), create=True)
    tables = store_tables(videos=1, faces_per_video=10)
    scores = tables["scores"].sort_by([("track_id", "ascending"), ("pts_seconds", "ascending")])
    scores = with_column(scores, "pts_seconds", [0, 0.25, 0.5, 5, 5.25] * 2)
    scores = with_column(scores, "top_label", ["anger", "fear", "anger", "fear", "anger"] * 2)
    scores = with_column(scores, "abstained", [False] * 9 + [True])
    publish(store, {**tables, "scores": scores})
    con = open_store(store.root.url)
    found = con.execute(
        "select label, seconds from expression_seconds order by track_id, label"
    ).fetchall()
    assert found == [("anger", 1.0), ("fear", 0.5), ("anger", 0.75), ("fear", 0.5)]


def test_seconds_where_every_track_has_one_sample(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "s"), create=True)
    tables = store_tables(videos=1, faces_per_video=2)
    scores = with_column(tables["scores"], "abstained", [False, False])
    publish(store, {**tables, "scores": scores})
    seconds = open_store(store.root.url).execute("select seconds from expression_seconds")
    assert seconds.fetchall() == [(SPACING_SECONDS,)] * 2


SQL = """
select 'a' as label, 1 as n, 2.5::float as x, null as nothing, [1.5, 'nan'::double] as many,
    timestamptz '2026-01-02 03:04:05+00' as at, 'two\nlines' as n, sum(3) as total
"""


def test_formats(tmp_path: Path) -> None:
    con = duckdb.connect()
    names = ["label", "n", "x", "nothing", "many", "at", "n_2", "total"]
    [row] = json.loads(run_query(con, SQL, "json"))
    assert list(row) == names
    assert row["many"] == [1.5, None]
    assert (row["n"], row["n_2"], row["total"]) == (1, "two\nlines", 3)
    assert datetime.fromisoformat(row["at"]) == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    text = run_query(con, SQL, "csv")
    assert isinstance(text, str)
    [from_csv] = csv.DictReader(io.StringIO(text))
    assert (from_csv["nothing"], from_csv["many"], from_csv["n_2"]) == (
        "",
        "[1.5, null]",
        "two\nlines",
    )

    data = run_query(con, SQL, "parquet")
    assert isinstance(data, bytes)
    assert pq.read_table(pa.BufferReader(data)).column_names == names

    table = run_query(con, SQL, "table")
    assert isinstance(table, str)
    header, rule, line = table.splitlines()
    assert header.split() == names
    assert set(rule) == {"-", " "}
    assert "two\\nlines" in line
    assert header.index("total") + len("total") == line.rindex("3") + 1


def test_wrong_sql_and_format_are_one_plain_line() -> None:
    con = duckdb.connect()
    for sql, format in (("select nope", "json"), ("selec 1", "csv"), ("select 1", "xml")):
        with pytest.raises(ConfigurationError) as caught:
            run_query(con, sql, format)
        assert "\n" not in str(caught.value)
    assert run_query(con, "create table x (a int)", "csv") in ("", "Count\n")


def test_no_extension_is_ever_fetched(tmp_path: Path) -> None:
    con = open_store(Store.open(str(tmp_path / "s"), create=True).root.url)
    settings = dict(con.execute("select name, value from duckdb_settings()").fetchall())
    assert settings["autoinstall_known_extensions"] == "false"
    assert settings["autoload_known_extensions"] == "false"
