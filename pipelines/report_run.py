"""The part of the report that says how the rows came about: settings, hashes, versions, audits.

A report may be sent on. Settings that name a place (a source, a store, a server) are therefore
told as set or not set, never with their value.
"""

from collections import Counter
from datetime import datetime
from typing import Any

import yaml

from pipelines.report_data import Row
from pipelines.report_text import NONE, Column, amount, details_html, table_html, text_html

#: Settings whose values name a place or a file.
HIDDEN = frozenset(
    {
        "source",
        "store",
        "cluster.address",
        "plan.include",
        "plan.exclude",
        "tracking.uri",
        "uri",
    }
)
MAX_ROWS = 200
NOT_SHOWN = "set, not shown"


def settings(config_yaml: str) -> list[tuple[str, str]]:
    """A resolved configuration as dotted keys and values, without what names a place."""
    try:
        tree = yaml.safe_load(config_yaml)
    except yaml.YAMLError:
        return []
    found = _flatten("", tree) if isinstance(tree, dict) else []
    return [(key, _shown(key, value)) for key, value in found]


def _flatten(prefix: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        nested = [
            _flatten(f"{prefix}.{key}" if prefix else str(key), v) for key, v in value.items()
        ]
        return [pair for pairs in nested for pair in pairs]
    return [(prefix, value)]


def _shown(key: str, value: Any) -> str:
    if value is None or value in ([], {}, ""):
        return "not set"
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    names_a_place = key in HIDDEN or text.startswith(("/", "~", "file:")) or "://" in text
    if names_a_place and not key.startswith("governance."):
        return NOT_SHOWN
    return text


def elapsed_seconds(run: dict[str, Any]) -> float | None:
    """Wall time of a run that has ended."""
    try:
        ends = [datetime.fromisoformat(str(run[key])) for key in ("started", "ended")]
    except (KeyError, ValueError):
        return None
    return (ends[1] - ends[0]).total_seconds()


def run_html(run: dict[str, Any] | None, made: Row, methods: list[Row]) -> str:
    """Tables of the run, of what made the rows, and of the whole configuration."""
    parts = []
    if run is None:
        parts.append(
            text_html("The rows may come from several runs; `mien runs STORE` lists them.")
        )
    else:
        parts.append(table_html([Column("run"), Column("")], _facts(run)))
    parts.append("<h3>What made the rows</h3>")
    parts.append(
        table_html(
            [Column("what"), Column("value", "id"), Column("on", "number")],
            [
                *(("extract hash", value, f"{n:,} videos") for value, n in made["extract_hash"]),
                *(
                    (f"score hash, {m['method']}", m["score_hash"], f"{m['faces']:,} faces")
                    for m in methods
                ),
                *(("anonymizer", value, f"{n:,} faces") for value, n in made["anonymizer"]),
                *(("decoder", value or "none", f"{n:,} segments") for value, n in made["decoder"]),
                *(
                    ("detector device", value or "none", f"{n:,} segments")
                    for value, n in made["device"]
                ),
            ],
        )
    )
    if run is not None:
        parts += _run_tables(run)
    return "".join(parts)


def _facts(run: dict[str, Any]) -> list[tuple[str, str]]:
    spent = elapsed_seconds(run)
    facts = [
        ("id", str(run.get("run_id", "?"))),
        ("state", str(run.get("state", "?")).replace("_", " ")),
        ("started", _moment(run.get("started"))),
        ("ended", _moment(run.get("ended"))),
        ("elapsed", NONE if spent is None else amount(spent)),
    ]
    facts += [
        (key.removesuffix("_seconds"), amount(run[key]))
        for key in ("planned_seconds", "written_seconds", "quarantined_seconds")
        if isinstance(run.get(key), int | float)
    ]
    facts += [("warning", str(text)) for text in list(run.get("warnings") or ())[:20]]
    return facts


def _moment(value: Any) -> str:
    try:
        return f"{datetime.fromisoformat(str(value)):%Y-%m-%d %H:%M:%S %Z}".strip()
    except ValueError:
        return NONE


def _run_tables(run: dict[str, Any]) -> list[str]:
    parts = []
    audits = Counter((a["table"], bool(a["success"])) for a in run.get("audit") or ())
    if audits:
        rows = [
            (name, audits[name, True], audits[name, False])
            for name in sorted({table for table, _ in audits})
        ]
        columns = [Column("table"), Column("passed", "number"), Column("failed", "number")]
        parts.append("<h3>Audit</h3>" + table_html(columns, rows))
    pair = [Column("key"), Column("value", "id")]
    if run.get("config_yaml"):
        shown = settings(str(run["config_yaml"]))[:MAX_ROWS]
        parts.append(details_html("Configuration of the run", table_html(pair, shown)))
    for title, key in (
        ("Hashes of the run", "hashes"),
        ("Versions", "versions"),
        ("Counts of the run", "counts"),
    ):
        found = sorted((run.get(key) or {}).items())[:MAX_ROWS]
        if found:
            parts.append(details_html(title, table_html(pair, found)))
    return parts
