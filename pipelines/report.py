"""One self-contained HTML page about a store: plots, tables, settings; no picture, no network."""

import json
import os
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import duckdb
from plotly.offline import get_plotlyjs

from pipelines import report_sections as sections
from pipelines.figures import Figure
from pipelines.report_text import text_html

PAGE = Path(__file__).with_name("page")

#: The browser itself enforces what the page promises: nothing is loaded from anywhere.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)
STATEMENT = (
    "Every label in this report is an apparent expression: what a method sees in a picture of a "
    "face. It is never an inner state, and says nothing about what a person felt, thought or "
    "intended. No identity is kept and no face is shown: a track links faces by motion inside one "
    "video and ends there."
)


def write_report(
    con: duckdb.DuckDBPyConnection, out: Path, title: str, run: dict[str, Any] | None
) -> None:
    """Write the page about the store behind `con` to `out`, replacing it whole or not at all.

    `con` has the views of schemas.tables and `expression_seconds`; `run` is a run's record as
    JSON would hold it. The page names videos by video_id alone and may be sent on.
    """
    page = report_html(con, title, run, datetime.now(UTC))
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    partial.write_text(page, encoding="utf-8")
    partial.replace(out)


def report_html(
    con: duckdb.DuckDBPyConnection, title: str, run: dict[str, Any] | None, made: datetime
) -> str:
    """The whole page as text."""
    figures: dict[str, Figure] = {}
    chapters = sections.chapters(con, run, figures)
    contents = "".join(
        f'<a href="#{chapter.name}">{escape(chapter.title)}</a>' for chapter in chapters
    )
    subtitle = f"{made:%d %B %Y, %H:%M} UTC"
    if run is not None and run.get("run_id"):
        subtitle += f" · run {run['run_id']}"
    body = (
        f"<header><h1>{escape(title)}</h1><p class='soft'>{escape(subtitle)}</p>"
        f"{text_html(STATEMENT, 'statement')}<nav>{contents}</nav></header>"
        "<noscript><p>The plots need JavaScript, which this page carries itself. The tables "
        "do not.</p></noscript>"
        f"<main>{''.join(chapter.html for chapter in chapters)}</main>"
        "<footer><p class='soft'>Made by mien. This page loads nothing and sends nothing.</p>"
        "</footer>"
    )
    scripts = "".join(f"<script>{text}</script>" for text in (get_plotlyjs(), _read("report.js")))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{_read('report.css')}</style></head>"
        f'<body>{body}<script type="application/json" id="figures">{_json(figures)}</script>'
        f"{scripts if figures else ''}</body></html>\n"
    )


def _read(name: str) -> str:
    return (PAGE / name).read_text(encoding="utf-8")


def _json(figures: dict[str, Figure]) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(figures, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
