"""Globs on paths below a source. `*` stays within one name, `**` does not."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from fsspec.utils import glob_translate

from infra.storage import is_local

_MAGIC = re.compile(r"[*?[]")


def is_glob(text: str) -> bool:
    """Whether a path or URL has a place that stands for several names."""
    return _MAGIC.search(text) is not None


def path_test(text: str) -> Callable[[str], bool]:
    """A glob as a test of a path or of any folder on it."""
    regex = re.compile(glob_translate(text.strip("/")))
    if "/" in text.strip("/"):
        return lambda below: any(regex.match(head) for head in _heads(below))
    return lambda below: any(regex.match(name) for name in below.split("/"))


def split_glob(source: str) -> tuple[str, Callable[[str], bool]]:
    """The folder that a glob starts from, and its test of paths below; all paths without a glob."""
    magic = _MAGIC.search(source)
    if magic is None or (is_local(source) and Path(source).is_dir()):
        return source.rstrip("/") or "/", lambda below: True
    base = source[: magic.start()].rsplit("/", 1)[0]
    pattern = source[len(base) + 1 :].rstrip("/")
    regex = re.compile(glob_translate(pattern))
    return base or "/", lambda below: any(regex.match(head) for head in _heads(below))


def _heads(below: str) -> Iterator[str]:
    """The path and every folder that it lies in."""
    yield below
    while "/" in below:
        below = below.rsplit("/", 1)[0]
        yield below
