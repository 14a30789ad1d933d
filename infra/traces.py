"""What a store keeps of a video outside of its tables: staged segments, plans, probes, reports."""

import base64
import contextlib
import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute

from infra import runs, staging
from infra.storage import Root, in_parallel
from infra.tables import read_small_table, write_small_table
from infra.tracking import BUFFER

pc: Any = pyarrow.compute  # its functions are made at import: type checkers see none

#: What probing found, by place, size and mtime.
PROBES = "probes.parquet"
#: Files with a name that ends so may hold a report.
_REPORTS = (".html", ".json", ".md", ".csv", ".svg", ".png", ".parquet", ".txt")


def erase_staged(root: Root, videos: Collection[str]) -> int:
    """Delete the staged segments of these videos, in every run; how many."""
    names = [rel for rel, _ in root.list(staging.FOLDER)]
    gone = [rel for rel in names if rel.rsplit("/", 1)[-1].split("-", 1)[0] in videos]
    root.delete(gone)
    return len(gone)


def erase_planned(root: Root, videos: Collection[str], sources: Collection[str]) -> int:
    """Take videos out of what runs were about to do; how many rows."""
    return sum(
        _without(root, rel, {"video_id": videos, "source_id": sources})
        for rel, _ in root.list(runs.FOLDER)
        if rel.endswith(runs.PLAN)
    )


def erase_probed(root: Root, sources: Collection[str]) -> int:
    """Forget what probing found at these places; how many rows."""
    return _without(root, PROBES, {"source_id": sources})


def _without(root: Root, rel: str, gone: dict[str, Collection[str]]) -> int:
    rows = read_small_table(root, rel)
    if rows is None:
        return 0
    stay = rows
    for column, names in gone.items():
        if column in rows.column_names:
            inside = pc.is_in(stay[column], pa.array(sorted(names), pa.string()))
            stay = stay.filter(pc.invert(inside))
    if len(stay) < len(rows):
        write_small_table(root, rel, stay)
    return len(rows) - len(stay)


def erase_reports(root: Root, needles: Collection[bytes]) -> int:
    """Delete pages in the store's own folders that name one of the videos; how many."""
    names = [rel for rel, _ in root.list(runs.FOLDER)] + _top_pages(root)
    kept = (".mlflow.json", ".live.json", runs.PLAN)
    pages = [rel for rel in names if rel.endswith(".html") and not rel.endswith(kept)]
    named = in_parallel(lambda rel: names_any(root.read_bytes(rel), needles), pages)
    gone = [rel for rel, found in zip(pages, named, strict=True) if found]
    root.delete(gone)
    return len(gone)


def _top_pages(root: Root) -> list[str]:
    below = len(root.path("")) + 1
    paths = root.fs.ls(root.path(""), detail=False)
    return [str(path)[below:] for path in paths if str(path).endswith(".html")]


def erase_buffered(root: Root, needles: Collection[bytes]) -> int:
    """Take artifacts that name one of the videos out of what waits for MLflow; how many."""
    gone = 0
    for rel, _ in root.list(runs.FOLDER):
        if not rel.endswith(BUFFER):
            continue
        payload = json.loads(root.read_bytes(rel))
        held = payload["artifacts"]
        kept = {
            name: text
            for name, text in held.items()
            if not names_any(base64.b64decode(text), needles)
        }
        if len(kept) < len(held):
            gone += len(held) - len(kept)
            root.write(rel, json.dumps({**payload, "artifacts": kept}).encode())
    return gone


def erase_below(folder: Path, needles: Collection[bytes]) -> int:
    """Delete reports below a local folder of MLflow's that name one of the videos; how many."""
    gone = 0
    for path in sorted(folder.rglob("*")):
        if path.suffix in _REPORTS and path.is_file() and names_any(path.read_bytes(), needles):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
                gone += 1
    return gone


def names_any(data: bytes, needles: Collection[bytes]) -> bool:
    """Whether one of the needles, hex digits of one length, stands in the data.

    One pass, however many there are: a night's retention may be thousands of videos.
    """
    wanted = frozenset(needles)
    places = (re.compile(rb"(?=([0-9a-f]{%d}))" % size) for size in {len(one) for one in wanted})
    return any(found[1] in wanted for place in places for found in place.finditer(data))
