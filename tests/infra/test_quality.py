from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from infra.quality import audit, merged
from schemas.expectations import EXPECTATIONS
from schemas.tables import LABELS, TABLES
from tests.rows import store_tables

pytestmark = pytest.mark.slow  # Great Expectations takes seconds to import

Part = dict[str, pa.Table]


def failures(part: Part) -> set[tuple[str, str]]:
    results = audit(part)
    assert all(result.success == (result.unexpected_count == 0) for result in results)
    return {(result.table, result.expectation) for result in results if not result.success}


def changed(part: Part, table: str, column: str, value: Any, row: int = 0) -> Part:
    """The part with one value replaced; null and out of type are possible, as in a bug."""
    values = part[table][column].to_pylist()
    values[row] = value(values[row]) if callable(value) else value
    field = part[table].schema.field(column)
    index = part[table].schema.get_field_index(column)
    loose = field.with_nullable(True)
    return {**part, table: part[table].set_column(index, loose, pa.array(values, field.type))}


def without_row(part: Part, table: str) -> Part:
    return {**part, table: part[table].slice(1)}


def twice(part: Part, table: str) -> Part:
    return {**part, table: pa.concat_tables([part[table], part[table].slice(0, 1)])}


@pytest.fixture(scope="module")
def part() -> Part:
    return store_tables(methods=("zero_shot", "other"))


def test_good_rows_pass_every_expectation(part: Part) -> None:
    results = audit(part)
    assert {(r.table, r.expectation) for r in results} == {
        (table, rule.name) for table, rules in EXPECTATIONS.items() for rule in rules
    }
    assert [result for result in results if not result.success] == []


BREAKS: list[tuple[Callable[[Part], Part], tuple[str, str]]] = [
    *(
        (lambda p, v=v: changed(p, "scores", "fear", v), ("scores", expectation))
        for v, expectation in [
            (float("nan"), "no null and no NaN where none may be"),
            (None, "no null and no NaN where none may be"),
            (float("inf"), "no null and no NaN where none may be"),
            (-0.01, "lowest probability"),
            (1.01, "highest probability"),
        ]
    ),
    (
        lambda p: changed(p, "track_scores", "sadness", float("nan")),
        ("track_scores", "no null and no NaN where none may be"),
    ),
    (
        lambda p: changed(p, "scores", "contempt", float("nan")),
        ("scores", "no null and no NaN where none may be"),
    ),
    (
        lambda p: changed(p, "faces", "xyxy_px", [1, 2, float("nan"), 4]),
        ("faces", "no null and no NaN where none may be"),
    ),
    (
        lambda p: changed(p, "scores", "fear", lambda v: v + 0.002),
        ("scores", "probabilities sum to one"),
    ),
    (lambda p: changed(p, "scores", "top_label", "joy"), ("scores", "top_label is known")),
    (
        lambda p: changed(
            p, "scores", "top_label", lambda v: LABELS[(LABELS.index(v) + 1) % len(LABELS)]
        ),
        ("scores", "top_label has the highest probability"),
    ),
    (lambda p: changed(p, "scores", "entropy", 2.2), ("scores", "entropy in range")),
    (lambda p: changed(p, "scores", "confidence", 1.1), ("scores", "confidence between 0 and 1")),
    (
        lambda p: changed(p, "scores", "track_id", "x"),
        ("scores", "its face exists, with that track and time"),
    ),
    (
        lambda p: changed(p, "scores", "face_id", "x"),
        ("scores", "its face exists, with that track and time"),
    ),
    (lambda p: twice(p, "scores"), ("scores", "one row a face and method")),
    (
        lambda p: changed(p, "embeddings", "embedding", lambda v: [float("nan"), *v[1:]]),
        ("embeddings", "no null and no NaN where none may be"),
    ),
    (
        lambda p: changed(p, "embeddings", "embedding", []),
        ("embeddings", "no null and no NaN where none may be"),
    ),
    (
        lambda p: changed(p, "embeddings", "embedding", lambda v: [1.1 * x for x in v]),
        ("embeddings", "of unit length"),
    ),
    (
        lambda p: changed(p, "embeddings", "face_id", "x"),
        ("embeddings", "its face exists, with that track and time"),
    ),
    (lambda p: twice(p, "embeddings"), ("embeddings", "face_id is unique")),
    (lambda p: without_row(p, "videos"), ("embeddings", "video_id is in videos")),
    (lambda p: without_row(p, "embeddings"), ("faces", "has a vector, where vectors are kept")),
    (lambda p: twice(p, "track_scores"), ("track_scores", "one row a track, span and method")),
    (lambda p: twice(p, "faces"), ("faces", "face_id is unique")),
    (lambda p: twice(p, "tracks"), ("tracks", "track_id is unique")),
    (lambda p: twice(p, "segments"), ("segments", "segment_id is unique")),
    (lambda p: twice(p, "videos"), ("videos", "video_id is unique")),
    (
        lambda p: without_row(p, "scores"),
        ("faces", "scored by every method that scored its video"),
    ),
    (lambda p: without_row(p, "faces"), ("segments", "faces_found is the number of its faces")),
    (lambda p: without_row(p, "faces"), ("tracks", "faces is the number of its faces")),
    (lambda p: without_row(p, "tracks"), ("faces", "track_id is in tracks")),
    (lambda p: without_row(p, "tracks"), ("track_scores", "track_id is in tracks")),
    (lambda p: without_row(p, "segments"), ("faces", "segment_id is in segments")),
    (lambda p: without_row(p, "videos"), ("faces", "video_id is in videos")),
    (lambda p: changed(p, "faces", "xyxy_px", [9, 9, 8, 20]), ("faces", "box has an area")),
    (
        lambda p: changed(p, "faces", "xyxy_px", [-2, 0, 9, 9]),
        ("faces", "box begins inside the frame"),
    ),
    (
        lambda p: changed(p, "faces", "xyxy_px", [0, 0, 642, 9]),
        ("faces", "box ends inside the frame, across"),
    ),
    (
        lambda p: changed(p, "faces", "xyxy_px", [0, 0, 9, 362]),
        ("faces", "box ends inside the frame, down"),
    ),
    (lambda p: changed(p, "faces", "pts_seconds", 99.0), ("faces", "seen within its segment")),
    (lambda p: changed(p, "faces", "pts_seconds", 99.0), ("faces", "seen within its track")),
    (
        lambda p: changed(p, "segments", "end_seconds", 0.0),
        ("segments", "starts before it ends"),
    ),
    (
        lambda p: changed(p, "segments", "start_seconds", 0.6, row=1),
        ("segments", "begins where the one before ends"),
    ),
    (
        lambda p: changed(p, "segments", "end_seconds", 9.0, row=1),
        ("segments", "ends with its video"),
    ),
    (
        lambda p: changed(p, "segments", "status", "quarantined"),
        ("segments", "a reason exactly where not ok"),
    ),
    (
        lambda p: changed(p, "videos", "seconds_scored", 9.0),
        ("videos", "no more scored than there is"),
    ),
    (lambda p: changed(p, "videos", "status", "good"), ("videos", "status is known")),
    (lambda p: changed(p, "videos", "reason", "bad luck"), ("videos", "reason is known")),
    (
        lambda p: changed(
            changed(p, "segments", "status", "partial"), "segments", "reason", "corrupt"
        ),
        ("videos", "ok exactly where all its segments are"),
    ),
    (
        lambda p: changed(p, "tracks", "start_seconds", 5.0),
        ("tracks", "starts no later than it ends"),
    ),
]


