"""Operators for the child's tests: each misbehaves in one way."""

import ctypes
import os
import socket
import tempfile
import time

import pyarrow as pa

from infra import served
from infra.served import parent_file
from operators.core.operator import Ports, Step, extend
from schemas.tables import REASON, STATUS

WRITES = pa.schema([pa.field("said", pa.string()), STATUS, REASON])


class _Base:
    @staticmethod
    def ports(*args: object) -> Ports:
        return Ports(("size_bytes",), WRITES)

    def __init__(self, *args: object) -> None:
        self.args = args

    def __call__(self, batch: pa.Table) -> pa.Table:
        said = [str(self.said(row)) for row in batch.to_pylist()]
        columns = {"said": said, "status": "ok", "reason": pa.nulls(len(batch), pa.string())}
        return extend(batch, Ports((), WRITES), columns)

    def said(self, row: dict) -> object:
        raise NotImplementedError


class Columns(_Base):
    def said(self, row: dict) -> object:
        return sorted(row)


class Content(_Base):
    """Reads parts of the file through the parent, in and out of order."""

    def said(self, row: dict) -> object:
        with parent_file(row) as file:
            file.seek(-3, os.SEEK_END)
            end = file.read()
            file.seek(2)
            return end + file.read(4)


class Environment(_Base):
    def said(self, row: dict) -> object:
        return sorted(os.environ)


class Network(_Base):
    def said(self, row: dict) -> object:
        try:
            socket.create_connection(("127.0.0.1", int(str(self.args[0]))), timeout=2).close()
        except OSError:
            return "refused"
        return "connected"


class Pid(_Base):
    def said(self, row: dict) -> object:
        return os.getpid()


class Crash(_Base):
    """Dies in native code; leaves a mark each time so that the attempts can be counted."""

    def said(self, row: dict) -> object:
        with open(str(self.args[0]), "a") as file:
            file.write("x")
        ctypes.string_at(0)
        return None


class Hang(_Base):
    def said(self, row: dict) -> object:
        time.sleep(60)
        return None


class Greedy(_Base):
    def said(self, row: dict) -> object:
        return len(bytearray(3 << 30))


class Dumpable(_Base):
    """Whether a crash would dump its memory, or another process of its user may read it."""

    def said(self, row: dict) -> object:
        return ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), tempfile.gettempdir()


class Leaky(_Base):
    def said(self, row: dict) -> object:
        raise ValueError("the content of a row")


class Busy(_Base):
    """Never waits, for ten seconds of CPU time."""

    def said(self, row: dict) -> object:
        until = time.process_time() + 10
        while time.process_time() < until:
            pass
        return None


class Hostile(_Base):
    """Says what no child says, and stays."""

    def said(self, row: dict) -> object:
        assert served._served is not None
        served._served.send_bytes(self.args[0])
        time.sleep(60)
        return None


def steps(operator: type, *args: object) -> tuple[Step, ...]:
    return (Step(operator, args),)
