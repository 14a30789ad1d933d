"""Waves: a plan is gone through once, in slices; what is ready is published beside the next one."""

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.beside import Beside
from pipelines.plan import FULL, Video
from pipelines.waves import WAVE_SECONDS, Pace, Wave, waves
from schemas.tables import CLOCK, MEDIA, SOURCE, VIDEOS


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

    with pytest.raises(ValueError, match="first"), Beside() as beside:  # noqa: PT012
        beside.start(first)
        assert order == []
        go.set()
        beside.start(lambda: order.append(2))
    assert order == [1]
    with Beside() as beside:
        beside.start(lambda: order.append(2))
    assert order == [1, 2]
