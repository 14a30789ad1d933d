"""What never comes back from a worker: tried a bounded number of times, then named."""

import os
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import ray
from rich.console import Console

from infra.cluster import cluster
from infra.errors import ConfigurationError, Resumable
from infra.listing import list_sources
from infra.served import parent_file
from operators.core.operator import Step
from operators.probe import Probe
from pipelines import score as main_job
from pipelines import steps, work
from pipelines.pools import Pools
from pipelines.steps import isolate, one_block_each
from schemas.config import Config
from schemas.flow import SOURCE_FILES, WRITTEN
from tests.pipelines.jobs import frames, job, tables
from tests.videos import write_video

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One video of two segments."""
    folder = tmp_path_factory.mktemp("archive")
    write_video(folder / "a.mp4", frames(32, 1), fps=8)
    return folder


class Deadly:
    """Asked before a row is worked on, kills the worker; every time leaves a mark."""

    def __init__(self, marks: Path) -> None:
        self._marks = marks

    def __call__(self) -> bool:
        with self._marks.open("a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
        return False


def test_a_row_that_kills_its_worker_does_not_do_so_for_ever(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert steps.BOUNDED["max_task_retries"] >= 0  # -1 is for ever; each takes seconds: two do
    monkeypatch.setitem(steps.BOUNDED, "max_task_retries", 2)
    rows, _ = list_sources(str(archive), (), (), 0)
    rows = rows.append_column(SOURCE_FILES.field("source_id"), pa.array(["s"])).select(
        SOURCE_FILES.names
    )
    marks, pools = tmp_path / "marks", Pools(1, 0.5, 1, 0, 1)
    with cluster(Config()):
        probing = (Step(Probe, (parent_file,)),)
        flow = isolate(one_block_each(rows), probing, SOURCE_FILES, Config(), pools, Deadly(marks))
        came = list(flow.iter_batches(batch_size=None, batch_format="pyarrow"))
    assert sum(map(len, came)) == 0
    assert marks.read_text() == "xxx"  # once, and two retries


def losing(times: int, planned: list[int]) -> Any:
    """The flow of the main job, which loses the first segment of a video so many times."""
    real = work.score_segments

    def flow(segments: pa.Table, *rest: Any) -> ray.data.Dataset:
        planned.append(len(segments))
        if len(planned) > times:
            return real(segments, *rest)
        left = segments.filter(pc.greater(segments["start_seconds"], 0))
        return real(left, *rest) if len(left) else ray.data.from_arrow(WRITTEN.empty_table())

    return flow


@pytest.mark.parametrize(("times", "code", "reason"), [(1, 0, None), (9, 3, "worker_lost")])
def test_a_lost_segment_is_planned_once_more_then_quarantined_by_name(
    times: int,
    code: int,
    reason: str | None,
    archive: Path,
    tiny_backbone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planned: list[int] = []
    monkeypatch.setattr(work, "score_segments", losing(times, planned))
    cfg = job(str(archive), str(tmp_path / "store"), str(tiny_backbone))
    assert main_job.score(cfg, Console(quiet=True)).exit_code == code
    assert planned == [2, 1]
    assert tables(tmp_path / "store")["segments"]["reason"].to_pylist() == [reason, None]
    assert len(tables(tmp_path / "store")["faces"]) == (8 if reason else 16)


def test_a_cluster_that_became_too_small_is_gone_on_with_later(
    archive: Path, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, called = work.score_segments, []

    def shrinking(*arguments: Any) -> ray.data.Dataset:
        called.append(True)
        if len(called) == 2:
            raise ConfigurationError("the cluster has 1 CPU")
        return real(*arguments)

    monkeypatch.setattr(work, "score_segments", shrinking)
    cfg = job(str(archive), str(tmp_path / "store"), str(tiny_backbone), run={"wave_segments": 1})
    with pytest.raises(Resumable, match="too small: the cluster has 1 CPU; 1 of 2 segments"):
        main_job.score(cfg, Console(quiet=True))
