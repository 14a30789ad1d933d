"""Compaction: the small files that many publishes left become few large ones, with equal rows.

Ids of videos are hashes, so that every publish spreads over their whole range: a video may stand in
any of its table's files. Merged files follow each other in the order of the ids instead.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from infra.errors import StoreError
from infra.outages import patiently, plain_errors
from infra.snapshots import Snapshot, TableFile
from infra.storage import Root, in_parallel
from infra.tables import in_order, own_footer, write_part
from schemas.tables import TABLES, rows_a_file

pc: Any = pyarrow.compute  # its functions are made at import: type checkers see none

T = TypeVar("T")

#: Told after every file that was written: its rows.
Say = Callable[[int], object]


@dataclass(frozen=True)
class Merge:
    """Files of one table, and those that hold the same rows."""

    old: tuple[TableFile, ...] = ()
    new: tuple[TableFile, ...] = ()


class Compaction:
    """The change, for `Store.commit`, that lists large files in place of small ones.

    Where another writer came between, what it did is kept: a table of which it replaced a merged
    file is merged again. `merges` holds, by table, what the last call did.
    """

    def __init__(self, root: Root, target_rows: int, say: Say = lambda rows: None) -> None:
        self.merges: dict[str, Merge] = {}
        self._root, self._target_rows, self._say = root, target_rows, say

    def __call__(self, current: Snapshot) -> Snapshot:
        files = current.files
        for table in TABLES:
            done = self.merges.get(table)
            if done is None or not set(done.old) <= set(files):
                done = self.merges[table] = self._merged(table, current.of(table))
            gone = set(done.old)
            files = (*(file for file in files if file not in gone), *done.new)
        return replace(current, files=files)

    def _merged(self, table: str, files: Collection[TableFile]) -> Merge:
        target = rows_a_file(table, self._target_rows)
        old = worth_merging(files, target)
        return Merge(old, merge(self._root, old, target, self._say) if old else ())


def worth_merging(files: Collection[TableFile], target_rows: int) -> tuple[TableFile, ...]:
    """Those files of one table that become fewer by a merge, by their ranges of videos.

    The fewest rows are chosen that leave the fewest files: a file stays as it is where it holds
    `target_rows` or where the rest becomes one file fewer without it. So nothing is chosen twice.
    """
    chosen = sorted(
        (file for file in files if file.rows < target_rows), key=lambda file: (file.rows, file.path)
    )
    while chosen and files_needed(chosen, target_rows) > files_needed(chosen[:-1], target_rows):
        chosen.pop()
    return tuple(sorted(chosen, key=lambda file: (file.min_video_id, file.max_video_id)))


def files_needed(files: Iterable[TableFile], target_rows: int) -> int:
    """How many files of at most `target_rows` the rows of these make."""
    return -(-sum(file.rows for file in files) // target_rows)


def merge(
    root: Root, files: Sequence[TableFile], target_rows: int, say: Say = lambda rows: None
) -> tuple[TableFile, ...]:
    """Write the rows of some files of one table as files of `target_rows`, the last may have fewer.

    A few times `target_rows` are held in memory, or the rows of one video where these are more.
    What all footers agree on stays in the footer: rows of several runs name none.

    Raises:
        StoreError: A file is missing or damaged.
    """
    table = files[0].table
    looks = in_parallel(lambda file: _look(root, file), files)
    videos: Counter[str] = Counter()
    for found, _ in looks:
        videos.update(found)
    footer = dict(set.intersection(*(set(footer.items()) for _, footer in looks)))
    spans = (_rows_between(root, files, *span) for span in _spans(videos, target_rows))
    written: list[TableFile] = []
    for rows in _pieces(spans, target_rows):
        name = f"compact-{len(written):05d}"
        written += write_part(root, table, rows, name, footer, target_rows)
        say(rows.num_rows)
    if sum(file.rows for file in written) != sum(file.rows for file in files):
        raise RuntimeError(f"merging {len(files)} files of {table} changed how many rows there are")
    return tuple(written)


def _look(root: Root, file: TableFile) -> tuple[Counter[str], dict[str, str]]:
    """Rows of each video, and the footer, of a file whose bytes are still those that were written.

    A merge of damaged bytes would give them a new, right hash.
    """

    def look(source: Any) -> tuple[Counter[str], dict[str, str]]:
        if hashlib.file_digest(source, "sha256").hexdigest() != file.sha256:
            raise StoreError(f"{root.full(file.path)}: is damaged: restore it from a backup")
        parquet = pq.ParquetFile(source)
        found = parquet.read(columns=["video_id"])["video_id"].value_counts()
        names, counts = (found.field(name).to_pylist() for name in ("values", "counts"))
        return Counter(dict(zip(names, counts, strict=True))), own_footer(parquet)

    return _of_open(root, file, look)


def _of_open(root: Root, file: TableFile, act: Callable[[Any], T]) -> T:
    """What `act` makes of an open file. An outage is waited out as long as `root` waits."""
    place = root.full(file.path)

    def once() -> T:
        with plain_errors(place), root.open(file.path) as source:
            return act(source)

    try:
        return patiently(root.patience_seconds, once)
    except FileNotFoundError as error:
        raise StoreError(f"{place}: is missing: restore it from a backup") from error


def _spans(videos: Counter[str], rows: int) -> Iterator[tuple[str, str]]:
    """First and last video of spans of at most `rows` rows, or of one video, in their order."""
    span: list[str] = []
    held = 0
    for video, count in sorted(videos.items()):
        if span and held + count > rows:
            yield span[0], span[-1]
            span, held = [], 0
        span.append(video)
        held += count
    if span:
        yield span[0], span[-1]


def _rows_between(root: Root, files: Iterable[TableFile], first: str, last: str) -> pa.Table:
    """The rows of a span of videos, in order. Row groups outside of it are not read."""
    inside = (pc.field("video_id") >= first) & (pc.field("video_id") <= last)

    def read(file: TableFile) -> pa.Table:
        return _of_open(root, file, lambda source: pq.read_table(source, filters=inside))

    met = [file for file in files if file.min_video_id <= last and first <= file.max_video_id]
    return in_order(pa.concat_tables(in_parallel(read, met)), met[0].table)


def _pieces(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows cut anew: every piece but the last has `rows` of them."""
    held: list[pa.Table] = []
    for table in tables:
        whole = pa.concat_tables([*held, table])
        full = len(whole) - len(whole) % rows
        yield from (whole.slice(start, rows) for start in range(0, full, rows))
        held = [whole.slice(full)]
    yield from (rest for rest in held if len(rest))
