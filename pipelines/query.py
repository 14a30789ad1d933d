"""Query a store with SQL: its tables as DuckDB views over one snapshot."""

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Literal, get_args

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from infra import runs, snapshots
from infra.errors import ConfigurationError
from infra.offline import DUCKDB_OFFLINE
from infra.storage import Root
from infra.store import readable
from schemas.tables import TABLES

Format = Literal["table", "csv", "json", "parquet"]

#: A face's label holds until the next sample of its track, at most twice the usual spacing of its
#: video's samples, and for one spacing after the last. The usual spacing is the median; where no
#: track has two samples, it is the seconds read over the frames sampled. Abstained faces count
#: for no label.
EXPRESSION_SECONDS = """
CREATE VIEW expression_seconds AS
WITH samples AS (
    SELECT video_id, track_id, method, top_label, abstained,
        lead(pts_seconds) OVER (PARTITION BY track_id, method ORDER BY pts_seconds) - pts_seconds
            AS gap
    FROM scores
), sampled AS (
    SELECT video_id, sum(seconds_read) / nullif(sum(frames_sampled), 0) AS spacing
    FROM segments GROUP BY video_id
), usual AS (
    SELECT video_id, coalesce(median(gap), any_value(spacing), 0) AS spacing
    FROM samples LEFT JOIN sampled USING (video_id) GROUP BY video_id
)
SELECT track_id, video_id, method, top_label AS label,
    sum(least(coalesce(gap, spacing), 2 * spacing)) AS seconds
FROM samples JOIN usual USING (video_id)
WHERE NOT abstained
GROUP BY ALL
"""


def open_store(url: str, run_id: str | None = None) -> duckdb.DuckDBPyConnection:
    """Open a store for reading, as it is now: what is published later does not show.

    Views: videos, segments, faces, tracks, scores, track_scores, embeddings and expression_seconds.
    With `run_id` they hold the videos that this run published last. No key is needed.

    Raises:
        StoreError: The store or the run is not there.
    """
    root = readable(url)
    if run_id is not None:
        runs.load(root, run_id)
    snapshot = snapshots.latest(root)
    # Extensions are never fetched: a store in a bucket is read through fsspec.
    con = duckdb.connect(config=DUCKDB_OFFLINE)
    if not root.local:
        con.register_filesystem(root.fs)
    for table, schema in TABLES.items():
        files = [_literal(root, file.path) for file in snapshot.of(table)]
        if files:
            rows = f"read_parquet([{', '.join(files)}], hive_partitioning = false)"
        else:
            rows = f"no_{table}"
            con.register(rows, schema.empty_table())
        con.execute(f"CREATE VIEW {table} AS SELECT * FROM {rows}{_only(table, run_id)}")
    con.execute(EXPRESSION_SECONDS)
    return con


def run_query(con: duckdb.DuckDBPyConnection, sql: str, format: str = "table") -> str | bytes:
    """The result of a query as text, or as Parquet bytes.

    Raises:
        ConfigurationError: The format is unknown or the SQL is wrong.
    """
    if format not in get_args(Format):
        raise ConfigurationError(f"--format {format}: choose from {', '.join(get_args(Format))}")
    try:
        found: duckdb.DuckDBPyRelation | None = con.sql(sql)
        if found is None:  # a statement without rows
            return ""
        rows = found.to_arrow_table()
    except duckdb.Error as error:
        what = str(error).split("\nLINE ")[0]
        raise ConfigurationError(f"SQL: {' '.join(what.split())}") from error
    rows = rows.rename_columns(_unique(rows.column_names))
    if format == "parquet":
        sink = io.BytesIO()
        pq.write_table(rows, sink, compression="zstd")
        return sink.getvalue()
    if format == "csv":
        return _csv(rows)
    if format == "json":
        return json.dumps(list(_plain_rows(rows)), indent=1, ensure_ascii=False) + "\n"
    return _text(rows)


def _literal(root: Root, rel: str) -> str:
    """A file as SQL text, with what DuckDB would read as a glob made plain."""
    path = "".join(f"[{char}]" if char in "*?[" else char for char in root.full(rel))
    return "'" + path.replace("'", "''") + "'"


def _only(table: str, run_id: str | None) -> str:
    if run_id is None:
        return ""
    mine = "run_id = '" + run_id.replace("'", "''") + "'"
    if "run_id" in TABLES[table].names:
        return f" WHERE {mine}"
    return f" WHERE video_id IN (SELECT video_id FROM videos WHERE {mine})"


def _unique(names: Sequence[str]) -> list[str]:
    found: dict[str, int] = {}
    unique = []
    for name in names:
        found[name] = found.get(name, 0) + 1
        unique.append(name if found[name] == 1 else f"{name}_{found[name]}")
    return unique


def _plain_rows(rows: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in rows.to_batches():
        for row in batch.to_pylist():
            yield {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    """A value that JSON has: NaN and the infinities become null, times ISO 8601."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def _csv(rows: pa.Table) -> str:
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(rows.column_names)
    for row in _plain_rows(rows):
        writer.writerow(
            [json.dumps(cell) if isinstance(cell, list | dict) else cell for cell in row.values()]
        )
    return sink.getvalue()


def _text(rows: pa.Table) -> str:
    """Columns side by side, numbers to the right."""
    cells = [[_cell(value) for value in row.values()] for row in _plain_rows(rows)]
    table = [list(rows.column_names), *cells]
    widths = [max(len(line[column]) for line in table) for column in range(rows.num_columns)]
    right = [
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        for kind in rows.schema.types
    ]
    rule = ["-" * width for width in widths]
    lines = []
    for line in [table[0], rule, *cells]:
        padded = [
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, right, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
