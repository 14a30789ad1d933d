"""Write the corpus, and run it through listing, Probe and Extract as a run does."""

import logging
import os
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa

from infra import listing
from infra.child import Isolated, Limits
from infra.errors import SourceError
from infra.served import parent_file
from infra.sources import Source, open_source
from operators.core.operator import Step, empty_values
from operators.extract import Extract
from operators.probe import Probe
from pipelines.planned import cut, planned_table
from schemas.config import Extract as ExtractConfig
from schemas.flow import PLANNED, PROBED, SOURCE_FILES
from schemas.reasons import Status
from tests.media import clips
from tests.media.kinds import (
    BESIDE,
    KINDS,
    PLACEHOLDER,
    PORT,
    REFERENCES,
    SKIPPED,
    Kind,
    Outcome,
)

#: Each registers its kinds when it is imported, in the order of the page.
for module in ("sound", "time", "damage", "hostile", "references", "places"):
    import_module(f"tests.media.kinds_{module}")

SEGMENT_SECONDS = 60
LISTING_REASONS = [
    value
    for name, value in vars(listing).items()
    if name.isupper() and isinstance(value, str)
]  # fmt: skip
MOST_SEGMENTS = 200


def write_corpus(root: Path, port: int = 0) -> Path:
    """Write every kind into a folder of its own. port: where the references to a server point."""
    root.mkdir(parents=True, exist_ok=True)
    beside = root / BESIDE
    beside.write_bytes(clips.mp4())
    for kind in KINDS.values():
        path = kind.write(root)
        if kind.group == REFERENCES:
            data = path.read_bytes().replace(PLACEHOLDER, os.fsencode(beside))
            path.write_bytes(data.replace(PORT.encode(), b"%05d" % port))
    return root


def list_kind(kind: Kind, root: Path) -> dict[str, Any] | str:
    """The row that listing makes of a kind's file, or the reason for which it is left out."""
    try:
        rows, counted = listing.list_sources(str(root / kind.name), (), (), 0)
    except SourceError as error:
        text = str(error)
        return next((reason for reason in LISTING_REASONS if reason in text), "")
    assert len(rows) == 1, counted
    row = rows.to_pylist()[0]
    assert row["uri"] == str(kind.path(root))
    return {**row, "source_id": kind.name}


class Chain:
    """Probe and Extract behind their child processes, as `pipelines.steps` builds them."""

    def __init__(self, limits: Limits = Limits(seconds=60, memory_gib=2)) -> None:
        self._watched: Kind | None = None
        self._path = Path()
        cfg = ExtractConfig(frames_per_second="all", detector_px=128)
        steps = (Step(Probe, (parent_file,)),)
        self.prober = Isolated(steps, SOURCE_FILES, self._open, empty_values, limits)
        steps = (Step(Extract, (cfg, 32, parent_file)),)
        self.extractor = Isolated(steps, PLANNED, self._open, empty_values, limits)

    def close(self) -> None:
        self.prober.close()
        self.extractor.close()

    def processes(self) -> list[int | None]:
        """The ids of the children, None where one is not running: the same while none has died."""
        children = (self.prober._child, self.extractor._child)
        return [child and child._process.pid for child in children]

    def probe(self, row: dict[str, Any]) -> dict[str, Any]:
        """A listed row with its PROBED columns."""
        batch = pa.Table.from_pylist([row], SOURCE_FILES)
        found = self.prober(batch).to_pylist()[0]
        return {**row, **{name: found[name] for name in PROBED.names}, "video_id": "v"}

    def extract(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        """A probed row's segments, read one after another; of very many, the first and the last."""
        segments = cut(row, SEGMENT_SECONDS)
        if len(segments) > MOST_SEGMENTS:
            segments = [segments[0], segments[-1]]
        return self.extractor(planned_table(segments)).to_pylist()

    def run(self, kind: Kind, root: Path) -> Outcome:
        """List, probe and extract one kind, with the changes that it makes to its file."""
        listed = list_kind(kind, root)
        if isinstance(listed, str):
            return Outcome(SKIPPED, listed)
        self._path = kind.path(root)
        if kind.after_listing is not None:
            kind.after_listing(self._path)
        probed = self.probe(listed)
        if probed["reason"] is not None:
            return Outcome(str(Status.QUARANTINED), probed["reason"])
        if kind.before_extract is not None:
            kind.before_extract(self._path)
        with self._watching(kind):
            return outcome(self.extract(probed))

    @contextmanager
    def _watching(self, kind: Kind):
        self._watched = kind
        try:
            yield
        finally:
            self._watched = None

    def _open(self, uri: str, size_bytes: int, version: str) -> Source:
        file = open_source(uri, size_bytes, version)
        if self._watched is None or self._watched.while_reading is None:
            return file
        change, self._watched = self._watched.while_reading, None
        return _ChangesUnderTheReader(file, lambda: change(self._path))


class _ChangesUnderTheReader:
    """A file that is changed after its first bytes were read."""

    def __init__(self, file: Source, change: Callable[[], None]) -> None:
        self._file, self._change = file, change
        self._changed = False
        self.check_unchanged, self.close = file.check_unchanged, file.close

    def read_range(self, offset: int, length: int) -> bytes:
        data = self._file.read_range(offset, length if self._changed else min(length, 4096))
        if not self._changed:
            self._changed = True
            self._change()
        return data


def outcome(segments: Iterable[dict[str, Any]]) -> Outcome:
    """What the segments of one video come to, as `pipelines.publish` sums them up."""
    rows = list(segments)
    states = {row["status"] for row in rows}
    status = states.pop() if len(states) == 1 else str(Status.PARTIAL)
    reason = next((row["reason"] for row in rows if row["reason"]), None)
    return Outcome(status, reason, sum(row["frames_sampled"] for row in rows))


@dataclass(frozen=True)
class Result:
    kind: Kind
    got: Outcome

    @property
    def right(self) -> bool:
        want = self.kind.expected
        same = (want.status, want.reason) == (self.got.status, self.got.reason)
        return same and want.frames in (None, self.got.frames)


def check(root: Path, names: Iterable[str] = ()) -> list[Result]:
    """Run every kind of a corpus, or the named ones."""
    logging.getLogger("infra").setLevel(logging.ERROR)
    chain = Chain()
    try:
        return [Result(KINDS[n], chain.run(KINDS[n], root)) for n in names or KINDS]
    finally:
        chain.close()
