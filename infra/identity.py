"""Who a video is: keyed hashes, so that an id tells nothing without the store's key."""

import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path
from typing import NoReturn

from infra.errors import ConfigurationError, StoreError
from infra.storage import Root, local_path

#: Where a key generated for a local store lies.
KEY_FILE = "key"
_HEX_DIGITS = 64
_ID_DIGITS = 24  # 96 bits
_MAKE_ONE = "make one with `openssl rand -hex 32`"


class Identity:
    """Names sources and videos with a store's key. Stays on the driver: it refuses to pickle."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __reduce__(self) -> NoReturn:
        raise TypeError("the store's key stays on the driver")

    def _code(self, kind: str, *parts: str) -> str:
        message = "".join(f"{len(part)}:{part}" for part in (kind, *parts))
        return hmac.new(self._key, message.encode(), hashlib.sha256).hexdigest()

    def _digest(self, kind: str, *parts: str) -> str:
        return self._code(kind, *parts)[:_ID_DIGITS]

    def source_id(self, uri: str) -> str:
        """Name the place `uri`, whatever lies there."""
        return self._digest("source", uri)

    def video_id(self, uri: str, size_bytes: int, fingerprint: str) -> str:
        """Name the content at `uri`; `fingerprint` is the sha256 of parts of it."""
        return self._digest("video", uri, str(size_bytes), fingerprint)

    def content_id(self, size_bytes: int, fingerprint: str) -> str | None:
        """Name what a file holds, wherever it lies; None where nothing of it was read."""
        if not (size_bytes and fingerprint):
            return None
        return self._digest("content", str(size_bytes), fingerprint)

    def reference(self, kind: str, text: str) -> str:
        """Stand for a name that a log must not hold."""
        return self._digest("reference", kind, text)

    def audit_code(self, event: str) -> str:
        """What proves that an event of the audit log was written by who holds the key."""
        return self._code("audit", event)

    @property
    def key_fingerprint(self) -> str:
        """What a store remembers of its key, to know it again."""
        return self._digest("key")


def given_key() -> bytes | None:
    """The key in `MIEN_KEY`, or in the file that `MIEN_KEY_FILE` names; None if neither is set.

    Raises:
        ConfigurationError: What is given is no key, or others may read its file.
    """
    if text := os.environ.get("MIEN_KEY"):
        return _parse(text, "MIEN_KEY")
    if path := os.environ.get("MIEN_KEY_FILE"):
        return _read_file(local_path(path), f"MIEN_KEY_FILE ({path})")
    return None


def store_key(root: Root) -> bytes:
    """The key of a store that exists.

    Raises:
        StoreError: There is none.
    """
    key = given_key() or _own_key(root)
    if key is None:
        raise StoreError(f"{root.url}: its key is missing: set MIEN_KEY or MIEN_KEY_FILE")
    return key


def new_store_key(root: Root) -> bytes:
    """The key for a store to be: the one given, or for a local store a random one kept inside.

    Raises:
        ConfigurationError: The store is remote and no key is given.
    """
    key = given_key() or _own_key(root)
    if key is not None:
        return key
    if not root.local:
        raise ConfigurationError(
            f"{root.url}: a remote store needs MIEN_KEY or MIEN_KEY_FILE: {_MAKE_ONE}"
        )
    text = secrets.token_hex(_HEX_DIGITS // 2)
    root.create(KEY_FILE, f"{text}\n".encode(), private=True)
    return store_key(root)  # another process may have been first


def _own_key(root: Root) -> bytes | None:
    if not root.local or not root.exists(KEY_FILE):
        return None
    return _read_file(root.full(KEY_FILE), root.full(KEY_FILE))


def _read_file(path: str, name: str) -> bytes:
    try:
        with Path(path).open() as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise ConfigurationError(f"{name}: others may read this key: chmod 600 it")
            return _parse(file.read(), name)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{name}: cannot be read as a key file: check it") from error


def _parse(text: str, name: str) -> bytes:
    text = text.strip()
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) * 2 != _HEX_DIGITS:
        raise ConfigurationError(f"{name}: is no key of {_HEX_DIGITS} hex digits: {_MAKE_ONE}")
    return key
