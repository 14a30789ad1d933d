"""A real MLflow server on loopback: sqlite behind it, artifacts through it."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import requests

from infra.offline import SWITCHES
from tests.head import free_ports

_START_SECONDS = 90


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Its address, for the length of the block."""
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [
        *(str(Path(sys.executable).with_name("mlflow")), "server", "--host", "127.0.0.1"),
        *("--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db"),
        *("--artifacts-destination", str(folder / "artifacts")),
    ]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, env={**os.environ, **SWITCHES}
        )
    try:
        _wait(url, server, folder / "server.log")
        yield url
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in [*psutil.Process(server.pid).children(recursive=True), server]:
                process.kill()
        server.wait()


def _wait(url: str, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(f"{url}/health", timeout=5).ok:
                return
        time.sleep(0.1)
    raise RuntimeError(f"no MLflow server: {log.read_text(errors='replace')[-2000:]}")
