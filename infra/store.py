"""The output folder or prefix: what makes it a store, and whose it is."""

import contextlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from infra import audit_log, snapshots
from infra.errors import StoreError
from infra.identity import KEY_FILE, Identity, new_store_key, store_key
from infra.lock import Lock, fenced, locked
from infra.snapshots import Snapshot, TableFile
from infra.storage import Root
from schemas.tables import SCHEMA_VERSION

MARK = "store.json"
#: What may lie in a folder before it becomes a store.
_BEFORE = {KEY_FILE, "mlflow.db", "mlflow-artifacts"}


@dataclass(frozen=True)
class Store:
    """A store opened by who holds its key. Readers without the key use `readable`.

    `infra.snapshots`, `infra.staging`, `infra.tables` and `infra.runs` act on its `root`. With a
    `lock`, this process is its one writer.
    """

    root: Root
    identity: Identity
    lock: Lock | None = None

    @staticmethod
    def open(url: str, create: bool) -> "Store":
        """Open a store, or make one when `create` and none is there.

        Raises:
            StoreError: None is there, or it is of another schema version or key.
            ConfigurationError: A new remote store has no key, or a key file is no good.
        """
        root = Root(url)
        mark = _read_mark(root)
        if mark is None:
            if not create:
                raise _missing(root)
            mark = _make(root)
        _check_version(root, mark)
        identity = Identity(store_key(root))
        if mark.get("key_fingerprint") != identity.key_fingerprint:
            raise StoreError(f"{root.url}: was made with another key: set MIEN_KEY to its own")
        return Store(root, identity)

    @contextlib.contextmanager
    def locked(
        self, wait_seconds: float = 0, say: Callable[[str], None] = lambda text: None
    ) -> Iterator["Store"]:
        """This store with its one writer's lock, for the length of the block: see `infra.lock`.

        Raises:
            StoreBusy: Another run holds it.
        """
        with locked(self.root, wait_seconds, say) as lock:
            yield replace(self, root=self.root.patient(), lock=lock)

    @property
    def lost(self) -> bool:
        """Whether the lock was taken over by another run."""
        return self.lock is not None and self.lock.lost

    def latest(self) -> Snapshot:
        """The present state of the tables."""
        return snapshots.latest(self.root)

    def commit(
        self,
        change: Callable[[Snapshot], Snapshot],
        kind: str = "tables",
        facts: Mapping[str, Any] | None = None,
    ) -> Snapshot:
        """Replace the state of the tables: see `snapshots.commit`.

        An event of this kind, with `facts` and what becomes of the tables, is in the audit log
        before the new state is seen, and the state records it as its head. One whose `snapshot`
        another writer took in the meantime tells of an attempt; it is made and logged again.

        Raises:
            StoreBusy: The lock was taken over by another run.
        """
        if self.lock is not None:
            change = fenced(self.lock.number, change)

        def logged(current: Snapshot) -> Snapshot:
            wanted = change(current)
            if wanted == current:
                return current
            event = audit_log.append(self, kind, {**(facts or {}), **_told(current, wanted)})
            return replace(wanted, audit_head=audit_log.head_text((event.seq, event.mac)))

        return snapshots.commit(self.root, logged)


def _told(current: Snapshot, wanted: Snapshot) -> dict[str, Any]:
    """What an event says of a change: the state's number, and files and rows of what differs."""
    new, old = set(wanted.files), set(current.files)
    return {
        "snapshot": current.seq + 1,
        "files_added": _by_table(new - old),
        "files_removed": _by_table(old - new),
    }


def _by_table(files: Collection[TableFile]) -> dict[str, dict[str, int]]:
    return {
        table: {
            "files": sum(file.table == table for file in files),
            "rows": sum(file.rows for file in files if file.table == table),
        }
        for table in sorted({file.table for file in files})
    }


def readable(url: str) -> Root:
    """The root of a store that exists, for readers: no key is asked for.

    Raises:
        StoreError: None is there, or it is of another schema version.
    """
    root = Root(url)
    mark = _read_mark(root)
    if mark is None:
        raise _missing(root)
    _check_version(root, mark)
    return root


def _missing(root: Root) -> StoreError:
    return StoreError(f"{root.url}: is no store: `mien score SOURCE --out {root.url}` makes one")


def _read_mark(root: Root) -> dict[str, object] | None:
    try:
        mark = json.loads(root.read_bytes(MARK))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StoreError(f"{root.full(MARK)}: is not JSON: restore it from a backup") from error
    if not isinstance(mark, dict):
        raise StoreError(f"{root.full(MARK)}: is not a store's mark: restore it from a backup")
    return mark


def _make(root: Root) -> dict[str, object]:
    others = sorted(_top_names(root) - _BEFORE)
    if others:
        raise StoreError(f"{root.url}: is not empty and no store: name an empty or new folder")
    identity = Identity(new_store_key(root))
    mark: dict[str, object] = {
        "schema_version": SCHEMA_VERSION,
        "key_fingerprint": identity.key_fingerprint,
    }
    if root.create(MARK, json.dumps(mark, indent=1).encode()):
        return mark
    found = _read_mark(root)  # another process was first
    assert found is not None
    return found


def _top_names(root: Root) -> set[str]:
    try:
        paths = root.fs.ls(root.path(""), detail=False)
    except FileNotFoundError:
        return set()
    except NotADirectoryError:
        raise StoreError(f"{root.url}: is a file: name a folder") from None
    names = {str(path).rstrip("/").rsplit("/", 1)[-1] for path in paths}
    return {name for name in names if not name.startswith(".")}


def _check_version(root: Root, mark: dict[str, object]) -> None:
    version = mark.get("schema_version")
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{root.url}: has schema version {version}, this mien reads {SCHEMA_VERSION}: "
            "name another store, or use the mien that made it"
        )
