"""Which videos a source holds: a folder, a glob, a URL prefix, one file, or a manifest of them.

Nothing is opened but a manifest. The order is that of the uris, and the same on every call.
"""

import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

import fsspec
import pyarrow as pa

from infra.errors import SourceError
from infra.manifest import read_manifest
from infra.outages import plain_errors
from infra.patterns import is_glob, path_test, split_glob
from infra.sources import file_version, object_version
from infra.storage import in_parallel, is_local, local_path, modified_at, open_filesystem
from schemas.flow import SOURCE

#: Files below a folder, glob or prefix whose names end otherwise are skipped. A file that the
#: source or a manifest names by itself is always taken.
VIDEO_EXTENSIONS = (
    *(".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".ivf", ".m2t", ".m2ts"),
    *(".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mts"),
    *(".mxf", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".y4m"),
)
MANIFEST_EXTENSIONS = (".csv", ".parquet")

NOT_A_VIDEO = "not a video by name"
HIDDEN = "hidden"
EXCLUDED = "excluded"
TOO_YOUNG = "too young"
NOT_A_FILE = "not a regular file"
BAD_NAME = "name is not UTF-8"
UNREADABLE_FOLDER = "unreadable folder"


@dataclass(frozen=True)
class _Found:
    """A file: where, its path below the source, and what its directory entry says."""

    uri: str
    below: str
    size_bytes: int
    changed: str
    changed_at: float | None


def list_sources(
    source: str,
    include: Sequence[str],
    exclude: Sequence[str],
    min_age_seconds: float,
    now: float | None = None,
) -> tuple[pa.Table, dict[str, int]]:
    """List the videos of a source as rows of SOURCE, and count what was skipped, by reason.

    `include` and `exclude` are globs on the path below the source. One without `/` matches any
    folder or file name on that path, one with `/` the path from its start; whatever lies below a
    folder that matches, matches. Files changed less than `min_age_seconds` before `now` (a Unix
    time, by default the present) are skipped.

    Raises:
        SourceError: The source or a file of a manifest is missing, or there is no video at all.
    """
    skipped: Counter[str] = Counter()
    moment = time.time() if now is None else now
    choose = _chooser(include, exclude, min_age_seconds, moment, skipped)
    if _is_manifest(source):
        rows = _from_manifest(source, choose)
    elif _is_single_file(source):
        rows = [{**_row(found), **_NO_SESSION} for found in [_stat(source)] if choose(found)]
    else:
        listed = _walk(source, skipped) if is_local(source) else _find(source)
        rows = [
            {**_row(found), **_NO_SESSION}
            for found in listed
            if _video_by_name(found.below, skipped) and choose(found)
        ]
    if not rows and not skipped[TOO_YOUNG]:
        raise _no_video(source, skipped)
    rows.sort(key=lambda row: row["uri"])
    return pa.Table.from_pylist(rows, SOURCE), dict(sorted(skipped.items()))


_NO_SESSION: dict[str, Any] = {"session_id": None, "view_id": None, "recorded_at": None}


def _row(found: _Found) -> dict[str, Any]:
    return {"uri": found.uri, "size_bytes": found.size_bytes, "changed": found.changed}


def _no_video(source: str, skipped: Counter[str]) -> SourceError:
    total = skipped.total()
    if not total:
        return SourceError(f"{source}: holds no file: check the path")
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()))
    return SourceError(f"{source}: holds no video, {total} skipped ({reasons}): check the path")


# --- what is kept --------------------------------------------------------------------------------


def _chooser(
    include: Sequence[str],
    exclude: Sequence[str],
    min_age_seconds: float,
    now: float,
    skipped: Counter[str],
) -> Callable[[_Found], bool]:
    included = [path_test(text) for text in include]
    excluded = [path_test(text) for text in exclude]

    def choose(found: _Found) -> bool:
        if (included and not any(match(found.below) for match in included)) or any(
            match(found.below) for match in excluded
        ):
            skipped[EXCLUDED] += 1
            return False
        age = None if found.changed_at is None else now - found.changed_at
        if min_age_seconds > 0 and age is not None and age < min_age_seconds:
            skipped[TOO_YOUNG] += 1
            return False
        return True

    return choose


