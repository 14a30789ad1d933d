"""Pages and figures about synthetic tables, for the tests of the report."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa

from pipelines.query import EXPRESSION_SECONDS
from pipelines.report import report_html
from pipelines.report_sections import chapters
from schemas.tables import TABLES

Tables = dict[str, pa.Table]

NOW = datetime(2026, 7, 27, 20, 0, tzinfo=UTC)
RUN = {
    "run_id": "20260727T200000000Z-abcdef",
    "state": "published",
    "started": "2026-07-27T19:00:00Z",
    "ended": "2026-07-27T19:10:00Z",
    "config_yaml": "source: /archive/secret-place\nscore:\n  methods: [zero_shot]\n",
    "hashes": {"extract": "e" * 64},
    "written_seconds": 1200.0,
}


def connect(tables: Tables) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    for name, schema in TABLES.items():
        con.register(name, tables.get(name, schema.empty_table()))
    con.execute(EXPRESSION_SECONDS)
    return con


def page_of(tables: Tables, run: dict[str, Any] | None = None) -> str:
    return report_html(connect(tables), "A title", run, NOW)


def drawn(tables: Tables) -> dict[str, Any]:
    """The figures that the page about some tables would have."""
    figures: dict[str, Any] = {}
    chapters(connect(tables), None, figures)
    return figures


def figures_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.S)
    assert found is not None
    return json.loads(found[1])


def changed(table: pa.Table, **columns: Any) -> pa.Table:
    """A table with some columns replaced: a value for all rows, or a list."""
    for name, value in columns.items():
        index = table.schema.get_field_index(name)
        values = value if isinstance(value, list) else [value] * len(table)
        field = table.schema.field(name)
        table = table.set_column(index, field, pa.array(values, field.type))
    return table
