"""One folder or bucket prefix, with the few operations that a store needs, each atomic.

Locally a file appears by rename or link from a temporary one beside it, after fsync. In an object
store it appears by one put; the exclusive form is a conditional put, since nothing can be renamed.
"""

import contextlib
import errno
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import get_protocol

from infra.outages import PATIENCE_SECONDS, patiently, plain_errors

_TEMPORARY = ".tmp"
_PARALLEL = 16
#: What an object store's client does by itself, with backoff and jitter, before it gives up.
_S3_CLIENT = {
    "retries": {"mode": "standard", "max_attempts": 3},
    "connect_timeout": 5,
    "read_timeout": 20,
}

A = TypeVar("A")
T = TypeVar("T")


def is_local(url: str) -> bool:
    """Whether a path or URL lies on this machine's file system."""
    return get_protocol(url) in ("file", "local")


def local_path(url: str) -> str:
    """The absolute path of a local path or `file://` URL."""
    path = Path(url.removeprefix("local://").removeprefix("file://")).expanduser()
    return os.path.normpath(path.absolute())  # links stay: the name is what the user gave


def open_filesystem(url: str) -> fsspec.AbstractFileSystem:
    """The file system of a remote URL, without a cache of listings: others write there too.

    Credentials, region and endpoint come from the usual AWS environment, in every process anew.
    """
    protocol = get_protocol(url)
    options = {"config_kwargs": _S3_CLIENT} if protocol in ("s3", "s3a") else {}
    return cast(
        fsspec.AbstractFileSystem,
        fsspec.filesystem(protocol, use_listings_cache=False, **options),
    )


class Found(NamedTuple):
    """One file below a root: its path, its size, and when it was last written (Unix time)."""

    rel: str
    size_bytes: int
    modified_at: float


