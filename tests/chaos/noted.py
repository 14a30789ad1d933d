"""`mien`, with a line in a file for every segment that an actor begins.

MIEN_CHAOS_BEGUN=FILE python -m tests.chaos.noted score -c JOB
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from infra.child import Isolated

BEGUN = "MIEN_CHAOS_BEGUN"


@dataclass(frozen=True)
class Begun:
    """An actor's process began a segment at a time since the epoch."""

    at: float
    pid: int
    segment_id: str


class Noted(Isolated):
    """The real operator; it writes down what it begins."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        if "segment_id" in batch.column_names:
            with open(os.environ[BEGUN], "a") as file:
                for segment_id in batch["segment_id"].to_pylist():
                    file.write(f"{time.time()} {os.getpid()} {segment_id}\n")
        return super().__call__(batch)


def read_begun(path: Path) -> list[Begun]:
    """What was begun so far, in order of time."""
    lines = path.read_text().splitlines() if path.exists() else []
    fields = [line.split() for line in lines]
    return sorted((Begun(float(at), int(pid), s) for at, pid, s in fields), key=lambda b: b.at)


if __name__ == "__main__":
    import pipelines.steps
    from pipelines.cli import main
    from tests.chaos import noted

    pipelines.steps.Isolated = noted.Noted  # by its module's name: workers import it from there
    main()
