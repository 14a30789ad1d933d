"""The child's end: build what the parent sends, run it, read the video through the parent."""

import contextlib
import io
import math
import os
import pickle
import resource
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, BinaryIO

import pyarrow as pa

from infra.errors import place
from infra.wire import RANGE, from_ipc, to_ipc

CHUNK_BYTES = 1 << 20

_served: Connection | None = None


def parent_file(row: dict[str, Any]) -> BinaryIO:
    """Open the bytes of the row in hand, from inside the child: reads go through the parent."""
    if _served is None:
        raise RuntimeError("parent_file works inside the child process only")
    return io.BufferedReader(_ServedFile(_served, row["size_bytes"]), CHUNK_BYTES)


class _ServedFile(io.RawIOBase):
    """A read-only, seekable file whose bytes the parent serves."""

    def __init__(self, pipe: Connection, size_bytes: int) -> None:
        self._pipe = pipe
        self._size = size_bytes
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), self._size - self._at)
        if length <= 0:
            return 0
        self._pipe.send_bytes(b"R" + RANGE.pack(self._at, length))
        answer = self._pipe.recv_bytes()
        if answer[:1] != b"D":
            raise OSError("the parent could not read the source")
        count = len(answer) - 1
        buffer[:count] = memoryview(answer)[1:]
        self._at += count
        return count


def serve(descriptor: int) -> None:
    """The child's main loop: build what is sent, run it on each batch, answer, until the end."""
    global _served
    pipe = _served = Connection(descriptor)
    operators: list[Callable[[pa.Table], pa.Table]] = []
    seconds = 0.0
    with contextlib.suppress(EOFError):
        while True:
            message = pipe.recv_bytes()
            try:
                if message[:1] == b"S":
                    steps, seconds, memory_gib = pickle.loads(message[1:])
                    _limit_memory(memory_gib)
                    operators = [step.build() for step in steps]
                    continue
                _limit_cpu(seconds)
                table = from_ipc(message[1:])
                for operator in operators:
                    table = operator(table)
                pipe.send_bytes(b"T" + to_ipc(table))
            except MemoryError:
                pipe.send_bytes(b"EMemoryError")
                return
            except Exception as error:  # noqa: BLE001  (whatever it is, the parent must hear of it)
                pipe.send_bytes(b"E" + place(error).encode())
                return


def _limit_cpu(seconds: float) -> None:
    """From now on: one thread works, so its CPU time is within the wall time it may take."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = math.ceil(used.ru_utime + used.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _limit_memory(memory_gib: float) -> None:
    size = int(memory_gib * (1 << 30))
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))
