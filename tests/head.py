"""A Ray cluster of one node, as an operator starts it: with a dashboard and a token."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

ROOT = Path(__file__).parents[1]
_START_SECONDS = 90


@dataclass
class Head:
    """A running head node: its dashboard's address, the token that it asks for, Ray's folder."""

    address: str
    token: str
    folder: Path


@contextlib.contextmanager
def ray_head(cpus: int) -> Iterator[Head]:
    """`ray start --head` for the length of the block. Its code is this repository's."""
    folder = Path(tempfile.mkdtemp(prefix="mr-"))  # short: sockets lie below it
    gcs, dashboard, client, agent, metrics = free_ports(5)
    head = Head(f"http://127.0.0.1:{dashboard}", secrets.token_hex(16), folder)
    bin_folder = Path(sys.executable).parent
    command = [
        *(str(bin_folder / "ray"), "start", "--head", "--block", "--disable-usage-stats"),
        *(f"--port={gcs}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"),
        *(f"--dashboard-agent-listen-port={agent}", f"--metrics-export-port={metrics}"),
        *("--dashboard-host=127.0.0.1", f"--num-cpus={cpus}", "--object-store-memory=134217728"),
        *(f"--temp-dir={folder}", f"--object-spilling-directory={folder}/spill"),
    ]
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MIEN_", "RAY_"))},
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": head.token,
    }
    with (folder / "start.log").open("wb") as log:
        started = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
    try:
        _wait(head, started)
        yield head
    finally:
        for process in [psutil.Process(started.pid), *_processes(folder)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        started.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(head: Head, started: subprocess.Popen) -> None:
    deadline = time.monotonic() + _START_SECONDS
    headers = {"Authorization": f"Bearer {head.token}"}
    while True:
        assert started.poll() is None, (head.folder / "start.log").read_text()
        assert time.monotonic() < deadline, (head.folder / "start.log").read_text()
        with contextlib.suppress(requests.RequestException):
            if requests.get(f"{head.address}/api/jobs/", headers=headers, timeout=5).ok:
                return
        time.sleep(0.3)


def _processes(folder: Path) -> list[psutil.Process]:
    """What was started with this folder as Ray's: the descendants of those that name it too."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if str(folder) in " ".join(process.cmdline()):
                found += [process, *process.children(recursive=True)]
    return found


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, of the system's own range, which lies above Ray's workers'."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for item in sockets:
            item.bind(("127.0.0.1", 0))
        return [item.getsockname()[1] for item in sockets]
