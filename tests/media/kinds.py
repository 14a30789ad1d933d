"""What a kind of bad or odd media is, and the registry of all of them."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from schemas.reasons import Reason, Status

#: The listing left the file out.
SKIPPED = "skipped"
REFERENCES = "references"
#: Stands for the port of a server that must never hear of it; the test puts a real one there.
PORT = "65530"
#: A good video in the corpus, so that following a reference to it would succeed. Its name hides
#: it from the listing; the placeholder stands for its path.
BESIDE = "beside.bin"
PLACEHOLDER = b"@BESIDE@"


@dataclass(frozen=True)
class Outcome:
    """What a file gives: `skipped`, or a Status; why; and how many frames were sampled."""

    status: str
    reason: str | None = None
    frames: int | None = None

    def __str__(self) -> str:
        return f"{self.status}: {self.reason}" if self.reason else self.status


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    file: its name in the folder that is made for the kind alone. build: makes its bytes. expected:
    what it must give; where `frames` is set, the number of frames is checked too, so that none goes
    missing in silence. place: puts it there, where writing its bytes is not enough. after_listing,
    before_extract and while_reading change the file behind the pipeline's back. pending: why the
    code does not give what it must, yet.
    """

    name: str
    group: str
    about: str
    file: str
    expected: Outcome
    build: Callable[[], bytes] = bytes
    place: Callable[[Path], None] | None = None
    after_listing: Callable[[Path], None] | None = None
    before_extract: Callable[[Path], None] | None = None
    while_reading: Callable[[Path], None] | None = None
    pending: str | None = None

    def path(self, root: Path) -> Path:
        return root / self.name / self.file

    def write(self, root: Path) -> Path:
        path = self.path(root)
        path.parent.mkdir(parents=True)
        if self.place is not None:
            self.place(path)
        else:
            path.write_bytes(self.build())
        return path


KINDS: dict[str, Kind] = {}


def ok(frames: int | None = None) -> Outcome:
    return Outcome(str(Status.OK), None, frames)


def partial(reason: Reason, frames: int | None = None) -> Outcome:
    return Outcome(str(Status.PARTIAL), str(reason), frames)


def refused(reason: Reason) -> Outcome:
    return Outcome(str(Status.QUARANTINED), str(reason))


def skipped(reason: str) -> Outcome:
    return Outcome(SKIPPED, reason)


def add(kind: Kind) -> None:
    """Register a kind. Raises ValueError where another has its name."""
    if kind.name in KINDS:
        raise ValueError(f"two kinds are called {kind.name}")
    KINDS[kind.name] = kind


def declare(
    group: str,
    file: str,
    about: str,
    expected: Outcome,
    build: Callable[[], bytes],
    pending: str | None = None,
) -> None:
    """Register a kind whose file is bytes and no more; it is named after its file."""
    name = f"{os.path.splitext(file)[0]} {file.rsplit('.', 1)[-1]}".replace(" ", "-")
    add(Kind(name, group, about, file, expected, build, pending=pending))
