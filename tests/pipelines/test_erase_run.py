"""What was erased stays away on a real cluster: copied, renamed, touched, under another config."""

import os
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from infra import audit_log
from infra.store import Store
from pipelines.erase import Ask, Erased, erase
from pipelines.score import score
from pipelines.selection import Selector, choose
from tests.pipelines.jobs import frames, job, tables
from tests.videos import write_video

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
CUT_SECONDS = 1.5


def gone(store: Path, selector: Selector) -> Erased:
    ask = Ask("erase", selector.facts(Store.open(str(store), create=False).identity), 0)
    return erase(
        str(store), ask, lambda s, state: choose(s, state, selector), lambda seen: True, print
    )


def test_an_erased_video_and_span_do_not_come_back(tiny_backbone: Path, tmp_path: Path) -> None:
    archive, store = tmp_path / "archive", tmp_path / "store"
    archive.mkdir()
    write_video(archive / "erased.mp4", frames(24, 1), fps=8)
    write_video(archive / "in_part.mp4", frames(24, 3), fps=8)
    quiet = Console(quiet=True)
    outcome = score(job(str(archive), str(store), str(tiny_backbone)), quiet)
    assert outcome.exit_code == 0
    places = {Path(row["uri"]).name: row for row in tables(store)["videos"].to_pylist()}
    assert set(places) == {"erased.mp4", "in_part.mp4"}
    part = places["in_part.mp4"]["video_id"]

    assert gone(store, Selector(sources=[str(archive / "erased.mp4")])).videos == 1
    assert gone(store, Selector(videos=[part], from_seconds=CUT_SECONDS)).parts == 1
    left = tables(store)
    assert left["videos"]["video_id"].to_pylist() == [part]
    assert max(left["faces"]["pts_seconds"].to_pylist()) < CUT_SECONDS

    shutil.copy(archive / "erased.mp4", archive / "another name.mp4")
    shutil.copy(archive / "in_part.mp4", archive / "part under another name.mp4")
    for path in archive.iterdir():
        os.utime(path)
    changed = {"extract": {"frames_per_second": 8}}
    again = score(job(str(archive), str(store), str(tiny_backbone), **changed), quiet)
    assert again.exit_code == 0
    assert again.record.counts["skipped: erased"] == 2
    now = tables(store)
    names = {Path(row["uri"]).name for row in now["videos"].to_pylist()}
    assert names == {"in_part.mp4", "part under another name.mp4"}
    assert set(now["faces"]["video_id"].to_pylist()) == set(now["videos"]["video_id"].to_pylist())
    assert len(now["faces"]) > len(left["faces"])  # twice the rate, and a copy
    for table, column in (("faces", "pts_seconds"), ("scores", "pts_seconds")):
        assert max(now[table][column].to_pylist()) < CUT_SECONDS
    for table in ("tracks", "track_scores"):
        assert max(now[table]["end_seconds"].to_pylist()) < CUT_SECONDS
    assert audit_log.verify(Store.open(str(store), create=False)) == []
