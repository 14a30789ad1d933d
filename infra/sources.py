"""Open the bytes of a video, wherever it lies, and notice when they are others than were listed."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from infra.errors import Unreachable, UserError
from infra.outages import PATIENCE_SECONDS, patiently, plain_errors
from infra.storage import is_local, modified_at, open_filesystem

#: A remote video is read in ranges of this size: nothing is downloaded whole, nothing is stored.
RANGE_BYTES = 4 << 20

T = TypeVar("T")


class Changed(OSError):
    """What lies there is not what was listed."""


class Source(Protocol):
    """The bytes of one video. Every method raises `OSError` where they cannot be read, `Changed`
    where they are others than before, and `infra.errors.Unreachable` where a remote storage has
    not answered for minutes."""

    def read_range(self, offset: int, length: int) -> bytes: ...

    def check_unchanged(self) -> None: ...

    def close(self) -> None: ...


def open_source(uri: str, size_bytes: int, version: str) -> Source:
    """The bytes of a video that was listed with this size and version (mtime or etag)."""
    kind = _File if is_local(uri) else _Object
    return kind(uri, size_bytes, version)


class _File:
    def __init__(self, uri: str, size_bytes: int, version: str) -> None:
        self._path, self._listed = Path(uri), (size_bytes, version)
        if not stat.S_ISREG(self._path.stat().st_mode):
            raise OSError("not a regular file")  # a FIFO would block for ever
        self._file = self._path.open("rb", buffering=0)
        try:
            self.check_unchanged()
        except OSError:
            self.close()
            raise

    def read_range(self, offset: int, length: int) -> bytes:
        return os.pread(self._file.fileno(), length, offset)

    def check_unchanged(self) -> None:
        # The open file, and not what its name stands for by now: that file was read, and is whole.
        status = os.fstat(self._file.fileno())
        if (status.st_size, file_version(status)) != self._listed:
            raise Changed

    def close(self) -> None:
        self._file.close()


class _Object:
    def __init__(self, uri: str, size_bytes: int, version: str) -> None:
        self._listed = size_bytes, version
        self._fs = open_filesystem(uri)
        self._path = str(self._fs._strip_protocol(uri))
        self._at, self._held = 0, b""
        self.check_unchanged()

    def read_range(self, offset: int, length: int) -> bytes:
        if not self._at <= offset <= offset + length <= self._at + len(self._held):
            end = offset + max(length, RANGE_BYTES)
            data = self._ask(lambda: self._fs.cat_file(self._path, start=offset, end=end))
            self._held = cast(bytes, data)
            self._at = offset
        return self._held[offset - self._at :][:length]

    def check_unchanged(self) -> None:
        info = self._ask(lambda: self._fs.info(self._path))
        if (int(info["size"] or 0), object_version(info)) != self._listed:
            raise Changed

    def close(self) -> None:
        self._held = b""

    def _ask(self, act: Callable[[], T]) -> T:
        def once() -> T:
            with plain_errors("the source"):  # its name stays out of every worker's log
                return act()

        try:
            return patiently(PATIENCE_SECONDS, once)
        except Unreachable:
            raise
        except UserError as error:
            raise OSError(str(error)) from None


def file_version(status: os.stat_result) -> str:
    """What tells that a file was written since."""
    return str(status.st_mtime_ns)


def object_version(info: dict[str, Any]) -> str:
    """What tells that an object was put anew: its etag where the storage gives one."""
    return str(info.get("ETag") or info.get("etag") or modified_at(info)).strip('"')
