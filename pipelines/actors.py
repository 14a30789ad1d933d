"""What Ray's actors are made of. A worker imports the module of its actor: nothing heavy here."""

from typing import Any

import pyarrow as pa

from infra.child import Isolated
from infra.copies import put_copies
from infra.errors import discreet
from infra.offline import disable_telemetry
from infra.staging import write_segments
from infra.storage import Root
from operators.core.operator import Step


class Built:
    """Steps as Ray Data wants them: built where they run, one after the other on a batch."""

    def __init__(self, steps: tuple[Step, ...]) -> None:
        disable_telemetry()
        self._operators = [step.build() for step in steps]

    @discreet()
    def __call__(self, batch: pa.Table) -> pa.Table:
        for operator in self._operators:
            batch = operator(batch)
        return batch


class Write:
    """Puts segments into staging. An actor: Ray starts a new process for every lonely task."""

    def __init__(self, store: Root, run_id: str) -> None:
        self._store, self._run_id = store, run_id

    @discreet()
    def __call__(self, batch: pa.Table) -> pa.Table:
        return write_segments(batch, self._store, self._run_id)


class RedactAndPut:
    """An isolated Redact, and the copy that it gives put in its place: no copy is handed on."""

    def __init__(self, isolated: tuple[Any, ...], out: Root, redact_hash: str) -> None:
        disable_telemetry()
        self._isolated = Isolated(*isolated)
        self._out, self._hash = out, redact_hash

    @discreet()
    def __call__(self, batch: pa.Table) -> pa.Table:
        return put_copies(self._isolated(batch), batch["copy_name"], self._out, self._hash)


def never() -> bool:
    """Nobody asks for a stop."""
    return False
