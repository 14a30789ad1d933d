"""The report: one file, no network, no picture, no place, bounded."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines.query import EXPRESSION_SECONDS
from pipelines.report import STATEMENT, report_html, write_report
from pipelines.report_run import NOT_SHOWN, settings
from schemas.tables import TABLES
from tests.pipelines.report_pages import NOW, RUN, Tables, changed, connect, figures_of, page_of
from tests.rows import store_tables

EVIL = "<img src=x onerror=alert(2)></script><script>alert(1)</script>'\"&"
POINTS_A_TRACE = 2_000
MAX_BYTES = 12_000_000


def without_plotly(page: str) -> str:
    """The page less the library: what this project wrote and what came from the store."""
    start = page.index("<script>/**\n* plotly.js")
    return page[:start] + page[page.index("</script>", start) :]


def renamed(tables: Tables, video_id: str) -> Tables:
    return {name: changed(table, video_id=video_id) for name, table in tables.items()}


@pytest.fixture(scope="module")
def page() -> str:
    return page_of(store_tables(3, 60, ("zero_shot", "exp_clip")), RUN)


def traces(page: str) -> Iterator[dict[str, Any]]:
    for figure in figures_of(page).values():
        yield from figure["data"]


# --- one file that may be sent on ----------------------------------------------------------------


def test_nothing_is_loaded_from_anywhere(page: str) -> None:
    own = without_plotly(page)
    assert not re.search(
        r"""(src|href|action|data)\s*=\s*["']?(?!#)[^"'>\s]""", own.split("<main>")[0]
    )
    assert not re.search(r"<(link|img|iframe|object|embed|video|audio|source|base)\b", own)
    assert not re.search(r"https?:|@import|url\(|fetch\(|XMLHttpRequest", own)
    assert "default-src 'none'" in own


def test_no_picture_is_in_the_page(page: str) -> None:
    own = without_plotly(page)
    assert "<img" not in own
    assert "data:image" not in own
    assert not re.search(r"[A-Za-z0-9+/]{400,}", own)  # nothing encoded


def test_no_uri_and_no_place_is_in_the_page(page: str) -> None:
    assert "/archive/" not in page
    assert "secret-place" not in page
    assert "select video_id, uri from videos" in page


def test_the_labels_are_said_to_be_apparent(page: str) -> None:
    assert STATEMENT in page
    assert "never an inner state" in STATEMENT
    assert "No identity is kept" in STATEMENT


@pytest.mark.parametrize("where", ["video_id", "method", "hash", "reason", "title", "run"])
def test_what_comes_from_outside_is_escaped(where: str) -> None:
    tables = store_tables(1, 20, (EVIL,) if where == "method" else ("a", "b"))
    run, title = dict(RUN), "A title"
    if where == "video_id":
        tables = renamed(tables, EVIL)
    elif where == "hash":
        tables["videos"] = changed(tables["videos"], extract_hash=EVIL)
        tables["faces"] = changed(tables["faces"], anonymizer=EVIL)
        tables["segments"] = changed(tables["segments"], decoder=EVIL)
    elif where == "reason":
        tables["segments"] = changed(tables["segments"], status="quarantined", reason=EVIL)
    elif where == "title":
        title = EVIL
    else:
        run |= {"state": EVIL, "warnings": [EVIL], "hashes": {EVIL: EVIL}, "versions": {EVIL: "1"}}
        run |= {"config_yaml": f"key: {json.dumps(EVIL)}", "counts": {EVIL: 1}}
    own = without_plotly(report_html(connect(tables), title, run, NOW))
    assert "<script>alert" not in own
    assert "<img" not in own
    assert own.count("<script") == 2  # the figures and our own; the library was cut out
    if where in ("video_id", "method"):
        assert "<img" not in json.dumps(figures_of(own))  # plotly reads HTML in texts


def test_the_figures_cannot_end_their_script(page: str) -> None:
    start = page.index('id="figures">') + len('id="figures">')
    assert not set("<>&") & set(page[start : page.index("</script>", start)])


# --- bounded -------------------------------------------------------------------------------------


def test_two_hundred_thousand_rows_stay_small(tmp_path: Path) -> None:
    tables = store_tables(1, 5_000)
    con = duckdb.connect()
    for name, schema in TABLES.items():
        keys = [f for f in schema.names if f in ("video_id", "track_id", "face_id", "segment_id")]
        copies = ", ".join(f"{key} || '-' || copy as {key}" for key in keys)
        con.register("once", tables[name])
        con.execute(
            f"create table {name} as select * replace ({copies}) from once, range(40) r(copy)"
        )
    con.execute(EXPRESSION_SECONDS)
    assert con.execute("select count(*) from scores").fetchall() == [(200_000,)]
    write_report(con, tmp_path / "report.html", "Many", None)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert len(page) < MAX_BYTES
    for trace in traces(page):
        for key in ("x", "y", "base", "width"):
            if isinstance(trace.get(key), list):
                assert len(trace[key]) <= POINTS_A_TRACE
    assert len([name for name in figures_of(page) if name.startswith("timeline")]) <= 24


def test_an_empty_store_says_so() -> None:
    page = page_of({})
    assert "This store is empty" in page
    assert "plotly.js" not in page


def test_videos_without_a_face_say_so() -> None:
    tables = store_tables(1, 20)
    page = page_of({name: tables[name] for name in ("videos", "segments")}, RUN)
    assert "No face was found" in page
    assert "Throughput" in page


def test_settings_that_name_a_place_are_not_shown() -> None:
    text = (
        "source: data/in\nstore: s3://bucket/x\nplan: {include: [anna*], segment_seconds: 60}\n"
        "embed: {backbone: /home/me/model}\ntracking: {uri: null}\n"
        "governance: {notice_reference: 'https://example.org'}\n"
    )
    assert dict(settings(text)) == {
        "source": NOT_SHOWN,
        "store": NOT_SHOWN,
        "plan.include": NOT_SHOWN,
        "plan.segment_seconds": "60",
        "embed.backbone": NOT_SHOWN,
        "tracking.uri": "not set",
        "governance.notice_reference": "https://example.org",
    }


def test_a_failed_report_leaves_the_old_one(tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    out.write_text("old")
    with pytest.raises(duckdb.Error):
        write_report(duckdb.connect(), out, "No views", None)
    assert out.read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


# --- in a browser --------------------------------------------------------------------------------


@pytest.mark.slow
def test_chromium_draws_every_plot_offline_without_a_complaint(page: str, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    file = tmp_path / "report.html"
    file.write_text(page, encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    flags += ["--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--v=0"]
    flags += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000"]
    shown = subprocess.run(
        [browser, *flags, "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    complaints = [line for line in shown.stderr.splitlines() if ":CONSOLE" in line]
    assert complaints == []
    places = len(re.findall(r'class="plot[" ]', page))
    assert f'data-drawn="{places}"' in shown.stdout
    dom = without_plotly(shown.stdout)
    assert dom.count('class="main-svg"') >= places
    assert len(re.findall(r'class="(?:scatterlayer|barlayer|heatmaplayer)[^"]*"><', dom)) >= places
