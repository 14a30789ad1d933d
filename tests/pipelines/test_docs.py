"""The tables' page says what the schemas say."""

import io
import json

from rich.console import Console

from pipelines.docs import TABLES_MD, reason_rows, schema_rows, schema_text, tables_markdown
from schemas.reasons import Reason
from schemas.tables import GRAINS, SORT_KEYS, TABLES


def test_the_committed_page_is_up_to_date() -> None:
    committed = TABLES_MD.read_text(encoding="utf-8")
    assert committed == tables_markdown(), "run `python -m pipelines.docs`"


def test_every_column_once_in_order_with_unit_and_description() -> None:
    rows = schema_rows()
    expected = [(table, column.name) for table, schema in TABLES.items() for column in schema]
    assert [(row["table"], row["column"]) for row in rows] == expected
    assert all(row["unit"] and row["description"] and row["type"] for row in rows)
    assert json.loads(json.dumps(rows)) == rows


def test_every_table_says_its_grain_and_order() -> None:
    page = tables_markdown()
    for table in TABLES:
        section = page.split(f"\n## {table}\n")[1].split("\n## ")[0]
        assert GRAINS[table].capitalize() in section
        assert all(f"`{key}`" in section for key in SORT_KEYS[table])


def test_every_reason_is_explained() -> None:
    assert {row["reason"] for row in reason_rows()} == set(Reason)


def test_the_terminal_shows_every_column() -> None:
    out = io.StringIO()
    Console(file=out, width=200).print(schema_text())
    text = out.getvalue()
    assert all(str(row["column"]) in text for row in schema_rows())
    assert all(str(row["description"]) in text for row in schema_rows())
