"""What storage may do to a run: said in one plain line, and waited out where it may pass."""

import contextlib
import errno
from collections.abc import Callable, Iterator
from typing import TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from infra.errors import Resumable, StoreError, Unreachable

_CLIENTS = ("botocore", "aiobotocore", "aiohttp")
#: How long work that has begun goes on asking a remote storage that does not answer.
PATIENCE_SECONDS = 180.0
_LONGEST_PAUSE_SECONDS = 15.0

T = TypeVar("T")


def patiently(patience_seconds: float, act: Callable[[], T]) -> T:
    """What `act` returns; while it raises `Unreachable`, again with random, growing pauses."""
    if not patience_seconds:
        return act()
    return Retrying(
        retry=retry_if_exception_type(Unreachable),
        stop=stop_after_delay(patience_seconds),
        wait=wait_random_exponential(multiplier=0.5, max=_LONGEST_PAUSE_SECONDS),
        reraise=True,
    )(act)


@contextlib.contextmanager
def plain_errors(place: str) -> Iterator[None]:
    """Turn what storage may do to a run into one line that says what to do.

    Raises:
        Resumable: No space is left.
        Unreachable: The storage cannot be reached.
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
        raise Unreachable(f"{place}: storage failed ({what}): run again") from error
    except Exception as error:  # of the clients, whose classes take a second to import
        if not type(error).__module__.startswith(_CLIENTS):
            raise
        what = type(error).__name__
        if _is_outage(error):
            raise Unreachable(f"{place}: storage is out of reach ({what}): run again") from error
        if "Credentials" in what:
            raise StoreError(f"{place}: no credentials: set the usual AWS variables") from error
        raise StoreError(f"{place}: the client refused ({what}): check the address") from error


def _is_outage(error: Exception) -> bool:
    import aiohttp  # here, since both take a second to import and local stores need neither
    import botocore.exceptions as botocore

    return isinstance(
        error, botocore.ConnectionError | botocore.HTTPClientError | aiohttp.ClientError
    )
