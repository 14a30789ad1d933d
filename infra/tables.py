"""Published Parquet files: written once, sorted, with their meaning inside; never changed in place.

A file's name ends in the hash of its bytes, so that equal rows make the same file and different
rows can never meet under one name.
"""

import bisect
import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from infra.snapshots import Snapshot, TableFile
from infra.storage import Root, in_parallel
from schemas.config import Run
from schemas.tables import SCHEMA_VERSION, SORT_KEYS, TABLES

pc: Any = pyarrow.compute  # its functions are made at import: type checkers see none

FOLDER = "tables"
_ROW_GROUP_ROWS = 100_000
_HASH_DIGITS = 16
_VERSION_KEY = "mien.schema_version"
_PUBLISH_ROWS: int = Run.model_fields["publish_rows"].default


def write_part(
    root: Root,
    table_name: str,
    rows: pa.Table,
    part_name: str,
    footer: Mapping[str, str],
    max_rows: int = _PUBLISH_ROWS,
) -> list[TableFile]:
    """Write rows of one table as files of at most `max_rows`; no rows make no file.

    `footer` goes into the key-values of every file, beside the schema version.

    Raises:
        ValueError: A column is missing, unknown or of another type, or has nulls where none may be.
    """
    rows = in_order(conform(rows, TABLES[table_name]), table_name)
    written = []
    for start in range(0, rows.num_rows, max_rows):
        piece = rows.slice(start, max_rows)
        written.append(_write(root, table_name, piece, part_name, footer))
    return written


def rewrite_without(
    root: Root, file: TableFile, gone: Collection[tuple[str, str | None]]
) -> TableFile | None:
    """The file to list in place of `file` once the rows of `gone` are left out.

    `gone` holds (video_id, method), or (video_id, None) for all rows of the video. Returns `file`
    itself when none of its rows is gone, and None when all are. The old file stays: readers of
    older snapshots hold it.
    """
    in_range = {
        (video, method) for video, method in gone if file.min_video_id <= video <= file.max_video_id
    }
    has_methods = "method" in TABLES[file.table].names
    wanted = in_range if has_methods else {pair for pair in in_range if pair[1] is None}
    if not wanted:
        return file
    with root.open(file.path) as source:
        parquet = pq.ParquetFile(source)
        if not _groups_with(parquet, {video for video, _ in wanted}):
            return file
        keys = parquet.read(columns=["video_id", "method"] if has_methods else ["video_id"])
        stay = pc.invert(_matches(keys, wanted))
        left = pc.sum(stay).as_py() or 0
        if left == file.rows:
            return file
        if left == 0:
            return None
        rows = parquet.read().filter(stay)
        footer = own_footer(parquet)
    part_name = file.path.rsplit("/", 1)[-1].rsplit("-", 1)[0]
    return _write(root, file.table, conform(rows, TABLES[file.table]), part_name, footer)


def rows_of_videos(root: Root, rel: str, video_ids: Collection[str]) -> int:
    """How many rows of these videos a published file holds, listed or not."""
    with root.open(rel) as source:
        parquet = pq.ParquetFile(source)
        groups = _groups_with(parquet, video_ids)
        if not groups:
            return 0
        found = parquet.read_row_groups(groups, columns=["video_id"])["video_id"]
        return pc.sum(pc.is_in(found, pa.array(sorted(video_ids), pa.string()))).as_py() or 0


def narrowed(root: Root, snapshot: Snapshot, video_ids: Collection[str]) -> Snapshot:
    """The same state, but only with the files that hold rows of these videos."""
    names = sorted(video_ids)
    files = [file for file in snapshot.files if _may_hold(file, names)]
    counts = in_parallel(lambda file: rows_of_videos(root, file.path, names), files)
    held = tuple(file for file, rows in zip(files, counts, strict=True) if rows)
    return replace(snapshot, files=held)


def table_rows(
    root: Root,
    snapshot: Snapshot,
    table: str,
    columns: Iterable[str] | None = None,
    video_ids: Collection[str] | None = None,
) -> pa.Table:
    """Rows of one table in one snapshot, in its sort order: for tests and small tables.

    `video_ids` keeps the rows of those videos; files and row groups without them are not read.
    """
    schema = TABLES[table]
    chosen = schema if columns is None else pa.schema([schema.field(name) for name in columns])
    wanted = None if video_ids is None else sorted(set(video_ids))
    files = [file for file in snapshot.of(table) if wanted is None or _may_hold(file, wanted)]
    keys = [name for name in SORT_KEYS[table] if name not in chosen.names]
    filters = (
        None if wanted is None else pc.is_in(pc.field("video_id"), pa.array(wanted, pa.string()))
    )

    def read(rel: str) -> pa.Table:
        with root.open(rel) as source:
            return pq.read_table(source, columns=[*chosen.names, *keys], filters=filters)

    parts = in_parallel(read, [file.path for file in files])
    if not parts:
        return chosen.empty_table()
    rows = in_order(pa.concat_tables(parts), table)
    return rows.select(chosen.names).cast(chosen)


