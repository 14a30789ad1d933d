"""No phone home: in a network that is only loopback, nothing tried to leave it.

`tests.loopback` listens to every packet. A packet that leaves is a failure whoever it is from.
"""

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.pipelines.jobs import frames, job
from tests.rest.watched import ROOT, short_folder
from tests.videos import write_video

#: What the run's environment keeps of ours: no switch, and no sign of a test or of a CI, which
#: some libraries take for a switch.
KEPT = ("PATH", "LANG", "PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE")
APART = ["unshare", "--user", "--map-root-user", "--net"]


@cache
def why_not() -> str:
    """Why no network of its own can be made here, or an empty string."""
    if not all(map(shutil.which, ("unshare", "ip"))):
        return "needs the tools unshare and ip"
    probe = "ip link set lo up && echo 0 > /proc/sys/user/max_net_namespaces"
    done = subprocess.run([*APART, "sh", "-c", probe], capture_output=True, text=True)
    return f"no network namespace here: {done.stderr.strip()}" if done.returncode else ""


pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(autouse=True)
def _allowed() -> None:
    if why_not():
        pytest.skip(why_not())


def heard(folder: Path, *commands: list[str], **environment: str) -> tuple[list[str], list[int]]:
    """Whom the commands tried to reach, and their exit codes; they run one after the other."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    own = {name: str(folder) for name in ("HOME", "TMPDIR", "RAY_TMPDIR")}
    report = folder / "heard.json"
    listen = [sys.executable, "-m", "tests.loopback", str(report), json.dumps(commands)]
    done = subprocess.run(
        [*APART, *listen],
        env={**kept, **own, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(report.read_text())
    assert len(found["codes"]) == len(commands)
    return found["heard"], found["codes"]


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def mien(*lines: list[str]) -> list[str]:
    """One process for these lines of the command line, one after the other."""
    said = "from pipelines.cli import *\ndisable_telemetry()\n"
    return python(
        said + "\n".join(f"assert not app({line!r}, standalone_mode=False)" for line in lines)
    )


@pytest.mark.ray
def test_nothing_of_a_run_a_query_and_a_report_tries_to_leave() -> None:
    with short_folder() as folder:
        archive, store = folder / "archive", str(folder / "store")
        archive.mkdir()
        write_video(archive / "one.mp4", frames(8, 2), 8)
        cfg = job(str(archive), store, "mien-lite", tracking={"enabled": True})
        (folder / "job.json").write_text(cfg.model_dump_json())
        found, codes = heard(
            folder,
            mien(["score", "-c", str(folder / "job.json")]),
            mien(
                ["query", store, "select count(*) from faces"],
                ["report", store, "--out", str(folder / "report.html")],
            ),
        )
        assert codes == [0, 0]
        assert list(folder.glob("store/mlflow.db"))
        assert (folder / "report.html").stat().st_size > 1000
    assert found == []


SWITCHED = """
import threading
import infra.offline
for name in {off}: del infra.offline.SWITCHES[name]
infra.offline.disable_telemetry()
from mlflow.telemetry import get_telemetry_client
if client := get_telemetry_client():
    before = set(threading.enumerate())
    client.activate()
    for thread in set(threading.enumerate()) - before: thread.join(5)
"""


def test_a_library_whose_switch_is_missing_is_heard(tmp_path: Path) -> None:
    names = ["MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"]
    assert heard(tmp_path, python(SWITCHED.format(off=[]))) == ([], [0])
    found, _ = heard(tmp_path, python(SWITCHED.format(off=names)))
    assert "name config.mlflow-telemetry.io" in found


NATIVE = """
import ctypes
libc = ctypes.CDLL(None)
four = "02000050" + "c0000201" + "00" * 8
six = "0a000050" + "00000000" + "20010db8" + "00" * 11 + "01" + "00000000"
for family, to in ((2, bytes.fromhex(four)), (10, bytes.fromhex(six))):
    libc.connect(libc.socket(family, 1, 0), to, len(to))
"""


def test_native_code_is_heard_and_loopback_is_not(tmp_path: Path) -> None:
    local = "import socket as s; a = s.create_server(('127.0.0.1', 0)); "
    local += "s.create_connection(a.getsockname())"
    found, codes = heard(tmp_path, python(local), python(NATIVE))
    assert codes == [0, 0]
    assert found == ["192.0.2.1 port 80", "2001:db8::1 port 80"]


def test_the_child_is_listened_to_as_well(tmp_path: Path) -> None:
    """It leaves its network where it can; here it cannot, else nobody would hear it."""
    child = "import os; from infra.fence import fence; fence(os.getppid());" + NATIVE
    found, _ = heard(tmp_path, python(child))
    assert found