def what(value: object) -> str:
    """An id without an address: it must be the same in every process."""
    return "broken" if callable(value) else str(value)[:60]


@pytest.mark.parametrize(("break_it", "notices"), BREAKS, ids=what)
def test_what_is_broken_is_noticed(
    part: Part,
    break_it: Callable[[Part], Part],
    notices: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for table, rules in EXPECTATIONS.items():  # the others cost time and hide who noticed
        chosen = tuple(rule for rule in rules if (table, rule.name) == notices)
        monkeypatch.setitem(EXPECTATIONS, table, chosen)
    assert failures(part) == set()
    assert failures(break_it(part)) == {notices}


def test_a_part_of_scores_alone_is_checked_as_far_as_it_goes(part: Part) -> None:
    some = {name: part[name] for name in ("videos", "scores", "track_scores")}
    assert failures(some) == set()
    broken = changed(some, "scores", "anger", float("nan"))
    assert ("scores", "no null and no NaN where none may be") in failures(broken)


def test_a_part_without_faces_passes() -> None:
    part = store_tables(faces_per_video=0)
    assert part["faces"].num_rows == 0
    assert failures(part) == set()


def test_results_hold_no_row_content(part: Part) -> None:
    broken = changed(part, "scores", "top_label", "a person's name")
    assert "name" not in " ".join(str(vars(result)) for result in audit(broken))


def test_nothing_is_printed(part: Part, capfd: pytest.CaptureFixture[str]) -> None:
    audit(part)
    assert capfd.readouterr() == ("", "")


def test_counts_are_of_rows() -> None:
    part = store_tables(videos=1, faces_per_video=20)
    values = part["scores"]["confidence"].to_numpy().copy()
    values[[3, 5, 7]] = 2
    index = TABLES["scores"].get_field_index("confidence")
    part["scores"] = part["scores"].set_column(
        index, TABLES["scores"].field(index), pa.array(np.asarray(values, np.float32))
    )
    [result] = [
        one
        for one in audit(part)
        if one.expectation == "confidence between 0 and 1" and one.table == "scores"
    ]
    assert (result.success, result.observed, result.unexpected_count) == (False, 20, 3)


def test_an_expectation_that_cannot_be_computed_is_a_crash(
    part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    [rule] = [
        rule for rule in EXPECTATIONS["tracks"] if rule.name == "mean_brightness between 0 and 1"
    ]
    monkeypatch.setitem(EXPECTATIONS, "tracks", (replace(rule, sql="t.no_such_column"),))
    with pytest.raises(Exception, match="no_such_column"):
        audit(part)


def test_results_of_many_parts_are_one_an_expectation() -> None:
    good, bad = audit(store_tables()), audit(changed(store_tables(), "scores", "anger", 2.0))
    whole = merged([*good, *bad])
    assert [(r.table, r.expectation) for r in whole] == [(r.table, r.expectation) for r in good]
    for one, first, second in zip(whole, good, bad, strict=True):
        assert one.observed == first.observed + second.observed
        assert one.unexpected_count == first.unexpected_count + second.unexpected_count
        assert one.success == (one.unexpected_count == 0)
    assert not all(one.success for one in whole)
    assert whole == merged([*bad, *good])
