"""The child process that raw pixels never leave.

`Isolated` is an operator that runs a chain of operators in a process of its own. The child has no
credentials, no network where the kernel allows it, limits of time, CPU time and memory, no core
dump, and dies with its parent. It is served byte ranges of the one video in question over a socket
pair and answers with Arrow IPC. Nothing that the child sends is ever unpickled here. Its end is in
`infra.served`.
"""

import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol

import pyarrow as pa

from infra.errors import Unreachable, discreet
from infra.ramdisk import RAM_DISK
from infra.sources import Changed, Source
from infra.wire import LONGEST_ANSWER_BYTES, LONGEST_RANGE_BYTES, RANGE, from_ipc, to_ipc
from schemas.reasons import DEFERRED, Deferral, Reason, Status

log = logging.getLogger(__name__)

ATTEMPTS = 2  # a segment that kills its child twice is quarantined

#: A second attempt would take as long, or find the same.
_SETTLED = (Reason.TIMEOUT, Reason.CHANGED, Reason.UNREADABLE)

#: All that the child inherits: it finds its libraries and its devices, and no secret.
KEPT_ENVIRONMENT = (
    "PATH",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "PYTHONPYCACHEPREFIX",
    "PYTHONDONTWRITEBYTECODE",
)


class Declared(Protocol):
    """What is needed of a step: its ports, and how to build it in the child."""

    @property
    def ports(self) -> Any: ...

    def build(self) -> Callable[[pa.Table], pa.Table]: ...


@dataclass(frozen=True)
class Limits:
    """What one segment may take of the child."""

    seconds: float = 1800
    memory_gib: float = 4


