"""Reads a list of videos: a .csv or .parquet with `uri` and optional columns."""

import csv
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from infra.errors import SourceError
from infra.outages import plain_errors
from infra.storage import is_local, local_path, open_filesystem

OPTIONAL = ("session_id", "view_id", "recorded_at")


def read_manifest(source: str) -> list[dict[str, Any]]:
    """Rows with `uri` (absolute; a relative one starts from the manifest) and OPTIONAL, or None.

    Other columns are left alone.

    Raises:
        SourceError: It is missing, unreadable, has no uri somewhere, or names a video twice.
    """
    place = local_path(source) if is_local(source) else source
    try:
        with plain_errors(source):
            data = _read(place)
    except FileNotFoundError:
        raise SourceError(f"{source}: does not exist: check the path") from None
    entries = _parse(source, data)
    folder = place.rsplit("/", 1)[0]
    rows, seen = [], set()
    for number, entry in enumerate(entries, 1):
        uri = _absolute(str(entry.get("uri") or "").strip(), folder)
        if not uri:
            raise SourceError(f"{source}: row {number} has no uri: fill it in")
        if uri in seen:
            raise SourceError(f"{source}: names {uri} twice: remove one")
        seen.add(uri)
        row: dict[str, Any] = {name: _text(entry.get(name)) for name in ("session_id", "view_id")}
        recorded_at = _time(entry.get("recorded_at"), source, number)
        rows.append({**row, "uri": uri, "recorded_at": recorded_at})
    return rows


def _read(place: str) -> bytes:
    if is_local(place):
        return Path(place).read_bytes()
    return cast(bytes, open_filesystem(place).cat_file(place))


def _parse(source: str, data: bytes) -> list[dict[str, Any]]:
    try:
        if source.lower().endswith(".parquet"):
            table = pq.read_table(pa.BufferReader(data))
            names = [name for name in ("uri", *OPTIONAL) if name in table.column_names]
            entries, columns = table.select(names).to_pylist(), table.column_names
        else:
            reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
            entries, columns = list(reader), list(reader.fieldnames or [])
    except (pa.ArrowException, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{source}: cannot be read as a manifest: check the file") from error
    if "uri" not in columns:
        raise SourceError(f"{source}: has no column `uri`: add one")
    return entries


def _absolute(uri: str, folder: str) -> str:
    if not uri or ("://" in uri and not is_local(uri)):
        return uri
    if uri.startswith(("/", "~", "file://", "local://")):
        return local_path(uri)
    joined = f"{folder}/{uri}"
    return local_path(joined) if is_local(folder) else joined


def _text(value: object) -> str | None:
    return None if value is None or value == "" else str(value)


def _time(value: object, source: str, number: int) -> datetime | None:
    if value is None or value == "":
        return None
    try:
        moment = (
            value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
        )
    except ValueError:
        raise SourceError(
            f"{source}: row {number}: recorded_at is no ISO 8601 time: {value}"
        ) from None
    return moment.replace(tzinfo=moment.tzinfo or UTC)
