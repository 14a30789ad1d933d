"""No raw face at rest: what is planted in a video is seen nowhere but in the decoding child."""

import base64
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from infra.ramdisk import RAM_DISK, SPILL
from operators.core.detect import FaceDetector
from pipelines.score import score
from schemas.config import Config
from tests.pipelines.jobs import job, tables
from tests.rest import places
from tests.rest.needles import RUN, Needles
from tests.rest.planted import CROP_PX, FPS, SECONDS, planted, raw_crops, write_planted
from tests.rest.watched import Watched, at_rest, is_child, seen, short_folder

#: A look at all memory takes seconds, in which the run stands nearly still.
LOOKS = 3
SHORT_LOOKS = 2

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        os.geteuid() != 0 or not Path("/proc/self/pagemap").exists(),
        reason="only root on Linux may look into the memory of a child that allows nobody to",
    ),
]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_planted(tmp_path_factory.mktemp("archive") / "planted.mp4")


@pytest.fixture(scope="module")
def needles(video: Path) -> Needles:
    return Needles(planted(video, config(video, Path("unused"), "none")))


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector("cpu", 320)


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as path:
        yield path


def config(video: Path, store: Path, anonymizer: str, **changes: Any) -> Config:
    sections = {
        "cluster": {"object_store_mib": 100},
        "extract": {"crop_px": CROP_PX, "detector_px": 480},
        "privacy": {"anonymizer": anonymizer},
        "run": {"wave_segments": 100},
    }
    return job(str(video.parent), str(store), "mien-lite", **{**sections, **changes})


def _look_until(done: threading.Event, needles: Needles, store: Path) -> tuple[set[str], int]:
    """What `seen` finds in the processes that this one started, in how many looks.

    From the first staged segment on: before, there may have been no crop yet to be found.
    """
    found: set[str] = set()
    looks = 0
    while looks < SHORT_LOOKS and not done.wait(0.2):
        pids = [process.pid for process in places.descendants(os.getpid())]
        if any(map(is_child, pids)) and list(store.glob("staging/*/*.parquet")):
            found |= seen([pid for pid in pids if not is_child(pid)], needles)
            looks += 1
    return found, looks


@pytest.mark.ray
def test_a_run_leaves_nothing(
    ray_cluster: Path, video: Path, needles: Needles, detector: FaceDetector, tmp_path: Path
) -> None:
    """On the suite's cluster. This process knows what is planted: it alone is not looked at."""
    job = config(video, tmp_path / "store", "pixelate", tracking={"enabled": True})
    done = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(_look_until, done, needles, tmp_path / "store")
        try:
            outcome = score(job, Console(stderr=True))
        finally:
            done.set()
        found, looks = looking.result()
    assert outcome.exit_code == 0
    assert looks
    assert not found | at_rest(needles, detector, tmp_path / "store", ray_cluster)
    assert len(tables(tmp_path / "store")["faces"]) == 2 * SECONDS * FPS
    assert list(tmp_path.glob("store/mlflow.db"))


@pytest.mark.ray
@pytest.mark.long
def test_a_run_that_crashes_and_is_killed_leaves_nothing(
    video: Path, needles: Needles, detector: FaceDetector, folder: Path
) -> None:
    """With raw crops scored in the child, which faults once; then the driver is killed."""
    found: set[str] = set()
    crashed: list[psutil.Process] = []
    with Watched(folder, [config(video, folder / "store", "none")]) as run:
        while not (crashed and list(folder.glob("store/staging/*/*.parquet"))):
            assert run.driver.poll() is None, run.log
            if children := run.children():
                found |= run.look(needles)
                if not crashed:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        children[0].send_signal(signal.SIGSEGV)
                        crashed = children
        run.kill()
        left = list(RAM_DISK.glob(f"{SPILL}-{run.driver.pid}-*"))
        found |= at_rest(needles, detector, folder, run.spilled, *left)
    assert left  # the next run deletes it
    assert not found
    assert not list(folder.rglob("core*"))


