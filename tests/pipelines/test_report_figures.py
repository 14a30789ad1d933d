"""The report's plots and tables say what the store says."""

import re

import plotly.graph_objects as go
import pyarrow as pa
import pytest

from pipelines import report_data
from pipelines.figures import LABEL_COLOURS
from pipelines.figures_timeline import CLOCK_ZERO_MS
from schemas.tables import LABELS, OPTIONAL_LABELS
from tests.pipelines.report_pages import RUN, changed, connect, drawn, figures_of, page_of
from tests.rows import store_tables


@pytest.fixture(scope="module")
def page() -> str:
    return page_of(store_tables(3, 60, ("zero_shot", "exp_clip")), RUN)


def test_many_tracks_are_shown_as_few_and_all_together() -> None:
    tables = store_tables(1, 200)
    for name in ("scores", "faces"):
        tracks = [f"track-{number % 20:02d}" for number in range(200)]
        tables[name] = changed(tables[name], track_id=tracks)
    row = tables["tracks"].slice(0, 1)
    tables["tracks"] = pa.concat_tables(
        changed(row, track_id=f"track-{number:02d}", faces=10) for number in range(20)
    )
    titles = [note["text"] for note in drawn(tables)["timeline-0"]["layout"]["annotations"]]
    assert titles[0] == "all 20 tracks together"
    assert len(titles) == 7


def test_every_figure_is_valid_plotly(page: str) -> None:
    for name, figure in figures_of(page).items():
        go.Figure(figure)
        assert figure["layout"]["height"] > 0, name
    places = set(re.findall(r'data-figure="([^"]+)"', page))
    assert places <= set(figures_of(page))


def test_no_time_looks_like_a_year_to_plotly(page: str) -> None:
    timeline = figures_of(page)["timeline-0"]
    times = [timeline["layout"]["xaxis"]["range"][0]]
    for trace in timeline["data"]:
        times += trace["x"] if "x" in trace else [trace["x0"]]
    assert min(times) >= 10_000  # 1,500 ms would be the year 1500


def test_stacked_probabilities_fill_the_row() -> None:
    areas = [t for t in drawn(store_tables(1, 40))["timeline-0"]["data"] if t["type"] == "scatter"]
    for axis in {trace["yaxis"] for trace in areas}:
        rows = [trace["y"] for trace in areas if trace["yaxis"] == axis]
        sums = [sum(values) for values in zip(*rows, strict=True) if None not in values]
        assert len(rows) == len(LABELS)
        assert all(abs(total - 1) < 0.01 for total in sums)


def test_abstained_steps_are_hollow() -> None:
    tables = store_tables(1, 40)
    tables["scores"] = changed(tables["scores"], abstained=True)
    bands = [t for t in drawn(tables)["timeline-0"]["data"] if t["type"] == "bar"]
    colours = {colour for band in bands for colour in band["marker"]["color"]}
    assert colours == {"rgba(0,0,0,0)"}
    shown = drawn(store_tables(1, 40))["timeline-0"]["data"]
    assert {c for t in shown if t["type"] == "bar" for c in t["marker"]["color"]} > colours


def test_a_gap_in_a_track_is_a_gap_in_its_row() -> None:
    tables = store_tables(1, 400)  # 50 s of two people
    times = tables["scores"]["pts_seconds"].to_pylist()
    kept = pa.array([not 10.0 <= time <= 30.0 for time in times])
    tables["scores"] = tables["scores"].filter(kept)
    areas = drawn(tables)["timeline-0"]["data"]
    first = next(trace for trace in areas if trace["type"] == "scatter")
    assert first["y"].count(None) == 81  # 10 s to 30 s in steps of 0.25 s
    assert first["y"][0] is not None


def test_a_cut_is_marked_only_where_a_cut_was_counted() -> None:
    tables = store_tables(1, 40)
    spans = {"start_seconds": [0.0, 2.5], "end_seconds": [2.25, 4.75]}
    tables["tracks"] = changed(tables["tracks"], **spans)
    assert drawn(tables)["timeline-0"]["layout"]["shapes"] == []
    tables["segments"] = changed(tables["segments"], cuts=1)
    (mark,) = drawn(tables)["timeline-0"]["layout"]["shapes"]
    assert mark["x0"] == CLOCK_ZERO_MS + 2500


def test_shares_are_those_of_the_view(page: str) -> None:
    con = connect(store_tables(3, 60, ("zero_shot", "exp_clip")))
    sql = "select label, sum(seconds) from expression_seconds where method = 'exp_clip' group by 1"
    seconds = dict(con.execute(sql).fetchall())
    (bars,) = figures_of(page)["shares"]["data"]
    for label, share in zip(bars["y"], bars["x"], strict=True):
        assert share == pytest.approx(seconds.get(label, 0) / sum(seconds.values()), abs=1e-4)


def test_two_methods_that_agree_have_no_distance() -> None:
    tables = store_tables(1, 40, ("a",))
    twin = changed(tables["scores"], method="b")
    both = pa.concat_tables([tables["scores"], twin])
    (pair,), part = report_data.pairs(connect({**tables, "scores": both}), len(both))
    assert (pair.first, pair.second, pair.faces, part) == ("a", "b", 40, 1.0)
    assert (pair.agreement, pair.mean_distance) == (1.0, 0.0)
    half = pa.array([0.5] * 40, pa.float32())
    for label in LABELS:
        index = twin.schema.get_field_index(label)
        values = half if label in ("anger", "fear") else pa.array([0.0] * 40, pa.float32())
        twin = twin.set_column(index, twin.schema.field(label), values)
    con = connect({**tables, "scores": pa.concat_tables([tables["scores"], twin])})
    (pair,), _ = report_data.pairs(con, 80)
    sql = "select avg(1 - least(anger, .5) - least(fear, .5)) from scores where method = 'a'"
    (expected,) = con.execute(sql).fetchall()
    assert pair.mean_distance == pytest.approx(expected[0], abs=1e-6)


def test_quarantined_spans_are_listed_with_their_reason() -> None:
    tables = store_tables(2, 20)
    videos, broken = tables["videos"], tables["videos"]["video_id"][1].as_py()
    tables["videos"] = changed(videos, status=["ok", "partial"], reason=[None, "truncated"])
    states = ["ok", "ok", "ok", "quarantined"]
    reasons = [None, None, None, "truncated"]
    read = [1.25, 1.25, 1.25, 0.0]
    tables["segments"] = changed(
        tables["segments"], status=states, reason=reasons, seconds_read=read
    )
    (row,) = report_data.incomplete(connect(tables))
    end, start = (tables["segments"][name][3].as_py() for name in ("end_seconds", "start_seconds"))
    assert (row["video_id"], row["reason"], row["segments"]) == (broken, "truncated", 1)
    assert row["seconds_lost"] == pytest.approx(end - start)
    assert "copy it again" in page_of(tables)


def test_every_label_has_one_colour_of_its_own() -> None:
    assert set(LABEL_COLOURS) == {*LABELS, *OPTIONAL_LABELS}
    assert len(set(LABEL_COLOURS.values())) == len(LABEL_COLOURS)
