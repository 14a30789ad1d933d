"""Waves: a plan is gone through once, in slices; what is ready is published beside the next one."""

import threading
from datetime import UTC, datetime
from typing import Any

import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.runs import RunRecord
from pipelines.beside import beside
from pipelines.planned import FULL, Video
from pipelines.record import counted, with_waves
from pipelines.waves import WAVE_SECONDS, Pace, Wave, wave_sizes, waves
from schemas.flow import CLOCK, SOURCE, WRITTEN
from schemas.tables import MEDIA, VIDEOS
from tests.rows import staged_rows


def video(number: int, segments: int) -> Video:
    row: dict[str, Any] = {field.name: None for field in (*SOURCE, *VIDEOS, *MEDIA, *CLOCK)}
    row |= {"video_id": f"v{number:03d}", "uri": "/a.mp4", "size_bytes": 9, "changed": ""}
    row |= {"duration_seconds": 10.0 * segments, "reason": None if segments else "no_video"}
    return Video(row, FULL, ["zero_shot"], 10.0)


def cut(lengths: list[int], size: int, staged: set[str]) -> tuple[list[Video], list[Wave]]:
    videos = [video(number, segments) for number, segments in enumerate(lengths)]
    planned = sum(item.count for item in videos)
    return videos, list(waves(videos, staged, planned, lambda: size, first=3))


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 20), st.sets(st.integers(0, 60)))
def test_every_segment_and_video_is_in_one_wave(
    lengths: list[int], size: int, done: set[int]
) -> None:
    videos = [video(number, segments) for number, segments in enumerate(lengths)]
    names = [s["segment_id"] for item in videos for s in item.segments]
    staged = {name for number, name in enumerate(names) if number in done}
    videos, cutting = cut(lengths, size, staged)
    assert [v.video_id for wave in cutting for v in wave.videos] == [v.video_id for v in videos]
    seen = [s["segment_id"] for wave in cutting for s in (*wave.staged, *wave.todo)]
    assert sorted(seen) == names
    assert {s["segment_id"] for wave in cutting for s in wave.staged} == staged
    assert [wave.number for wave in cutting] == list(range(3, 3 + len(cutting)))
    assert all(size <= len(wave.todo) for wave in cutting[:-1])
    assert all(len(wave.todo) < 1.5 * size + 1 for wave in cutting)
    so_far: set[str] = set()
    for wave in cutting:  # a video comes with its last segment, not before and not later
        so_far |= {s["segment_id"] for s in (*wave.staged, *wave.todo)}
        assert all(so_far.issuperset(s["segment_id"] for s in v.segments) for v in wave.videos)


@given(st.integers(1, 3000), st.floats(0.05, 50), st.floats(0, 60), st.integers(1, 8))
def test_the_waves_of_a_run_are_foreseen(
    segments: int, each: float, start: float, cpus: int
) -> None:
    pace, made = Pace("auto", cpus), []
    for wave in waves([video(0, segments)], set(), segments, pace):
        made.append(len(wave.todo))
        pace.took(made[-1], start + made[-1] * each)
    assert wave_sizes(segments, each, start, "auto", cpus) == made


def test_a_video_longer_than_a_wave_is_ready_with_its_last_one() -> None:
    _, cutting = cut([10], 4, set())
    assert [len(wave.todo) for wave in cutting] == [4, 6]
    assert [len(wave.videos) for wave in cutting] == [0, 1]


def test_the_speed_so_far_makes_the_next_wave_a_quarter_of_an_hour() -> None:
    pace = Pace("auto", 4)
    assert pace() == 256
    pace.took(256, 512.0)
    assert pace() == WAVE_SECONDS / 2
    pace.took(0, 1.0)
    assert pace() == WAVE_SECONDS / 2
    fixed = Pace(7, 4)
    fixed.took(7, 1.0)
    assert fixed() == 7


def test_work_beside_is_done_one_after_the_other_and_says_what_went_wrong() -> None:
    go, order = threading.Event(), []

    def first() -> None:
        go.wait(10)
        order.append(1)
        raise ValueError("first")

    def both() -> None:
        with beside() as pieces:
            pieces.start(first)
            assert order == []
            assert not pieces.failed
            go.set()
            pieces.start(lambda: order.append(2))

    with pytest.raises(ValueError, match="first"):
        both()
    assert order == [1]
    with beside() as pieces:
        pieces.start(lambda: order.append(2))
    assert order == [1, 2]


def test_counts_of_a_run_are_those_of_its_waves() -> None:
    of_run = {"videos_covered": 4, "skipped: hidden": 1, "faces": 99}
    record = RunRecord(run_id="r", started=datetime(2026, 1, 1, tzinfo=UTC), counts=of_run)
    rows = staged_rows().select(WRITTEN.names)
    videos = sorted(set(rows["video_id"].to_pylist()))
    parts = [rows.filter(pc.field("video_id") == name) for name in videos]
    done = [counted(n, [video(n, 2)], 7.0, part, 1.0) for n, part in enumerate(parts)]
    done.append(counted(9, [video(9, 0)], 7.0, rows.slice(0, 0), 1.0))
    whole = with_waves(record, done)
    assert whole.counts["faces"] == sum(rows["faces_found"].to_pylist())
    assert whole.counts["videos"] == len(parts) + 1
    assert (whole.counts["videos_covered"], whole.counts["skipped: hidden"]) == (4, 1)
    assert whole.quarantined_seconds == 7
    assert whole.stages["embed"].rows == whole.counts["faces"]
    assert with_waves(whole, done[:1]) == with_waves(record, done[:1])
