"""Compact: the small files that many runs left in a store become few large ones."""

from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console

from infra import runs, snapshots
from infra.compaction import Compaction, files_needed, worth_merging
from infra.erasures import pending
from infra.errors import interruption
from infra.orphans import collect_orphans, find_orphans
from infra.snapshots import Snapshot, TableFile
from infra.stopping import stoppable
from infra.storage import Root
from infra.store import Store, readable
from pipelines.erasing import finish_pending
from pipelines.progress import StepProgress
from pipelines.record import UNFINISHED
from schemas.config import Run
from schemas.tables import TABLES, rows_a_file

#: By table: the files that are merged, and how many hold their rows then.
Merges = dict[str, tuple[tuple[TableFile, ...], int]]


@dataclass(frozen=True)
class TableChange:
    """What became, or would become, of one table's files."""

    table: str
    files_before: int
    files_after: int
    merged_files: int
    merged_rows: int


@dataclass(frozen=True)
class Compacted:
    """What was done, or would be."""

    store: str
    dry_run: bool
    target_rows: int
    snapshot: int
    """The state of the tables that shows it."""
    deleted_files: int
    """Files that no reader can hold any more."""
    tables: tuple[TableChange, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        merged = sum(change.merged_files for change in self.tables)
        gone = f"; {self.deleted_files} files of before are deleted" if self.deleted_files else ""
        if not merged:
            return f"nothing to merge{gone}"
        saved = sum(change.files_before - change.files_after for change in self.tables)
        new = merged - saved
        if self.dry_run:
            return f"would merge {merged} files into {new}; nothing was changed"
        return (
            f"merged {merged} files into {new}{gone}; the merged ones stay a day for who reads "
            "them, then the next publish or compact deletes them"
        )


def compact(
    url: str,
    console: Console,
    target_rows: int | None = None,
    wait_seconds: float = 0,
) -> Compacted:
    """Merge small files, table by table, in one new snapshot; delete what nobody lists any more.

    `target_rows` is how many rows a file may have, by default those of `run.publish_rows`;
    `wait_seconds` is how long to wait for another run that holds the store. Where nothing is to be
    merged or deleted the store is not even locked.

    Raises:
        StoreError: There is no store, its key is another, or a file is missing or damaged.
        StoreBusy: Another run holds the store.
        Resumable: Interrupted, or storage or space ran out. No row is changed.
    """
    target = target_rows or Run().publish_rows
    with interruption("no row is changed; the same command begins again"), stoppable(None):
        store = Store.open(url, create=False)
        state = store.latest()
        idle = not any(_mergeable(state, target).values()) and not pending(store.root)
        if idle and not find_orphans(store.root, state, _unfinished(store.root)):
            return _compacted(store.root, state, target, {})
        with store.locked(wait_seconds, console.print) as store:
            finish_pending(store, console.print)
            merges = _merge(store, target, console)
            state = store.latest()
            deleted = collect_orphans(store.root, state, _unfinished(store.root))
            return _compacted(store.root, state, target, merges, deleted)


def plan_compaction(url: str, target_rows: int | None = None) -> Compacted:
    """What `compact` would do. Reads the list of files alone; no key is asked for.

    Raises:
        StoreError: There is no store.
    """
    target = target_rows or Run().publish_rows
    root = readable(url)
    state = snapshots.latest(root)
    merges = {
        table: (old, files_needed(old, rows_a_file(table, target)))
        for table, old in _mergeable(state, target).items()
    }
    return _compacted(root, state, target, merges, dry_run=True)


def _merge(store: Store, target_rows: int, console: Console) -> Merges:
    """Commit the merge of every table. Shows rows and files as they are written."""
    small = _mergeable(store.latest(), target_rows)
    rows = sum(file.rows for files in small.values() for file in files)
    files = sum(files_needed(old, rows_a_file(table, target_rows)) for table, old in small.items())
    done_rows = done_files = 0
    with StepProgress(console, "compacting") as progress:

        def written(more: int) -> None:
            nonlocal done_rows, done_files
            done_rows, done_files = done_rows + more, done_files + 1
            total = max(rows, done_rows)  # another writer may have come between
            progress.step(done_rows, total, f"rows, {done_files} of {files} files written")

        compaction = Compaction(store.root, target_rows, written)
        store.commit(compaction, "compact")
    return {table: (done.old, len(done.new)) for table, done in compaction.merges.items()}


def _mergeable(state: Snapshot, target_rows: int) -> dict[str, tuple[TableFile, ...]]:
    return {
        table: worth_merging(state.of(table), rows_a_file(table, target_rows)) for table in TABLES
    }


def _unfinished(root: Root) -> set[str]:
    """The runs whose staged segments are still wanted."""
    return {record.run_id for record in runs.list_runs(root) if record.state in UNFINISHED}


def _compacted(
    root: Root,
    state: Snapshot,
    target_rows: int,
    merges: Merges,
    deleted: int = 0,
    dry_run: bool = False,
) -> Compacted:
    """`state` is the one after the merges, but before them in a dry run."""
    changes = []
    for table in TABLES:
        old, new = merges.get(table, ((), 0))
        saved = len(old) - new
        before = len(state.of(table)) + (0 if dry_run else saved)
        rows = sum(file.rows for file in old)
        changes.append(TableChange(table, before, before - saved, len(old), rows))
    return Compacted(root.url, dry_run, target_rows, state.seq, deleted, tuple(changes))