class ChildDied(Exception):
    """The child ended or was ended; `reason` says why."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}{f' ({detail})' if detail else ''}")
        self.reason = reason


class Isolated:
    """An operator that runs `steps` in a child process, one row (one segment or video) at a time.

    `rows` is the schema of what comes in: a block of one row cannot tell the type of a null.
    `open_source(uri, size_bytes, changed)` opens the row's bytes in this process; `empty(schema,
    rows)` makes the columns of a row that failed. Once `stopping()`, rows come back deferred. The
    column `uri` is used here and goes no further.
    """

    def __init__(
        self,
        steps: Sequence[Declared],
        rows: pa.Schema,
        open_source: Callable[[str, int, str], Source],
        empty: Callable[[pa.Schema, int], dict[str, pa.Array]],
        limits: Limits = Limits(),
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._steps = tuple(steps)
        self._rows = rows
        self._open_source = open_source
        self._empty = empty
        self._limits = limits
        self._stopping = stopping
        self._child: _Child | None = None
        self._schema = _output_schema(self._steps)

    @discreet()
    def __call__(self, batch: pa.Table) -> pa.Table:
        batch = batch.select(self._rows.names).cast(self._rows)
        rows = [self._row(batch.slice(index, 1)) for index in range(len(batch))]
        return pa.concat_tables(rows) if rows else self._nothing(batch, Status.OK, None)

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None

    def _row(self, row: pa.Table) -> pa.Table:
        if self._stopping():
            return self._nothing(row, DEFERRED, Deferral.STOPPING)
        reason = Reason.ERROR
        for _ in range(ATTEMPTS):
            try:
                return self._once(row)
            except ChildDied as death:
                reason = death.reason
            except Changed:
                reason = Reason.CHANGED
            except Unreachable:
                return self._nothing(row, DEFERRED, Deferral.STORAGE)
            except OSError:
                reason = Reason.UNREADABLE
            if reason in _SETTLED:
                break
        return self._nothing(row, Status.QUARANTINED, reason)

    def _once(self, row: pa.Table) -> pa.Table:
        uri, size, version = (row[name][0].as_py() for name in ("uri", "size_bytes", "changed"))
        if size == 0:
            return self._nothing(row, Status.QUARANTINED, Reason.EMPTY)
        with closing(self._open_source(uri, size, version)) as source:
            result = self._in_child(row.drop_columns(["uri"]), source)
            source.check_unchanged()
        return result

    def _in_child(self, row: pa.Table, source: Source) -> pa.Table:
        try:
            if self._child is None:
                self._child = _Child(self._steps, self._limits)
            return self._child.run(row, source)
        except (ChildDied, OSError, Unreachable):
            self.close()  # it may be in the middle of something
            raise

    def _nothing(self, row: pa.Table, status: str, reason: str | None) -> pa.Table:
        dropped = {"uri", *(name for step in self._steps for name in step.ports.drops)}
        kept = row.drop_columns([name for name in dropped if name in row.column_names])
        columns = self._empty(self._schema, len(row))
        for name, value in (("reason", reason), ("status", status)):
            if name in columns:
                columns[name] = pa.array([value and str(value)] * len(row), pa.string())
        for field in self._schema:
            kept = kept.append_column(field, columns[field.name])
        return kept


def _output_schema(steps: Sequence[Declared]) -> pa.Schema:
    fields: dict[str, pa.Field] = {}
    for step in steps:
        for field in step.ports.writes:
            fields[field.name] = field
        for name in step.ports.drops:
            fields.pop(name, None)
    return pa.schema(list(fields.values()))


class _Child:
    """The parent's end: start, talk, kill."""

    def __init__(self, steps: Sequence[Declared], limits: Limits) -> None:
        ours, theirs = socket.socketpair()
        environment = {k: os.environ[k] for k in KEPT_ENVIRONMENT if k in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        # One thread each: an actor a core is the parallelism, and results must not depend on it.
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        # mien writes no file there; should a library want to, it is not on a disk.
        environment["TMPDIR"] = str(RAM_DISK) if RAM_DISK.is_dir() else tempfile.gettempdir()
        self._limits = limits
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "infra.fence", str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
            )
        self._pipe = Connection(ours.detach())
        self._send(b"S", pickle.dumps((tuple(steps), limits.seconds, limits.memory_gib)))

    def run(self, batch: pa.Table, source: Source) -> pa.Table:
        """Hand over a batch, serve its reads, return the result.

        Raises:
            ChildDied: No result will come.
            OSError, Unreachable: A read failed; what the child makes of that does not count.
        """
        self._send(b"B", to_ipc(batch))
        deadline = time.monotonic() + self._limits.seconds
        failure: OSError | Unreachable | None = None
        while True:
            tag, body = self._receive(deadline)
            if tag == b"R":
                try:
                    self._send(b"D", source.read_range(*_checked(body)))
                except (OSError, Unreachable) as error:
                    failure = failure or error
                    self._send(b"X", b"")
            elif failure is not None:
                raise failure
            elif tag == b"T":
                return _untrusted(body)
            else:
                log.warning("a child failed at %s", body.decode(errors="replace"))
                raise ChildDied(Reason.MEMORY if body == b"MemoryError" else Reason.ERROR)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._pipe.close()

    def _send(self, tag: bytes, body: bytes) -> None:
        try:
            self._pipe.send_bytes(tag + body)
        except OSError as error:
            raise self._death() from error

    def _receive(self, deadline: float) -> tuple[bytes, bytes]:
        try:
            if not self._pipe.poll(max(0.0, deadline - time.monotonic())):
                raise ChildDied(Reason.TIMEOUT)
            message = self._pipe.recv_bytes(LONGEST_ANSWER_BYTES)
        except (EOFError, OSError) as error:
            raise self._death() from error
        return message[:1], message[1:]

    def _death(self) -> ChildDied:
        self._process.kill()  # it may have said nonsense and live
        code = self._process.wait()
        if code == -signal.SIGXCPU:
            return ChildDied(Reason.TIMEOUT, "CPU time")
        if code == -signal.SIGKILL:  # the kernel's out-of-memory killer, or a person
            return ChildDied(Reason.MEMORY, "SIGKILL")
        return ChildDied(Reason.SIGNAL, str(code))


def _checked(body: bytes) -> tuple[int, int]:
    """Offset and length of a range that the child asks for; `ChildDied` where that is nonsense."""
    offset, length = RANGE.unpack(body) if len(body) == RANGE.size else (-1, 0)
    if offset < 0 or not 0 <= length <= LONGEST_RANGE_BYTES:
        raise ChildDied(Reason.ERROR, "asked for nonsense")
    return offset, length


def _untrusted(body: bytes) -> pa.Table:
    """The child's result. Video that took it over could send anything: offsets are checked."""
    try:
        table = from_ipc(body)
        table.validate(full=True)
    except pa.ArrowException as error:
        raise ChildDied(Reason.ERROR, "sent no table") from error
    return table
