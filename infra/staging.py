"""Results of segments on their way to the tables: one file a segment, named by its id.

A second attempt at a segment replaces the first one's file, so a retry can neither lose nor double
rows. What stands here is complete: there are no half-written files to see.
"""

from collections.abc import Collection, Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from infra.errors import Resumable
from infra.storage import Root, in_parallel
from infra.tables import write_small_table
from schemas.flow import STAGED, WRITTEN
from schemas.reasons import DEFERRED, Deferral

FOLDER = "staging"
_SUFFIX = ".parquet"
_TOGETHER = 1_000


def write_segments(segments: pa.Table, root: Root, run_id: str) -> pa.Table:
    """Write one file a row, and return the same rows as WRITTEN: what the driver needs to count.

    Only the columns of STAGED reach the storage. Deferred rows come back, but are not written; a
    row that the storage does not take comes back deferred.

    Raises:
        KeyError: A column of STAGED is missing.
    """
    said = []
    for index in range(segments.num_rows):
        row = segments.slice(index, 1)
        written = row.select(WRITTEN.names).cast(WRITTEN)
        if row["status"][0].as_py() != DEFERRED:
            staged = row.select(STAGED.names).cast(STAGED)
            try:
                write_small_table(root, _rel(run_id, row["segment_id"][0].as_py()), staged)
            except Resumable:  # no answer for minutes, or no space: the driver ends the run
                written = _deferred(written)
        said.append(written)
    return pa.concat_tables(said) if said else segments.select(WRITTEN.names).cast(WRITTEN)


def _deferred(written: pa.Table) -> pa.Table:
    for name, value in (("status", DEFERRED), ("reason", str(Deferral.STORAGE))):
        at = written.schema.get_field_index(name)
        written = written.set_column(at, written.schema.field(at), pa.array([value], pa.string()))
    return written


def staged_runs(root: Root) -> list[str]:
    """The runs that have rows in staging, oldest first."""
    return sorted({rel.split("/")[1] for rel, _ in root.list(FOLDER) if rel.endswith(_SUFFIX)})


def staged_segments(root: Root, run_id: str) -> set[str]:
    """The segments of a run that are written."""
    names = (rel.rsplit("/", 1)[-1] for rel, _ in root.list(f"{FOLDER}/{run_id}"))
    return {name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)}


def read_staged(
    root: Root, run_id: str, segment_ids: Iterable[str], columns: list[str] | None = None
) -> pa.Table:
    """Rows of segments that are written, by video and start.

    Raises:
        FileNotFoundError: One of them is not.
    """
    schema = STAGED if columns is None else pa.schema([STAGED.field(name) for name in columns])

    def read(rel: str) -> pa.Table:
        file = pq.ParquetFile(pa.BufferReader(root.read_bytes(rel)))
        # Threads within a small file cost more than they save, beside those that read others.
        return file.read(columns=schema.names, use_threads=False).cast(schema)

    # segment_id sorts by video, then start.
    rels = [_rel(run_id, segment_id) for segment_id in sorted(segment_ids)]
    # Many tables of one row each take far more memory than their rows do.
    parts = [
        pa.concat_tables(in_parallel(read, rels[at : at + _TOGETHER])).combine_chunks()
        for at in range(0, len(rels), _TOGETHER)
    ]
    return pa.concat_tables(parts) if parts else schema.empty_table()


def discard(root: Root, run_id: str, segment_ids: Collection[str] | None = None) -> None:
    """Remove segments of a run, or all of them."""
    chosen = staged_segments(root, run_id) if segment_ids is None else segment_ids
    root.delete(_rel(run_id, segment_id) for segment_id in sorted(chosen))


def _rel(run_id: str, segment_id: str) -> str:
    return f"{FOLDER}/{run_id}/{segment_id}{_SUFFIX}"
