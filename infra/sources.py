"""Open the bytes of a video, wherever it lies."""

import stat
from pathlib import Path
from typing import BinaryIO, cast

import fsspec.core

RANGE_BYTES = 4 << 20


def open_source(uri: str) -> BinaryIO:
    """A seekable, read-only file. Raises `OSError` where it cannot be read."""
    if "://" not in uri:
        path = Path(uri)
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError("not a regular file")  # a FIFO would block for ever
        return path.open("rb", buffering=0)  # type: ignore[return-value]
    system, path = fsspec.core.url_to_fs(uri)
    opened = system.open(path, "rb", cache_type="readahead", block_size=RANGE_BYTES)
    return cast(BinaryIO, opened)
