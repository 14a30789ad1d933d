"""Runs the expectations on a part of the tables, before anybody sees it.

DuckDB computes each expectation's value for every row; Great Expectations judges the values.
"""

import importlib
from collections.abc import Iterable, Mapping
from typing import Any, cast

import duckdb
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from infra.offline import DUCKDB_OFFLINE, disable_telemetry
from schemas.expectations import BAD_VALUES, EXPECTATIONS, Between, Expectation, OneOf, Unique
from schemas.tables import TABLES


class AuditResult(BaseModel):
    """One expectation on one table of a part: counts, never what stands in a row."""

    model_config = ConfigDict(frozen=True)

    table: str
    expectation: str
    success: bool
    observed: int
    """Rows that were judged."""
    unexpected_count: int
    """Rows that failed."""


def merged(results: Iterable[AuditResult]) -> tuple[AuditResult, ...]:
    """One result an expectation, over all parts that it was held against."""
    whole: dict[tuple[str, str], AuditResult] = {}
    for one in results:
        key = (one.table, one.expectation)
        before = whole.get(key)
        whole[key] = one if before is None else _together(before, one)
    return tuple(whole.values())


def _together(first: AuditResult, second: AuditResult) -> AuditResult:
    return first.model_copy(
        update={
            "success": first.success and second.success,
            "observed": first.observed + second.observed,
            "unexpected_count": first.unexpected_count + second.unexpected_count,
        }
    )


def audit(part: Mapping[str, pa.Table]) -> list[AuditResult]:
    """Check the tables of a part against each other and themselves.

    Tables may be absent: what needs them is not checked, and not in the result.
    """
    judge = _Judge()
    results: list[AuditResult] = []
    with duckdb.connect(config=DUCKDB_OFFLINE) as con:
        con.execute("SET autoinstall_known_extensions = false")
        con.execute("SET autoload_known_extensions = false")
        for name, rows in part.items():
            con.register(name, rows)
        for table in (name for name in TABLES if name in part):
            rules = [rule for rule in EXPECTATIONS[table] if set(part).issuperset(rule.needs)]
            if rules:
                results += judge.judge(table, rules, _values(con, table, rules))
    return results


def _values(con: duckdb.DuckDBPyConnection, table: str, rules: list[Expectation]) -> pa.Table:
    """Every rule's value for every row: one column a rule, named by its number."""
    columns = ", ".join(f'{_value(table, rule)} AS "{n}"' for n, rule in enumerate(rules))
    return con.sql(f"SELECT {columns} FROM {table} t").to_arrow_table()


def _value(table: str, rule: Expectation) -> str:
    sql = f"({rule.sql.replace(BAD_VALUES, _bad_values(TABLES[table]))})"
    # Great Expectations compares other numbers one by one.
    return f"{sql}::DOUBLE" if isinstance(rule, Between) else sql


def _bad_values(schema: pa.Schema) -> str:
    """SQL for the names of a row's columns that are null, or not finite, and may not be."""
    cases = []
    for field in schema:
        tests = [] if field.nullable else [f"t.{field.name} IS NULL"]
        if pa.types.is_floating(field.type):
            tests.append(f"NOT isfinite(t.{field.name})")
        elif pa.types.is_fixed_size_list(field.type):
            tests.append(f"NOT isfinite(list_sum(t.{field.name}::FLOAT[]))")
        elif pa.types.is_list(field.type) and pa.types.is_floating(field.type.value_type):
            # an empty list has no sum
            tests.append(f"NOT coalesce(isfinite(list_sum(t.{field.name})), false)")
        if tests:
            cases.append(f"CASE WHEN {' OR '.join(tests)} THEN '{field.name}' END")
    return f"concat_ws(',', {', '.join(cases)})"


class _Judge:
    """Great Expectations in memory: no files, no progress bars, nothing sent."""

    def __init__(self) -> None:
        disable_telemetry()
        import great_expectations as gx  # takes seconds: only who publishes pays for it
        from great_expectations.data_context.types.base import ProgressBarsConfig

        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        asset = context.data_sources.add_pandas("part").add_dataframe_asset("values")
        self._batches = asset.add_batch_definition_whole_dataframe("all")
        self._suite = gx.ExpectationSuite

    def judge(self, table: str, rules: list[Expectation], values: pa.Table) -> list[AuditResult]:
        """Hold the values against the rules, in their order."""
        suite = self._suite(
            name=table,
            expectations=[_expectation(rule, str(number)) for number, rule in enumerate(rules)],
        )
        batch = self._batches.get_batch({"dataframe": values.to_pandas()})
        found = {
            int(one.expectation_config.kwargs["column"]): one
            for one in cast(Any, batch.validate(suite, result_format="BASIC")).results
        }
        return [_result(table, rule, found[number]) for number, rule in enumerate(rules)]


def _result(table: str, rule: Expectation, found: Any) -> AuditResult:
    counts = found.result
    if "unexpected_count" not in counts:
        raise RuntimeError(f"{table}: the expectation {rule.name!r} could not be computed")
    return AuditResult(
        table=table,
        expectation=rule.name,
        success=bool(found.success),
        observed=counts["element_count"] - (counts.get("missing_count") or 0),
        unexpected_count=counts["unexpected_count"],
    )


def _expectation(rule: Expectation, column: str) -> Any:
    gxe: Any = importlib.import_module("great_expectations.expectations")
    if isinstance(rule, Between):
        return gxe.ExpectColumnValuesToBeBetween(
            column=column, min_value=rule.low, max_value=rule.high
        )
    if isinstance(rule, OneOf):
        return gxe.ExpectColumnValuesToBeInSet(column=column, value_set=list(rule.values))
    if isinstance(rule, Unique):
        return gxe.ExpectColumnValuesToBeUnique(column=column)
    raise TypeError(type(rule).__name__)
