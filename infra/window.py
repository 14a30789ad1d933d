"""A bound on how much is under way: what a killed driver costs.

Ray Data bounds the bytes between stages, not the rows: while a later stage starts or restarts,
small segments pile up behind it, begun and not staged. This policy lets the first stage take a row
only while fewer than `ROWS` are anywhere in the flow. Of mien, this file alone hangs on Ray Data's
internals, so it is also what knows how much is where.
"""

import weakref
from typing import Any

from ray.data import Dataset
from ray.data._internal.execution.backpressure_policy import (
    ENABLED_BACKPRESSURE_POLICIES,
    ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY,
    BackpressurePolicy,
)
from ray.data._internal.execution.operators.map_operator import MapOperator

ROWS = "mien.rows_under_way"
#: The flow that runs in this process; Ray makes the policy, so nobody can be handed it.
_present: "weakref.ref[Window] | None" = None


class Window(BackpressurePolicy):
    """Lets the first stage of a flow begin a row while fewer than ROWS are under way.

    Rows that were lost are not under way. A policy's own answer is overruled while no stage has a
    task, as when the second one's actors start: so this one hides what waits for the first stage.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.stages = [stage for stage in self._topology if isinstance(stage, MapOperator)]
        if self.stages:
            first: Any = self._topology[self.stages[0]]
            waiting = first.has_pending_bundles
            first.has_pending_bundles = lambda: waiting() and self._has_room()
        global _present
        _present = weakref.ref(self)

    def _has_room(self) -> bool:
        queued = sum(_rows(stage, waiting=True) for stage in self.stages[1:])
        inside = sum(_rows(stage, waiting=False) for stage in self.stages)
        return queued + inside < self._data_context.get_config(ROWS)


def _rows(stage: MapOperator, waiting: bool) -> float:
    """Rows that wait in front of a stage, or are in it, from what it counts in blocks."""
    counts = stage.metrics
    blocks = (
        counts.num_external_inqueue_blocks
        if waiting
        else counts.num_inputs_received - counts.num_task_inputs_processed
    )
    received = counts.num_inputs_received
    return blocks * (counts.num_row_inputs_received / received if received else 1)


def bound(flow: Dataset, rows: int) -> None:
    """Let no more than so many rows be under way in what is built on `flow`."""
    policies = [*ENABLED_BACKPRESSURE_POLICIES, Window]
    flow.context.set_config(ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY, policies)
    flow.context.set_config(ROWS, rows)


def under_way() -> list[tuple[int, int]]:
    """Segments that wait in front of each stage of the present flow, and that are in it."""
    flow = _present() if _present else None
    if flow is None:
        return []
    counts = [(_rows(stage, waiting=True), _rows(stage, waiting=False)) for stage in flow.stages]
    return [(round(waiting), max(0, round(inside))) for waiting, inside in counts]
