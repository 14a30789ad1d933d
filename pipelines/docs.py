"""The tables' documentation, written from their schemas: `python -m pipelines.docs`."""

from pathlib import Path

import pyarrow as pa
from rich import box
from rich.console import Group
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from schemas.reasons import REASON_TEXT
from schemas.tables import GRAINS, SCHEMA_VERSION, SORT_KEYS, TABLES

TABLES_MD = Path(__file__).parents[1] / "docs" / "tables.md"

INTRODUCTION = f"""\
# Tables

Generated from `schemas/tables.py` by `python -m pipelines.docs`. Schema version {SCHEMA_VERSION}.

The labels are *apparent expressions*: what a method sees in a picture of a face. They are never
inner states, and no row says who a person is. A track links one person's faces by motion inside
one video and ends there.

Every file is Parquet, and every column carries its unit and description in its Arrow metadata.
Times are seconds on the video's own clock, spans are half-open, boxes are pixels of the upright
frame. `mien schema` prints this page in the terminal, `mien schema --json` for a machine.
"""

VIEW = """\
## expression_seconds

A view that `mien query` and `open_store` provide beside the tables: one row a track, method and
label, with the seconds that the label was on top, counted by the spacing of the samples. Abstained
faces count for no label.

| column | type | unit | null | description |
|---|---|---|---|---|
| `track_id` | string |  |  | the track |
| `video_id` | string |  |  | the video of the track |
| `method` | string |  |  | name of the scoring method |
| `label` | string |  |  | the label on top |
| `seconds` | float64 | s |  | how long it was on top |
"""


def schema_rows() -> list[dict[str, str | bool]]:
    """Every column of every table: table, column, type, unit, nullable, description."""
    return [
        {
            "table": table,
            "column": column.name,
            "type": type_name(column.type),
            "unit": _note(column, "unit"),
            "nullable": column.nullable,
            "description": _note(column, "description"),
        }
        for table, schema in TABLES.items()
        for column in schema
    ]


def reason_rows() -> list[dict[str, str]]:
    """Every typed reason, with the sentence that says what to do about it."""
    return [{"reason": reason.value, "meaning": text} for reason, text in REASON_TEXT.items()]


def schema_text() -> Group:
    """The tables as `mien schema` prints them: a rich renderable."""
    parts: list[Text | Padding] = []
    for name in TABLES:
        parts.append(Text.from_markup(f"[bold]{name}[/bold] [dim]· {GRAINS[name]}[/dim]"))
        grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        grid.add_column("column", no_wrap=True)
        for heading in ("type", "unit", "description"):
            grid.add_column(heading)
        for row in schema_rows():
            if row["table"] == name:
                kind = f"{row['type']}{' or null' if row['nullable'] else ''}"
                cells = (row["column"], kind, row["unit"], row["description"])
                grid.add_row(*(escape(str(cell)) for cell in cells))
        parts.append(Padding(grid, (0, 0, 1, 0)))
    return Group(*parts)


def tables_markdown() -> str:
    """The whole of docs/tables.md."""
    parts = [INTRODUCTION, _contents()]
    for name in TABLES:
        columns = [row for row in schema_rows() if row["table"] == name]
        lines = [
            f"## {name}",
            "",
            f"{GRAINS[name].capitalize()}. Sorted by {_code_list(SORT_KEYS[name])}.",
            "",
            "| column | type | unit | null | description |",
            "|---|---|---|---|---|",
            *(_markdown_row(row) for row in columns),
            "",
        ]
        parts.append("\n".join(lines))
    parts.append(VIEW)
    reasons = [f"| `{row['reason']}` | {_cell(row['meaning'])} |" for row in reason_rows()]
    parts.append(
        "\n".join(
            [
                "## Reasons",
                "",
                "Why a video or a segment is not `ok`.",
                "",
                "| reason | the video |",
                "|---|---|",
                *reasons,
                "",
            ]
        )
    )
    return "\n".join(parts)


def type_name(kind: pa.DataType) -> str:
    """An Arrow type in words: `float32`, `list of 4 float32`, `timestamp, UTC`."""
    if pa.types.is_fixed_size_list(kind):
        return f"list of {kind.list_size} {type_name(kind.value_type)}"
    if pa.types.is_list(kind):
        return f"list of {type_name(kind.value_type)}"
    if pa.types.is_timestamp(kind):
        return f"timestamp, {kind.tz}"
    names = {pa.float32(): "float32", pa.float64(): "float64", pa.float16(): "float16"}
    return names.get(kind, str(kind))


def _note(column: pa.Field, key: str) -> str:
    return (column.metadata or {}).get(key.encode(), b"").decode()


def _contents() -> str:
    rows = [f"| [`{name}`](#{name}) | {GRAINS[name]} |" for name in TABLES]
    rows.append(
        "| [`expression_seconds`](#expression_seconds) | a view: one row a track and label |"
    )
    return "\n".join(["| table | grain |", "|---|---|", *rows, ""])


def _markdown_row(row: dict[str, str | bool]) -> str:
    unit = "" if row["unit"] == "-" else _cell(row["unit"])
    null = "yes" if row["nullable"] else ""
    return (
        f"| `{row['column']}` | {_cell(row['type'])} | {unit} | {null} "
        f"| {_cell(row['description'])} |"
    )


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|")


def _code_list(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def main() -> None:
    TABLES_MD.parent.mkdir(exist_ok=True)
    TABLES_MD.write_text(tables_markdown(), encoding="utf-8")


if __name__ == "__main__":
    main()
