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
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import get_protocol

from infra.errors import Resumable, StoreError

_TEMPORARY = ".tmp"
_PARALLEL = 16
_CLIENTS = ("botocore", "aiobotocore", "aiohttp")

T = TypeVar("T")


def is_local(url: str) -> bool:
    """Whether a path or URL lies on this machine's file system."""
    return get_protocol(url) in ("file", "local")


def local_path(url: str) -> str:
    """The absolute path of a local path or `file://` URL."""
    path = Path(url.removeprefix("local://").removeprefix("file://")).expanduser()
    return os.path.normpath(path.absolute())  # links stay: the name is what the user gave


@contextlib.contextmanager
def plain_errors(place: str) -> Iterator[None]:
    """Turn what storage may do to a run into one line that says what to do.

    Raises:
        Resumable: No space is left, or the storage cannot be reached.
        StoreError: Access is denied, or the place cannot hold a store.
    """
    try:
        yield
    except (FileNotFoundError, FileExistsError, IsADirectoryError):
        raise
    except PermissionError as error:
        raise StoreError(f"{place}: permission denied: check who may read and write it") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Resumable(f"{place}: no space left: free some, then run again") from error
        if error.errno == errno.EROFS:
            raise StoreError(f"{place}: is read-only: name another store") from error
        if error.errno == errno.ENOTDIR:
            raise StoreError(f"{place}: a file stands where a folder must be") from error
        if error.errno == errno.ENOTSUP:
            raise StoreError(f"{place}: no hard links there: name another store") from error
        what = f"{type(error).__name__}, errno {error.errno}"
        raise Resumable(f"{place}: storage failed ({what}): run again") from error
    except Exception as error:
        if not type(error).__module__.startswith(_CLIENTS):
            raise
        what = type(error).__name__
        if "Credentials" in what:
            raise StoreError(f"{place}: no credentials: set the usual AWS variables") from error
        raise Resumable(f"{place}: storage is out of reach ({what}): run again") from error


class Root:
    """A folder or URL prefix. Pickles as its URL alone: every process opens it by itself.

    `rel` arguments are paths below it, with forward slashes.
    """

    def __init__(self, url: str) -> None:
        self.local = is_local(url)
        self.url = local_path(url) if self.local else url.rstrip("/")
        self._fs: fsspec.AbstractFileSystem | None = None

    def __reduce__(self) -> tuple[type["Root"], tuple[str]]:
        return Root, (self.url,)

    def __repr__(self) -> str:
        return f"Root({self.url!r})"

    @property
    def fs(self) -> fsspec.AbstractFileSystem:
        """The file system, without a cache of listings: others write here too."""
        if self._fs is None:
            if self.local:
                self._fs = LocalFileSystem()
            else:
                protocol = get_protocol(self.url)
                self._fs = cast(
                    fsspec.AbstractFileSystem,
                    fsspec.filesystem(protocol, use_listings_cache=False),
                )
        return self._fs

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
        with plain_errors(self.full(rel)):
            if self.local:
                return Path(self.full(rel)).read_bytes()
            return cast(bytes, self.fs.cat_file(self.path(rel)))

    def open(self, rel: str) -> IO[bytes]:
        """Open a file for reading at any place."""
        with plain_errors(self.full(rel)):
            return cast(IO[bytes], self.fs.open(self.path(rel), "rb"))

    def exists(self, rel: str) -> bool:
        """Whether a file (or, locally, a folder) is there."""
        with plain_errors(self.full(rel)):
            return bool(self.fs.exists(self.path(rel)))

    def write(self, rel: str, data: bytes) -> None:
        """Put a file, replacing one of that name; readers see the whole old or the whole new."""
        with plain_errors(self.full(rel)):
            if self.local:
                _through_temporary(Path(self.full(rel)), data, Path.replace, 0o666)
            else:
                self.fs.pipe_file(self.path(rel), data)

    def create(self, rel: str, data: bytes, private: bool = False) -> bool:
        """Put a file only if none has that name. False when there is one.

        `private` keeps it from other users, on a local file system.
        """
        with plain_errors(self.full(rel)):
            if self.local:
                mode = 0o600 if private else 0o666
                return _through_temporary(Path(self.full(rel)), data, _link, mode)
            return self._create_remote(rel, data)

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
        for rel in rels:
            with plain_errors(self.full(rel)), contextlib.suppress(FileNotFoundError):
                self.fs.rm_file(self.path(rel))

    def list(self, folder: str) -> list[tuple[str, int]]:
        """Every file below a folder with its size in bytes, sorted; none if it is not there."""
        with plain_errors(self.full(folder)):
            if self.local:
                found = _walk_sizes(self.full(folder))
            else:
                listed = cast(dict[str, Any], self.fs.find(self.path(folder), detail=True))
                found = (
                    (path, int(info["size"] or 0))
                    for path, info in listed.items()
                    if info["type"] == "file"  # buckets may hold marks for empty folders
                )
            below = len(self.path("")) + 1
            return sorted((path[below:], size) for path, size in found)


def in_parallel(read: Callable[[str], T], rels: Iterable[str]) -> list[T]:
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


def _walk_sizes(folder: str) -> Iterator[tuple[str, int]]:
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.startswith(".") and name.endswith(_TEMPORARY):
                continue
            path = Path(parent, name)
            with contextlib.suppress(FileNotFoundError):  # deleted while we look
                yield str(path), path.stat().st_size


def _condition_failed(error: BaseException) -> bool:
    cause = error.__cause__
    response = getattr(cause, "response", None) or {}
    return response.get("Error", {}).get("Code") in ("PreconditionFailed", "412")
