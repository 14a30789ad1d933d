"""Planning: how videos are cut, and what published rows cover."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import Resumable
from infra.store import Store
from pipelines.configuration import load_config
from pipelines.plan import PROBE_CACHE, _keep, _read_cache, plan_video
from pipelines.planned import FULL, SCORES_ONLY, Video, cut, plan_table, plan_videos, planned_table
from pipelines.settings import Settings, resolve_settings
from schemas.flow import CLOCK, SOURCE
from schemas.tables import MEDIA, VIDEOS

JOB = Path(__file__).parents[2] / "job.yaml"


def probed(duration: float = 100.0, reason: str | None = None) -> dict[str, Any]:
    row: dict[str, Any] = {field.name: None for field in (*SOURCE, *VIDEOS, *MEDIA, *CLOCK)}
    row |= {"video_id": "v1", "source_id": "s1", "uri": "/a.mp4", "size_bytes": 9}
    return {**row, "duration_seconds": duration, "reason": reason}


@given(st.floats(0.01, 5000), st.floats(1, 3600))
def test_segments_cover_the_video_once(duration: float, segment_seconds: float) -> None:
    spans = [(s["start_seconds"], s["end_seconds"]) for s in cut(probed(duration), segment_seconds)]
    assert spans[0][0] == 0
    assert spans[-1][1] == duration
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(spans))
    assert all(start < end for start, end in spans)
    assert all(end - start <= segment_seconds + 1.001 for start, end in spans)


def test_segment_ids_are_unique_and_sort_in_time_order() -> None:
    ids = [segment["segment_id"] for segment in cut(probed(5000), 7.5)]
    assert ids == sorted(set(ids))


def test_a_rest_below_a_second_is_read_with_the_segment_before_it() -> None:
    assert len(cut(probed(60.9), 60)) == 1
    assert len(cut(probed(61.1), 60)) == 2


def settings(*overrides: str) -> Settings:
    return resolve_settings(load_config(JOB, list(overrides)))


def published(status: str = "ok", **changes: object) -> dict[str, Any]:
    now = settings()
    row = {"extract_hash": now.extract_hash, "scored_by": now.scored_by, "status": status}
    return {**row, **changes}


def test_a_covered_video_has_nothing_to_do() -> None:
    assert plan_video(probed(), settings(), published(), retry=False) is None


@pytest.mark.parametrize("status", ["partial", "quarantined"])
def test_what_was_quarantined_is_planned_again_on_request_only(status: str) -> None:
    assert plan_video(probed(), settings(), published(status), retry=False) is None
    again = plan_video(probed(), settings(), published(status), retry=True)
    assert again is not None
    assert again.todo == FULL
    assert plan_video(probed(), settings(), published("ok"), retry=True) is None


def test_a_changed_method_needs_its_scores_only() -> None:
    video = plan_video(probed(), settings("score.zero_shot.temperature=2"), published(), False)
    assert video is not None
    assert (video.todo, video.methods) == (SCORES_ONLY, ["zero_shot"])


def test_another_method_leaves_the_published_ones_in_place() -> None:
    row = published(scored_by=["exp_clip:abc"])
    video = plan_video(probed(), settings(), row, False)
    assert video is not None
    assert (video.todo, video.methods) == (SCORES_ONLY, ["zero_shot"])
    assert video.row["scored_by"] == sorted(["exp_clip:abc", *settings().scored_by])


def test_other_faces_are_scored_in_full() -> None:
    video = plan_video(probed(), settings("extract.frames_per_second=2"), published(), False)
    assert video is not None
    assert (video.todo, video.methods) == (FULL, ["zero_shot"])


def test_an_unreadable_video_is_planned_without_segments() -> None:
    video = plan_video(probed(reason="no_video"), settings(), None, False)
    assert video is not None
    assert video.segments == []


def test_a_plan_survives_being_kept() -> None:
    video = plan_video(probed(), settings(), None, False)
    assert video is not None
    kept = plan_videos(plan_table([video]))[0]
    assert isinstance(kept, Video)
    assert (kept.todo, kept.methods) == (video.todo, video.methods)
    assert {k: v for k, v in kept.row.items() if v} == {k: v for k, v in video.row.items() if v}
    keys = ("segment_id", "start_seconds", "end_seconds")
    assert [[s[k] for k in keys] for s in kept.segments] == [
        [s[k] for k in keys] for s in video.segments
    ]
    planned_table(video.segments)


def probe_row(source_id: str, reason: str | None) -> dict[str, Any]:
    row: dict[str, Any] = {item.name: None for item in PROBE_CACHE}
    return row | {
        "source_id": source_id,
        "size_bytes": 1,
        "changed": "1",
        "fingerprint": "",
        "reason": reason,
    }


def test_only_what_a_file_is_is_remembered_of_a_probe(tmp_path: Path) -> None:
    """A file that could not be read once, or whose worker fell, is looked at again."""
    store = Store.open(str(tmp_path / "store"), create=True)
    reasons = [None, "no_video", "truncated", "unreadable", "timeout", "memory", "signal", "error"]
    found = [probe_row(f"s{number}", reason) for number, reason in enumerate(reasons)]
    _keep(store, found)
    assert [row["reason"] for row in _read_cache(store)] == [None, "no_video", "truncated"]
    with pytest.raises(Resumable, match="did not answer for 1 files"):
        _keep(store, [*found, probe_row("s9", "storage")])
    assert len(_read_cache(store)) == 3
