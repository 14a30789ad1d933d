"""Reads what a process or a folder holds: memory, pipes, sockets and files, in pieces."""

import contextlib
import ctypes
import fcntl
import os
import socket
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

PIECE = 32 << 20
OVERLAP = 1024
_PIDFD_GETFD = 438
_PAGE = os.sysconf("SC_PAGE_SIZE")


def memory(pids: Iterable[int]) -> Iterator[tuple[int, bytes]]:
    """What the processes have in memory and may have written; shared memory once."""
    shared: set[tuple[str, str, str]] = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
            with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
                for start, end, sparse in _regions(lines, shared):
                    spans = _touched(pid, start, end) if sparse else [(start, end)]
                    yield from ((pid, piece) for piece in _pieces(file.fileno(), spans))


def _regions(
    lines: list[str], shared: set[tuple[str, str, str]]
) -> Iterator[tuple[int, int, bool]]:
    """Start, end, and whether pages that the process did not touch hold nothing."""
    for line in lines:
        span, flags, offset, device, inode, *path = line.split(maxsplit=5)
        if flags[:2] != "rw" and not (flags[0] == "r" and inode == "0"):
            continue
        if path and path[0] in ("[vvar]", "[vsyscall]", "[vdso]", "[vvar_vclock]"):
            continue
        if flags[3] == "s":
            if (device, inode, offset) in shared or path[0].startswith("/dev/nv"):
                continue
            shared.add((device, inode, offset))
        start, end = (int(side, 16) for side in span.split("-"))
        yield start, end, flags[3] == "p"


def _pieces(descriptor: int, spans: Iterable[tuple[int, int]]) -> Iterator[bytes]:
    for at, until in spans:
        for place in range(at, until, PIECE):
            with contextlib.suppress(OSError):  # it was unmapped meanwhile
                yield os.pread(descriptor, min(PIECE + OVERLAP, until - place), place)


def _touched(pid: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The parts of a region that have pages: reading others would make some."""
    with open(f"/proc/{pid}/pagemap", "rb", buffering=0) as file:
        raw = os.pread(file.fileno(), (end - start) // _PAGE * 8, start // _PAGE * 8)
    there = np.frombuffer(raw, "<u8") >> np.uint64(62) != 0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]]).astype(np.int8)))
    for first, last in edges.reshape(-1, 2).tolist():
        yield start + first * _PAGE, start + last * _PAGE


def in_transit(pids: Iterable[int]) -> Iterator[bytes]:
    """What waits in the pipes and sockets of the processes, which stays there."""
    for pid in pids:
        with contextlib.suppress(OSError):
            for name in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    mode = os.stat(f"/proc/{pid}/fd/{name}").st_mode
                    if stat.S_ISFIFO(mode):
                        yield _pipe(f"/proc/{pid}/fd/{name}")
                    elif stat.S_ISSOCK(mode):
                        yield _socket(pid, int(name))


def _pipe(path: str) -> bytes:
    """tee(2) copies what is in a pipe into another one."""
    libc = ctypes.CDLL(None, use_errno=True)
    size = 1 << 20
    theirs = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    out, into = os.pipe()
    try:
        fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, size)
        count = libc.tee(theirs, into, ctypes.c_size_t(size), 2)  # SPLICE_F_NONBLOCK
        return os.read(out, size) if count > 0 else b""
    finally:
        for descriptor in (theirs, out, into):
            os.close(descriptor)


def _socket(pid: int, descriptor: int) -> bytes:
    libc = ctypes.CDLL(None, use_errno=True)
    process = os.pidfd_open(pid)
    try:
        ours = libc.syscall(_PIDFD_GETFD, process, descriptor, 0)
    finally:
        os.close(process)
    if ours < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    with socket.socket(fileno=ours) as copy:
        return copy.recv(1 << 22, socket.MSG_PEEK | socket.MSG_DONTWAIT)


def files(*folders: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file below, whole; of Parquet what is in its columns as well."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISREG(path.lstat().st_mode):
                    yield path, path.read_bytes()
                    if path.suffix == ".parquet":
                        yield from ((path, piece) for piece in _columns(path))


def _columns(path: Path) -> Iterator[bytes]:
    table: pa.Table = pq.read_table(path)
    for column in table.itercolumns():
        for chunk in column.chunks:
            yield from (buffer.to_pybytes() for buffer in chunk.buffers() if buffer)


def descendants(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []
