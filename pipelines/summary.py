"""What a run says at its end: on the terminal, as JSON, as the report."""

import json
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from infra import runs
from infra.runs import RunRecord, State
from infra.store import readable
from pipelines.progress import clock
from pipelines.query import open_store
from pipelines.record import Outcome, quarantined
from pipelines.report import report_html, write_report
from schemas.reasons import REASON_TEXT, Reason

#: What DuckDB may take in a driver for the report; beyond it, ids and scores wait on a disk.
REPORT_MIB = 256
WIDTH = 160  # where there is no terminal to ask
TITLE = "Apparent expressions"
TOP = """
select s.method, s.top_label, count(*) faces, avg(s.confidence) confidence,
       count(*) filter (s.abstained) abstained
from scores s group by all order by 1, 3 desc
"""
BROKEN = """
select v.uri, s.status, s.reason, sum(s.end_seconds - s.start_seconds - g.seconds_read) lost
from segments s join videos v using (video_id) join segments g using (segment_id)
where s.run_id = ? and s.status <> 'ok' group by all
union all select uri, status, reason, null from videos
where run_id = ? and status = 'quarantined' and duration_seconds is null
order by all limit 20
"""


def print_outcome(outcome: Outcome, store: str, as_json: bool, console: Console) -> None:
    """The run's record on stdout as JSON, or a summary on the terminal."""
    record = outcome.record
    if as_json:
        body = record.model_dump(mode="json", exclude={"config_yaml"})
        sys.stdout.write(json.dumps({**body, "exit_code": outcome.exit_code}, indent=2) + "\n")
        return
    if record.state is State.NOTHING_NEW:
        console.print("nothing new: published rows cover every video")
        return
    counts = record.counts
    console.print(
        f"run {record.run_id}: {counts['videos']} videos, {clock(record.written_seconds)} of "
        f"{clock(record.planned_seconds)} scored, {counts['frames']} frames, "
        f"{counts['faces']} faces",
        soft_wrap=True,
    )
    speeds = ", ".join(
        f"{name} {stage.rows_per_second:,.0f} {'frames' if name == 'extract' else 'faces'}/s"
        for name, stage in record.stages.items()
    )
    console.print(f"speed of each stage: {speeds}", soft_wrap=True)
    _print_broken(record, store, console)


def _print_broken(record: RunRecord, store: str, console: Console) -> None:
    reasons = quarantined(record)
    if not reasons:
        return
    rows = open_store(store).execute(BROKEN, [record.run_id, record.run_id]).fetchall()
    table = Table("quarantined", "status", "seconds lost", "why", title=None)
    for uri, status, reason, lost in rows:
        text = REASON_TEXT[Reason(reason)] if reason else ""
        table.add_row(Path(uri).name, status, "all" if lost is None else f"{lost:.1f}", text)
    console.print(table)


def print_next_commands(store: str, report: Path, console: Console) -> None:
    """What came out, and what to try next."""
    table = Table("method", "top label", "faces", "mean confidence", "abstained")
    for method, label, faces, confidence, abstained in open_store(store).execute(TOP).fetchall():
        table.add_row(method, label, str(faces), f"{confidence:.2f}", str(abstained))
    console.print(table)
    console.print(
        "Labels are apparent expressions, not inner states. Next:\n"
        f'  .venv/bin/mien query {store} "select * from tracks"\n'
        f"  .venv/bin/mien query {store} "
        '"select label, sum(seconds) from expression_seconds group by 1 order by 2 desc"\n'
        f"  .venv/bin/mien runs {store}\n"
        f"  open {report}",
        highlight=False,
        soft_wrap=True,
    )


def write_store_report(store: str, out: Path) -> None:
    """The report of everything live in a store, with its last published run."""
    write_report(open_store(store), out, TITLE, _last_run(store))


def report_page(store: str) -> str:
    """The same page as text, with DuckDB held to `REPORT_MIB`. Raises `duckdb.Error` beyond it."""
    with tempfile.TemporaryDirectory(prefix="mien-report-") as spill, open_store(store) as con:
        con.execute(f"SET memory_limit = '{REPORT_MIB}MiB'")
        con.execute(f"SET temp_directory = '{spill}'")
        return report_html(con, TITLE, _last_run(store), datetime.now(UTC))


def _last_run(store: str) -> dict[str, Any] | None:
    published = [r for r in runs.list_runs(readable(store)) if r.state is State.PUBLISHED]
    return published[-1].model_dump(mode="json") if published else None


def print_runs(store: str, as_json: bool) -> None:
    """Every run of the store, oldest first."""
    records = runs.list_runs(readable(store))
    if as_json:
        rows = [record.model_dump(mode="json", exclude={"config_yaml"}) for record in records]
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("run", "state", "started", "took", "videos", "faces", "quarantined"):
        table.add_column(name, no_wrap=True)
    table.add_column("message")
    for record in records:
        took = clock((record.ended - record.started).total_seconds()) if record.ended else ""
        counts = record.counts
        table.add_row(
            record.run_id,
            str(record.state),
            f"{record.started:%Y-%m-%d %H:%M:%S}",
            took,
            str(counts.get("videos", "")),
            str(counts.get("faces", "")),
            str(sum(quarantined(record).values())),
            record.message or "",
        )
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)