@pytest.mark.ray
@pytest.mark.long
def test_a_run_that_spills_and_loses_a_worker_leaves_nothing(
    video: Path, needles: Needles, detector: FaceDetector, folder: Path
) -> None:
    """Safe crops so large that Ray spills them; published, and recorded by MLflow."""
    job = config(video, folder / "store", "pixelate", tracking={"enabled": True})
    found: set[str] = set()
    looks, lost = 0, None
    with Watched(folder, [job]) as run:
        while run.driver.poll() is None:
            children = run.children()
            if children and list(folder.glob("store/staging/*/*.parquet")):
                lost = lost or kill_actor_of(children[0])
                if looks < LOOKS:
                    found |= run.look(needles)
                    looks += 1
            time.sleep(0.1)
        found |= at_rest(needles, detector, folder, run.spilled)
        spilled = list(run.spilled.iterdir())
    assert run.driver.returncode == 0, run.log
    assert not found
    assert looks
    assert lost
    assert spilled
    assert len(tables(folder / "store")["faces"]) == 2 * SECONDS * FPS
    assert list(folder.glob("store/mlflow.db"))


def kill_actor_of(child: psutil.Process) -> psutil.Process | None:
    """The actor that a child belongs to, killed; None where it was gone before."""
    with contextlib.suppress(psutil.NoSuchProcess):
        if actor := child.parent():
            actor.kill()
            return actor
    return None


@pytest.mark.ray
@pytest.mark.long
def test_with_the_discipline_broken_it_is_found(
    video: Path, needles: Needles, detector: FaceDetector, folder: Path
) -> None:
    """The first run again with one function replaced: raw crops may leave the child."""
    seen: set[str] = set()
    resting: set[str] = set()
    with Watched(folder, [config(video, folder / "store", "none")], "--broken") as run:
        while not (seen and resting) and run.driver.poll() is None:
            if run.children():
                seen |= run.look(needles)
            resting |= at_rest(needles, detector, run.spilled)
    assert "crop in memory" in seen, run.log
    assert any(what.startswith("crop in") for what in resting)


def test_pictures_and_pixels_are_found_in_any_file(
    video: Path, needles: Needles, detector: FaceDetector, tmp_path: Path
) -> None:
    crop = raw_crops(video, config(video, tmp_path, "none"))[0]
    jpeg = cv2.imencode(".jpg", crop)[1].tobytes()
    (tmp_path / "log").write_bytes(b"text" * 999 + jpeg + b"text")
    (tmp_path / "page.html").write_bytes(
        b'<img src="data:image/jpeg;base64,' + base64.b64encode(jpeg) + b'">'
    )
    pq.write_table(pa.table({"crops": [crop.tobytes()]}), tmp_path / "rows.parquet")
    (tmp_path / "part").write_bytes(b"x" * 1001 + crop.tobytes()[400_000 : 400_000 + RUN])
    (tmp_path / "safe").write_bytes(b"\x7f" * 10**6)
    assert at_rest(needles, detector, tmp_path) == {
        "a face in log",
        "a face in page.html",
        "crop in rows.parquet",
        "crop in part",
    }


def test_what_waits_in_a_pipe_or_a_socket_is_seen_and_stays(video: Path, needles: Needles) -> None:
    crop = raw_crops(video, config(video, Path("unused"), "none"))[0].tobytes()[:4096]
    out, into = os.pipe()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(crop)
        os.write(into, crop)
        program = "import sys; sys.stdin.readline()"
        holder = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, pass_fds=[out, theirs.fileno()]
        )
        waiting = [needles.find(piece) for piece in places.in_transit([holder.pid])]
        holder.communicate(b"\n")
        assert waiting.count({"crop"}) == 2
        assert theirs.recv(4096) == os.read(out, 4096) == crop
    os.close(out)
    os.close(into)
