"""A folder or prefix of redacted copies: each video's copy, and the record of how it was made.

    <name of the video>.mp4              the copy
    records/<name of the video>.json     what it was made from, how, and what was found
    redaction.json                       the records of the last run's videos, and their sums

The record is put after its copy, so a copy without a record was not finished: it is made again.
"""

import json
from typing import Any

import pyarrow as pa

from infra.errors import Resumable
from infra.storage import Root, in_parallel
from schemas.reasons import DEFERRED, Deferral

RECORDS, SUMMARY = "records", "redaction.json"
Record = dict[str, Any]


def put_copies(rows: pa.Table, names: pa.ChunkedArray, out: Root, redact_hash: str) -> pa.Table:
    """Put the copies of REDACTED rows, then their records; the rows come back without `copy`.

    A row that the storage does not take comes back deferred; one that is deferred already is not
    written.
    """
    records = []
    for row, name in zip(rows.to_pylist(), names.to_pylist(), strict=True):
        copy = row.pop("copy")
        record = {"copy_name": name, "redact_hash": redact_hash, "copy_bytes": 0, **row}
        if row["status"] != DEFERRED:
            try:
                put_copy(out, record, copy)
            except Resumable:  # no answer for minutes, or no space
                record |= {"status": DEFERRED, "reason": str(Deferral.STORAGE)}
        records.append(record)
    return pa.Table.from_pylist(records, _answer(rows.schema))


def _answer(schema: pa.Schema) -> pa.Schema:
    kept = [column for column in schema if column.name != "copy"]
    names = [pa.field(name, pa.string()) for name in ("copy_name", "redact_hash")]
    return pa.schema([*names, pa.field("copy_bytes", pa.int64()), *kept])


def put_copy(out: Root, record: Record, copy: bytes | None) -> None:
    """Put one video's copy, then its record; without a copy, an older one of its name goes.

    Fills in the record's `copy_bytes`.
    """
    if copy is None:
        out.delete([record["copy_name"]])
    else:
        out.write(record["copy_name"], copy)
        record["copy_bytes"] = len(copy)
    out.write(_rel(record["copy_name"]), json.dumps(record, indent=1).encode())


def read_records(out: Root) -> dict[str, Record]:
    """Every record, by `copy_name`."""
    listed = [rel for rel, _ in out.list(RECORDS) if rel.endswith(".json")]
    records = [json.loads(data) for data in in_parallel(out.read_bytes, listed)]
    return {record["copy_name"]: record for record in records}


def copies_there(out: Root) -> dict[str, int]:
    """The size in bytes of every copy, by its name."""
    return {rel: size for rel, size in out.list("") if not rel.startswith(f"{RECORDS}/")}


def _rel(copy_name: str) -> str:
    return f"{RECORDS}/{copy_name}.json"
