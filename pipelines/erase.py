"""Erase and expire: rows of some videos, spans or tracks leave a store for good, with proof."""

import secrets
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from infra import erasures, versions
from infra.erasures import Erasure
from infra.errors import ConfigurationError, Resumable, interruption
from infra.snapshots import Snapshot
from infra.stopping import stoppable
from infra.storage import in_parallel
from infra.store import Store
from infra.tables import narrowed, rows_of_videos, table_rows
from pipelines.erasing import Left, Say, carry_out, finish_pending, remade
from pipelines.selection import Chosen
from schemas.tables import TABLES

#: From the store and its state to what is to go. Called again once the store is locked.
Choose = Callable[[Store, Snapshot], Chosen]
#: Told what would go; whether it may.
Agree = Callable[["Erased"], bool]


@dataclass(frozen=True)
class TableLoss:
    """What one table loses."""

    table: str
    rows: int
    files: int
    """Files that hold the rows, and are written anew without them."""
    of_files: int


@dataclass(frozen=True)
class Erased:
    """What was erased, or would be."""

    store: str
    dry_run: bool
    videos: int
    """Videos that lose all rows."""
    parts: int
    """Spans and tracks that go."""
    copies: int
    undated: int
    tables: tuple[TableLoss, ...]
    snapshot: int
    """The state of the tables without the rows; the present one in a dry run."""
    waiting: tuple[str, ...] = ()
    """What is left to be done, and why."""
    erasure_id: str | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        what = f"{self.videos} videos and {self.parts} spans or tracks"
        notes = [f"{self.copies} of them copies under another name"] if self.copies else []
        if self.undated:
            notes.append(f"{self.undated} videos have no recorded_at and are not chosen")
        text = "; ".join([what, *notes])
        if self.dry_run:
            return f"would erase {text}"
        if not (self.videos or self.parts):
            return f"nothing is left to erase{self._rest if self.waiting else ''}"
        return f"erased {text}{self._rest}"

    @property
    def _rest(self) -> str:
        if not self.waiting:
            return "; the files that held them are deleted"
        return f"; {'; '.join(self.waiting)}: the next erase, expire, compact or score ends it"


@dataclass(frozen=True)
class Ask:
    """What a command was told."""

    command: str
    selector: dict[str, str | float | int]
    grace_seconds: float
    wait_seconds: float = 0
    dry_run: bool = False
    nothing: str = ""
    """What to refuse with where nothing fits; empty if that is as good."""


def erase(url: str, ask: Ask, choose: Choose, agree: Agree, say: Say) -> Erased:
    """Erase what `choose` finds, if `agree` says so. Goes on first with what was begun before.

    Raises:
        StoreError: No store, another key, or old versions of objects that may not be deleted.
        ConfigurationError: Nothing fits, or it was not agreed to. Nothing was done.
        StoreBusy: Another run holds the store.
        Resumable: Interrupted, or MLflow is out of reach: the same command goes on.
    """
    begin = time.monotonic()
    with interruption("the same command goes on; no reader sees half"), stoppable(None):
        store = Store.open(url, create=False)
        state = store.latest()
        chosen = choose(store, state)
        seen = preview(store, state, chosen, dry_run=True)
        begun = erasures.pending(store.root)
        if not (chosen.tombstones or chosen.already or begun) and ask.nothing:
            raise ConfigurationError(ask.nothing)
        if ask.dry_run or not (chosen.tombstones or begun):
            return replace(seen, dry_run=ask.dry_run)
        if chosen.tombstones:
            versions.check(store.root)
            if not agree(seen):
                raise ConfigurationError("not agreed to: nothing was erased; --yes agrees")
        with store.locked(ask.wait_seconds, say) as store:
            left = finish_pending(store, say)
            done = _begun(store, ask, choose)
            if done[0] and (own := carry_out(store, done[0])):
                left.append(own)
        left = _waited(store, left, ask.wait_seconds - (time.monotonic() - begin), say)
    return _told(store, done, left)


def preview(store: Store, state: Snapshot, chosen: Chosen, dry_run: bool = False) -> Erased:
    """What the erasure of `chosen` takes from each table."""
    stones = chosen.tombstones
    whole = {stone.video_id for stone in stones if stone.whole}
    touched = narrowed(store.root, state, {stone.video_id for stone in stones})
    lost = Counter[str]()
    for file, rows in zip(touched.files, _rows(store, touched, whole), strict=True):
        lost[file.table] += rows
    for one in remade(store, touched, stones):
        for table, rows in one.tables.items():
            before = len(table_rows(store.root, touched, table, ["video_id"], [one.video_id]))
            lost[table] += before - len(rows)
    return Erased(
        store.root.url,
        dry_run,
        len(whole),
        sum(not stone.whole for stone in stones),
        chosen.copies,
        chosen.undated,
        tuple(
            TableLoss(table, lost[table], len(touched.of(table)), len(state.of(table)))
            for table in TABLES
        ),
        state.seq,
    )


def _rows(store: Store, state: Snapshot, videos: Collection[str]) -> list[int]:
    """Rows of these videos in each file of a state."""
    return in_parallel(lambda file: rows_of_videos(store.root, file.path, videos), state.files)


def _begun(store: Store, ask: Ask, choose: Choose) -> tuple[Erasure | None, Erased]:
    """The note of what is to be done now: whatever happens then, it will be."""
    state = store.latest()
    chosen = choose(store, state)
    seen = preview(store, state, chosen)
    if not chosen.tombstones:
        return None, seen
    erasure = Erasure(
        erasure_id=f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}",
        command=ask.command,
        selector=ask.selector,
        tombstones=tuple(chosen.tombstones),
        rows={loss.table: loss.rows for loss in seen.tables},
        began=datetime.now(UTC),
        grace_seconds=ask.grace_seconds,
        snapshot_before=state.seq,
    )
    erasures.save(store.root, erasure)
    return erasure, seen


def _waited(store: Store, left: list[Left], seconds: float, say: Say) -> list[Left]:
    """Wait for the readers of before, where there is time to, and finish then."""
    dues = [one.due_at for one in left if one.due_at is not None]
    pause = max(dues, default=0) - time.time()
    if not dues or pause > seconds:
        return left
    if pause > 1:
        say(f"waiting {pause:.0f} s for who reads the old files")
    time.sleep(max(0.0, pause))
    with store.locked(max(0.0, seconds - pause), say) as locked:
        return finish_pending(locked, say)


def _told(store: Store, done: tuple[Erasure | None, Erased], left: list[Left]) -> Erased:
    erasure, seen = done
    unreached = [one.why for one in left if one.due_at is None]
    if unreached:
        raise Resumable(f"{unreached[0]}: the rows are gone from the tables; run again")
    return replace(
        seen,
        snapshot=store.latest().seq,
        waiting=tuple(one.why for one in left),
        erasure_id=erasure.erasure_id if erasure else None,
    )
