"""The shape of an operator: what it reads, writes and drops is declared, and enforced here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa


@dataclass(frozen=True)
class Ports:
    """The columns that an operator touches.

    `drops` are gone from its output: privacy is a column name, and what is dropped cannot be read
    by anything that comes later.
    """

    reads: tuple[str, ...]
    writes: pa.Schema
    drops: tuple[str, ...] = ()


class Operator(Protocol):
    """A picklable class: `__init__` loads models once an actor, `__call__` maps a batch."""

    def __call__(self, batch: pa.Table) -> pa.Table: ...


@dataclass(frozen=True)
class Step:
    """An operator and what it is built from: cheap to declare, ship and check before it is built.

    The operator's `ports(*args)` is a static method that loads nothing.
    """

    operator: Any
    args: tuple[Any, ...] = ()

    @property
    def name(self) -> str:
        return self.operator.__name__

    @property
    def ports(self) -> Ports:
        return self.operator.ports(*self.args)

    def build(self) -> Operator:
        return self.operator(*self.args)


class WiringError(ValueError):
    """A chain of operators in which a column is missing or comes back after it was dropped."""


def check_wiring(columns: Iterable[str], steps: Iterable[Step]) -> set[str]:
    """Walk reads, writes and drops from `columns` on; return the columns at the end.

    Raises `WiringError` where a step reads what is not there, writes what already is, or writes
    again what an earlier step dropped.
    """
    present, gone = set(columns), set()
    for step in steps:
        ports = step.ports
        if missing := set(ports.reads) - present:
            why = "dropped before" if missing & gone else "never written"
            raise WiringError(f"{step.name} reads {sorted(missing)}: {why}")
        if back := set(ports.writes.names) & (present | gone):
            raise WiringError(f"{step.name} writes {sorted(back)} a second time")
        if absent := set(ports.drops) - present:
            raise WiringError(f"{step.name} drops {sorted(absent)}, which is not there")
        present = (present | set(ports.writes.names)) - set(ports.drops)
        gone |= set(ports.drops)
    return present


def extend(batch: pa.Table, ports: Ports, columns: Mapping[str, Any]) -> pa.Table:
    """The operator's output: `batch` with exactly the declared columns added and dropped.

    Every value is cast to its declared type; a wrong, missing or surplus name raises `KeyError`.
    """
    if set(columns) != set(ports.writes.names):
        surplus = sorted(set(columns) ^ set(ports.writes.names))
        raise KeyError(f"declared and written columns differ: {surplus}")
    table = batch.drop_columns(list(ports.drops)) if ports.drops else batch
    for field in ports.writes:
        values = columns[field.name]
        if isinstance(values, str):  # one value for the whole batch
            values = [values] * len(batch)
        table = table.append_column(field, typed(values, field.type))
    return table


def empty_values(schema: pa.Schema, rows: int) -> dict[str, pa.Array]:
    """Columns that say 'nothing found': empty lists, zeros, empty strings, null where allowed."""
    return {field.name: pa.array([_nothing(field)] * rows, field.type) for field in schema}


def _nothing(field: pa.Field) -> object:
    if field.nullable:
        return None
    if pa.types.is_list(field.type):
        return []
    return "" if pa.types.is_string(field.type) else 0


def typed(values: Any, type: pa.DataType) -> pa.Array | pa.ChunkedArray:
    """`values` (Arrow, NumPy or a list) as an Arrow array of `type`."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values if values.type == type else values.cast(type)
    return pa.array(values, type)


def flatten(column: pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """Split a list column into its offsets `(rows + 1,)` and its flat values, without a copy.

    A row is a segment; its faces lie end to end with those of the other rows, so that a model
    sees one array.
    """
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks else pa.array([], column.type)
    starts = array.offsets
    first, last = starts[0].as_py(), starts[-1].as_py()
    offsets = pa.array(starts.to_numpy() - first, pa.int32())
    return offsets, array.values.slice(first, last - first)


def fold(offsets: pa.Array, values: pa.Array, type: pa.ListType) -> pa.ListArray:
    """Put flat `values` back into one list a row, by the offsets that `flatten` gave."""
    return pa.ListArray.from_arrays(offsets, values, type=type)