def write_small_table(root: Root, rel: str, rows: pa.Table) -> None:
    """Put a table that is no published one, whole, replacing one of that name."""
    sink = pa.BufferOutputStream()
    whole = rows.combine_chunks()
    # It is read whole: dictionaries and statistics would only make it larger.
    pq.write_table(whole, sink, compression="zstd", use_dictionary=False, write_statistics=False)
    root.write(rel, sink.getvalue().to_pybytes())


def read_small_table(root: Root, rel: str) -> pa.Table | None:
    """The table that was put there; None if there is none."""
    try:
        data = root.read_bytes(rel)
    except FileNotFoundError:
        return None
    return pq.read_table(pa.BufferReader(data))


def conform(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The same rows with exactly the schema's columns, types and metadata.

    Raises:
        ValueError: A column is missing or unknown, or has nulls where none may be.
    """
    missing = sorted(set(schema.names) - set(rows.column_names))
    unknown = sorted(set(rows.column_names) - set(schema.names))
    if missing or unknown:
        raise ValueError(f"columns missing: {missing}, unknown: {unknown}")
    return rows.select(schema.names).cast(schema)


def in_order(rows: pa.Table, table: str) -> pa.Table:
    """Rows of a table in its sort order."""
    order = pc.sort_indices(rows, _ordering(table))
    return rows.take(order).combine_chunks()


def own_footer(parquet: pq.ParquetFile) -> dict[str, str]:
    """The key-values that `write_part` put into a file's footer."""
    metadata = parquet.schema_arrow.metadata or {}
    return {key.decode(): value.decode() for key, value in metadata.items()}


def _write(
    root: Root, table: str, rows: pa.Table, part_name: str, footer: Mapping[str, str]
) -> TableFile:
    values = {**footer, _VERSION_KEY: str(SCHEMA_VERSION)}
    schema = rows.schema.with_metadata({key: values[key] for key in sorted(values)})
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        write_page_index=True,
        sorting_columns=pq.SortingColumn.from_ordering(schema, _ordering(table)),
    ) as writer:
        # A slice of a table writes other pages than the same rows alone would.
        writer.write_table(
            pa.Table.from_batches(rows.combine_chunks().to_batches(), schema),
            row_group_size=_ROW_GROUP_ROWS,
        )
    data = sink.getvalue().to_pybytes()
    digest = hashlib.sha256(data).hexdigest()
    rel = f"{FOLDER}/{table}/{part_name}-{digest[:_HASH_DIGITS]}.parquet"
    root.write(rel, data)
    ends = pc.min_max(rows.column("video_id")).as_py()
    return TableFile(table, rel, rows.num_rows, len(data), digest, ends["min"], ends["max"])


def _matches(keys: pa.Table, wanted: Collection[tuple[str, str | None]]) -> pa.ChunkedArray:
    videos = keys.column("video_id")
    whole = pa.array([video for video, method in wanted if method is None], pa.string())
    found = pc.is_in(videos, whole)
    for method in sorted({method for _, method in wanted if method is not None}):
        some = pa.array([video for video, other in wanted if other == method], pa.string())
        found = pc.or_(found, pc.and_(pc.is_in(videos, some), pc.equal(keys["method"], method)))
    return found


def _groups_with(parquet: pq.ParquetFile, video_ids: Collection[str]) -> list[int]:
    """Row groups whose statistics leave room for one of these videos."""
    names = sorted(video_ids)
    column = parquet.schema_arrow.get_field_index("video_id")

    def may_hold(group: int) -> bool:
        ends = parquet.metadata.row_group(group).column(column).statistics
        if ends is None or not ends.has_min_max:
            return True
        at = bisect.bisect_left(names, ends.min)
        return at < len(names) and names[at] <= ends.max

    return [group for group in range(parquet.num_row_groups) if may_hold(group)]


def _may_hold(file: TableFile, video_ids: list[str]) -> bool:
    return any(file.min_video_id <= video <= file.max_video_id for video in video_ids)


def _ordering(table: str) -> list[tuple[str, str]]:
    return [(key, "ascending") for key in SORT_KEYS[table]]
