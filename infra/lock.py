"""One writer a store: a lease with a fence.

The holder of lease N owns `lock/<N>.json` and writes it anew every few seconds. Who finds the
newest lease ended, its process gone, or its last beat too old, creates lease N + 1: only one can.
Clocks decide when a lease counts as dead, never what is true: taking over puts the lease's number
into the snapshot chain (`Snapshot.fence`), and whoever holds a lower number commits nothing more.
"""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import psutil

from infra import snapshots
from infra.errors import StoreBusy, UserError
from infra.snapshots import Snapshot
from infra.storage import Root

FOLDER = "lock"
BEAT_SECONDS = 5.0
#: A holder that has not written for this long counts as dead.
LEASE_SECONDS = 30.0
_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class _Lease:
    """What stands in a lease's file."""

    token: str
    host: str
    pid: int
    process_started: float
    taken_at: float
    beat_at: float
    ended: bool = False

    @property
    def holder(self) -> str:
        since = time.strftime("%H:%M:%S", time.localtime(self.taken_at))
        return f"process {self.pid} on {self.host} since {since}"

    def may_be_taken(self, now: float) -> bool:
        if self.ended or now - self.beat_at > LEASE_SECONDS:
            return True
        return self.host == socket.gethostname() and not _alive(self.pid, self.process_started)


class Lock:
    """A lease in hand. `number` is its fence; `lost` tells that another has taken over."""

    def __init__(self, root: Root, number: int, lease: _Lease) -> None:
        self.number = number
        self._root, self._lease = root, lease
        self._over = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="mien-lease", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> bool:
        """Whether another run took the store over. Asks the storage, and waits for an answer."""
        return self._look(self._root.patient())

    def _look(self, root: Root) -> bool:
        if not self._lost.is_set() and _newest(root)[0] > self.number:
            self._lost.set()
        return self._lost.is_set()

    def end(self) -> None:
        """Give the store back. Storage that is out of reach is no error: the lease runs out."""
        self._over.set()
        self._thread.join(LEASE_SECONDS)
        with contextlib.suppress(OSError, UserError):
            if not self._look(self._root):
                self._write(replace(self._lease, beat_at=time.time(), ended=True))
                older = [rel for rel, _ in self._root.list(FOLDER) if _number(rel) < self.number]
                self._root.delete(older)

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError, UserError):
                if self._look(self._root):
                    return
                self._write(replace(self._lease, beat_at=time.time()))

    def _write(self, lease: _Lease) -> None:
        self._root.write(_name(self.number), _encode(lease))


@contextlib.contextmanager
def locked(
    root: Root, wait_seconds: float = 0, say: Callable[[str], None] = lambda text: None
) -> Iterator[Lock]:
    """Hold the store for the length of the block.

    `wait_seconds` is how long to wait for another holder; `say` is told once that it waits.

    Raises:
        StoreBusy: Another run holds it, still after the wait.
    """
    lock = _acquire(root, wait_seconds, say)
    try:
        yield lock
    finally:
        lock.end()


def fenced(fence: int, change: Callable[[Snapshot], Snapshot]) -> Callable[[Snapshot], Snapshot]:
    """`change` for the holder of lease `fence`: refused once a higher one is in the chain.

    Raises:
        StoreBusy: It is. (By the returned function.)
    """

    def checked(current: Snapshot) -> Snapshot:
        if current.fence > fence:
            raise StoreBusy(
                "another run took this store over, for this one had been silent for "
                f"{LEASE_SECONDS:g} s: nothing of it was published; run again"
            )
        return replace(change(current), fence=fence)

    return checked


def _acquire(root: Root, wait_seconds: float, say: Callable[[str], None]) -> Lock:
    deadline, told = time.monotonic() + wait_seconds, False
    while True:
        number, lease = _newest(root)
        if lease is None or lease.may_be_taken(time.time()):
            ours = _new_lease()
            if root.create(_name(number + 1), _encode(ours)):
                lock = Lock(root, number + 1, ours)
                try:
                    snapshots.commit(root, fenced(lock.number, lambda current: current))
                    return lock
                except StoreBusy:  # we slept since the listing, and others went ahead
                    lock.end()
                except BaseException:
                    lock.end()
                    raise
            continue
        left = deadline - time.monotonic()
        if left <= 0:
            raise StoreBusy(
                f"{root.url}: another run holds this store ({lease.holder}): wait for it with "
                "--wait SECONDS"
            )
        if not told:
            say(f"waiting for the store: {lease.holder} holds it")
            told = True
        time.sleep(min(left, _POLL_SECONDS))


def _newest(root: Root) -> tuple[int, _Lease | None]:
    numbers = sorted(_number(rel) for rel, _ in root.list(FOLDER))
    if not numbers:
        return 0, None
    try:
        value: dict[str, Any] = json.loads(root.read_bytes(_name(numbers[-1])))
        return numbers[-1], _Lease(**value)
    except (FileNotFoundError, ValueError, TypeError):  # gone meanwhile, or not ours to understand
        return numbers[-1], None


def _new_lease() -> _Lease:
    now, pid = time.time(), os.getpid()
    started = psutil.Process(pid).create_time()
    return _Lease(secrets.token_hex(8), socket.gethostname(), pid, started, now, now)


def _alive(pid: int, started: float) -> bool:
    """Whether that very process runs: a number is given to another one after its end."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - started) < 1
    except psutil.NoSuchProcess:
        return False


def _encode(lease: _Lease) -> bytes:
    return json.dumps(asdict(lease), indent=1).encode()


def _name(number: int) -> str:
    return f"{FOLDER}/{number:012d}.json"


def _number(rel: str) -> int:
    stem = rel.rsplit("/", 1)[-1].removesuffix(".json")
    return int(stem) if stem.isdigit() else 0
