"""A run in processes of its own, of which everything can be looked at but the decoding child."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import psutil

from infra.ramdisk import RAM_DISK, SPILL
from operators.core.detect import FaceDetector
from schemas.config import Config
from tests.rest import places
from tests.rest.needles import Needles, pictures

ROOT = Path(__file__).parents[2]
CHILD = "infra.fence"
GONE_SECONDS = 20


class Watched:
    """`tests.rest.planted` at work. All that it writes lies below `folder`, or is spilled.

    What Ray spills is gone as soon as it is used, so it is kept, under the names in `spilled`.
    """

    def __init__(self, folder: Path, jobs: Sequence[Config], *options: str) -> None:
        configs = [folder / f"job-{number}.json" for number in range(len(jobs))]
        for path, job in zip(configs, jobs, strict=True):
            path.write_text(job.model_dump_json())
        command = [sys.executable, "-m", "tests.rest.planted", *map(str, configs), *options]
        own = {name: str(folder / name.lower()) for name in ("HOME", "TMPDIR", "RAY_TMPDIR")}
        for path in own.values():
            Path(path).mkdir(exist_ok=True)
        environment = {**os.environ, **own, "PYTHONPATH": str(ROOT)}
        with (folder / "driver.log").open("ab") as log:
            self.driver = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, cwd=folder
            )
        self._folder = folder
        self._known: dict[int, psutil.Process] = {}
        self.spilled = Path(tempfile.mkdtemp(prefix=f"{SPILL}-{os.getpid()}-", dir=RAM_DISK))
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def _keep(self) -> None:
        while self.driver.returncode is None:
            for path in RAM_DISK.glob(f"{SPILL}-{self.driver.pid}-*/*/*"):
                with contextlib.suppress(FileExistsError, FileNotFoundError):
                    os.link(path, self.spilled / path.name)
            time.sleep(0.02)

    @property
    def log(self) -> str:
        return (self._folder / "driver.log").read_text()

    def processes(self, child: bool) -> list[int]:
        """Pids of the run: of its decoding children, or of all others."""
        for process in places.descendants(self.driver.pid):
            self._known.setdefault(process.pid, process)
        alive = [self.driver.pid, *(pid for pid, p in self._known.items() if p.is_running())]
        return [pid for pid in alive if is_child(pid) == child]

    def look(self, needles: Needles) -> set[str]:
        """`seen` of all processes of the run but its children."""
        time.sleep(0.2)  # the run needs the cores too
        return seen(self.processes(child=False), needles)

    def children(self) -> list[psutil.Process]:
        """The decoding children that live."""
        return [self._known[pid] for pid in self.processes(child=True) if pid in self._known]

    def __enter__(self) -> "Watched":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._keeper.join()
        shutil.rmtree(self.spilled)

    def kill(self) -> None:
        """End the driver as the kernel would; Ray ends the rest, and what it leaves we do."""
        self.driver.kill()
        self.driver.wait()
        deadline = time.monotonic() + GONE_SECONDS
        while any(p.is_running() for p in self._known.values()) and time.monotonic() < deadline:
            time.sleep(0.1)
        for process in self._known.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def seen(pids: Iterable[int], needles: Needles) -> set[str]:
    """Kinds of what was planted that some of the processes has, and where."""
    pids = list(pids)
    found = {
        f"{kind} in memory"
        for pid, piece in places.memory(pids)
        for kind in needles.find(piece)
        if not is_child(pid)  # it was another when the look began
    }
    return found | {
        f"{kind} in transit" for piece in places.in_transit(pids) for kind in needles.find(piece)
    }


def is_child(pid: int) -> bool:
    """Whether it is a decoding child of mien."""
    with contextlib.suppress(psutil.Error):
        return CHILD in psutil.Process(pid).cmdline()
    return False


def at_rest(needles: Needles, detector: FaceDetector, *folders: Path) -> set[str]:
    """What is planted, and whatever is a picture of a face, in the files below."""
    found = set()
    for path, data in places.files(*folders):
        found |= {f"{kind} in {path.name}" for kind in needles.find(data)}
        for picture in pictures(data):
            if min(picture.shape[:2]) >= 16 and len(detector([picture], 0.5)[0]):
                found.add(f"a face in {path.name}")
    return found


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """Ray's sockets lie below it, and the names of sockets may not be long."""
    folder = Path(tempfile.mkdtemp(prefix="mr-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