class Root:
    """A folder or URL prefix. Pickles without connection: every process opens it by itself.

    `rel` arguments are paths below it, with forward slashes. `patience_seconds` is how long a
    remote one is asked again while it does not answer.
    """

    def __init__(self, url: str, patience_seconds: float = 0) -> None:
        self.local = is_local(url)
        self.patience_seconds = 0 if self.local else patience_seconds
        self.url = local_path(url) if self.local else url.rstrip("/")
        self._fs: fsspec.AbstractFileSystem | None = None

    def __reduce__(self) -> tuple[type["Root"], tuple[str, float]]:
        return Root, (self.url, self.patience_seconds)

    def __repr__(self) -> str:
        return f"Root({self.url!r})"

    @property
    def fs(self) -> fsspec.AbstractFileSystem:
        """The file system: see `open_filesystem`."""
        if self._fs is None:
            self._fs = LocalFileSystem() if self.local else open_filesystem(self.url)
        return self._fs

    def patient(self) -> "Root":
        """The same place for work that has begun: an outage of minutes is waited out."""
        return Root(self.url, PATIENCE_SECONDS)

    def _ask(self, rel: str, act: Callable[[], T]) -> T:
        def once() -> T:
            with plain_errors(self.full(rel)):
                return act()

        return patiently(self.patience_seconds, once)

    def full(self, rel: str) -> str:
        """Absolute path or URL of `rel`, for DuckDB and for messages."""
        return f"{self.url}/{rel}" if rel else self.url

    def path(self, rel: str) -> str:
        """The path of `rel` as `fs` wants it, without protocol."""
        return str(self.fs._strip_protocol(self.full(rel)))

    def read_bytes(self, rel: str) -> bytes:
        """Read a whole file.

        Raises:
            FileNotFoundError: It is not there.
        """

        def read() -> bytes:
            if self.local:
                return Path(self.full(rel)).read_bytes()
            return cast(bytes, self.fs.cat_file(self.path(rel)))

        return self._ask(rel, read)

    def open(self, rel: str) -> IO[bytes]:
        """Open a file for reading at any place."""
        return self._ask(rel, lambda: cast(IO[bytes], self.fs.open(self.path(rel), "rb")))

    def exists(self, rel: str) -> bool:
        """Whether a file (or, locally, a folder) is there."""
        return self._ask(rel, lambda: bool(self.fs.exists(self.path(rel))))

    def write(self, rel: str, data: bytes) -> None:
        """Put a file, replacing one of that name; readers see the whole old or the whole new."""

        def put() -> None:
            if self.local:
                _through_temporary(Path(self.full(rel)), data, Path.replace, 0o666)
            else:
                self.fs.pipe_file(self.path(rel), data)

        self._ask(rel, put)

    def create(self, rel: str, data: bytes, private: bool = False) -> bool:
        """Put a file only if none has that name. False when there is one.

        `private` keeps it from other users, on a local file system.
        """

        def put() -> bool:
            if self.local:
                mode = 0o600 if private else 0o666
                return _through_temporary(Path(self.full(rel)), data, _link, mode)
            return self._create_remote(rel, data)

        return self._ask(rel, put)

    def _create_remote(self, rel: str, data: bytes) -> bool:
        try:
            self.fs.pipe_file(self.path(rel), data, mode="create")
        except OSError as error:
            if not (isinstance(error, FileExistsError) or _condition_failed(error)):
                raise
            # A put whose answer was lost is sent again by the client and then finds itself.
            return self.read_bytes(rel) == data
        return True

    def delete(self, rels: Iterable[str]) -> None:
        """Delete files; what is gone already is no error."""

        def remove(rel: str) -> None:
            with contextlib.suppress(FileNotFoundError):
                self._ask(rel, lambda: self.fs.rm_file(self.path(rel)))

        if self.local:
            for rel in rels:
                remove(rel)
        else:
            in_parallel(remove, rels)

    def find(self, folder: str, temporary: bool = False) -> list[Found]:
        """Every file below a folder, sorted; with `temporary`, also what killed writers left."""

        def look() -> list[Found]:
            below = len(self.path("")) + 1
            if self.local:
                return sorted(_walk(self.full(folder), below, temporary))
            listed = cast(dict[str, Any], self.fs.find(self.path(folder), detail=True))
            return sorted(
                Found(path[below:], int(info["size"] or 0), modified_at(info) or 0.0)
                for path, info in listed.items()
                if info["type"] == "file"  # buckets may hold marks for empty folders
            )

        return self._ask(folder, look)

    def list(self, folder: str) -> list[tuple[str, int]]:
        """Every file below a folder with its size in bytes, sorted; none if it is not there."""
        return [(found.rel, found.size_bytes) for found in self.find(folder)]


def is_temporary(rel: str) -> bool:
    """Whether a file is one that a writer had not finished."""
    name = rel.rsplit("/", 1)[-1]
    return name.startswith(".") and name.endswith(_TEMPORARY)


def modified_at(info: dict[str, Any]) -> float | None:
    """When an object was last written (Unix time), by what its file system calls that."""
    times = (info.get(name) for name in ("LastModified", "mtime", "modified", "created"))
    when = next((time for time in times if time is not None), None)
    return when.timestamp() if isinstance(when, datetime) else when


def in_parallel(read: Callable[[A], T], rels: Iterable[A]) -> list[T]:
    """Call `read` on each, several at a time, results in order."""
    with ThreadPoolExecutor(_PARALLEL) as pool:
        return list(pool.map(read, rels))


def _through_temporary(
    path: Path, data: bytes, settle: Callable[[Path, Path], object], mode: int
) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}{_TEMPORARY}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        done = settle(temporary, path) is not False
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return done


def _link(temporary: Path, path: Path) -> bool:
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOSYS, errno.EMLINK):
            raise OSError(errno.ENOTSUP, "no hard links") from error
        raise
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _walk(folder: str, below: int, temporary: bool) -> Iterator[Found]:
    for parent, _, names in os.walk(folder):
        for name in names:
            if is_temporary(name) and not temporary:
                continue
            path = Path(parent, name)
            with contextlib.suppress(FileNotFoundError):  # deleted while we look
                status = path.stat()
                yield Found(str(path)[below:], status.st_size, status.st_mtime)


def _condition_failed(error: BaseException) -> bool:
    cause = error.__cause__
    response = getattr(cause, "response", None) or {}
    return response.get("Error", {}).get("Code") in ("PreconditionFailed", "412")