def _video_by_name(below: str, skipped: Counter[str]) -> bool:
    if any(name.startswith(".") for name in below.split("/")):
        skipped[HIDDEN] += 1
    elif PurePosixPath(below).suffix.lower() not in VIDEO_EXTENSIONS:
        skipped[NOT_A_VIDEO] += 1
    else:
        return True
    return False


# --- where to look -------------------------------------------------------------------------------


def _is_manifest(source: str) -> bool:
    if not source.lower().endswith(MANIFEST_EXTENSIONS):
        return False
    return not (is_local(source) and Path(local_path(source)).is_dir())


def _is_single_file(source: str) -> bool:
    if is_local(source):
        return Path(local_path(source)).is_file()
    if is_glob(source) or source.endswith("/"):
        return False
    fs, path = _remote(source)
    with plain_errors(source):
        return bool(fs.isfile(path))


def _remote(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    try:
        fs = open_filesystem(url)
    except (ImportError, ValueError) as error:
        raise SourceError(f"{url}: mien cannot read this kind of address: {error}") from error
    return fs, str(fs._strip_protocol(url))


def _stat(uri: str) -> _Found:
    """What is at one uri.

    Raises:
        FileNotFoundError: Nothing.
    """
    name = uri.rstrip("/").rsplit("/", 1)[-1]
    if is_local(uri):
        path = local_path(uri)
        return _local(path, name, Path(path).stat())
    fs, path = _remote(uri)
    with plain_errors(uri):
        return _listed(uri, name, fs.info(path))


def _stat_or_none(uri: str) -> _Found | None:
    try:
        return _stat(uri)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _local(path: str, below: str, status: os.stat_result) -> _Found:
    return _Found(path, below, status.st_size, file_version(status), status.st_mtime)


def _listed(uri: str, below: str, info: dict[str, Any]) -> _Found:
    size = int(info["size"] or 0)
    return _Found(uri, below, size, object_version(info), modified_at(info))


def _walk(source: str, skipped: Counter[str]) -> Iterator[_Found]:
    base, matches = split_glob(local_path(source))
    if not Path(base).is_dir():
        raise SourceError(f"{source}: does not exist: check the path")
    if not os.access(base, os.R_OK | os.X_OK):
        raise SourceError(f"{source}: permission denied: check who may read there")
    for path in _files(base, skipped):
        below = os.path.relpath(path, base)
        if not matches(below):
            continue
        if not _is_utf8(below):
            skipped[BAD_NAME] += 1
            continue
        try:
            status = Path(path).stat()
        except OSError:
            skipped[NOT_A_FILE] += 1
            continue
        if stat.S_ISREG(status.st_mode):
            yield _local(path, below, status)
        else:
            skipped[NOT_A_FILE] += 1


def _files(base: str, skipped: Counter[str]) -> Iterator[str]:
    """Everything below a folder that is no folder. Links to folders come after the folders, once
    each, so that loops end and a file is found at its own place first."""
    seen: set[tuple[int, int]] = set()
    folders, links = [base], []
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        try:
            status = Path(folder).stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError:
            skipped[UNREADABLE_FOLDER] += 1
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif entry.is_symlink() and Path(entry.path).is_dir():
                links.append(entry.path)
            else:
                yield entry.path


def _find(source: str) -> Iterator[_Found]:
    base, matches = split_glob(source)
    fs, path = _remote(base)
    with plain_errors(source):
        try:
            listed = cast(dict[str, Any], fs.find(path, detail=True))
        except FileNotFoundError:
            listed = {}
    if not listed:
        raise SourceError(f"{source}: does not exist or is empty: check the address")
    protocol = base.split("://", 1)[0]
    for name, info in sorted(listed.items()):
        below = name[len(path) :].lstrip("/")
        if info.get("type") == "file" and matches(below):  # not a mark for a folder
            yield _listed(f"{protocol}://{name.lstrip('/')}", below, info)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# --- manifests -----------------------------------------------------------------------------------


def _from_manifest(source: str, choose: Callable[[_Found], bool]) -> list[dict[str, Any]]:
    entries = read_manifest(source)
    uris = [entry["uri"] for entry in entries]
    missing, rows = [], []
    for entry, found in zip(entries, in_parallel(_stat_or_none, uris), strict=True):
        if found is None:
            missing.append(entry["uri"])
        elif choose(found):
            rows.append({**entry, **_row(found)})
    if missing:
        names = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
        raise SourceError(f"{source}: {len(missing)} of its files are missing: {names}")
    return rows
