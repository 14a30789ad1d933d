"""Failures that the user can act on: one plain line that names the thing and the fix."""

import contextlib
from collections.abc import Iterator


class UserError(Exception):
    """Ends the command with its message alone, no traceback."""

    exit_code = 1


class ConfigurationError(UserError):
    """Wrong usage, key or value. Nothing was done."""

    exit_code = 2


class SourceError(UserError):
    """The source is missing, empty or contradicts itself. Nothing was done."""

    exit_code = 2


class StoreError(UserError):
    """The store is missing, of another version or key, or closed to us. Nothing was done."""

    exit_code = 2


class AuditFailed(UserError):
    """Rows did not meet the expectations, or too much was quarantined. Not published."""

    exit_code = 4


class AuditChainBroken(UserError):
    """The store's audit log is not what was written."""

    exit_code = 4


class Refused(UserError):
    """The governance gate said no. Nothing was done."""

    exit_code = 5


class Resumable(UserError):
    """Stopped half way: interrupted, storage or cluster lost, no space. Run again to go on."""

    exit_code = 6


class Unreachable(Resumable):
    """Storage did not answer, or with a failure of its own: it may do so later."""


class StoreBusy(UserError):
    """Another run holds the store."""

    exit_code = 7


@contextlib.contextmanager
def interruption(message: str) -> Iterator[None]:
    """Turn Ctrl-C into `Resumable` (exit 6) with what the user may rely on."""
    try:
        yield
    except KeyboardInterrupt:
        raise Resumable(f"interrupted: {message}") from None
