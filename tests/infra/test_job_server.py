"""Who is asked with which token, and what is said where that fails."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import ray

from infra.errors import ConfigurationError, Resumable
from infra.job_server import connect

pytestmark = pytest.mark.slow  # seconds each, or many of them

VERSION = f'{{"ray_version": "{ray.__version__}", "version": "4"}}'


@contextmanager
def dashboard(status: int, body: str) -> Iterator[tuple[str, list[str | None]]]:
    """A server that gives one answer to all, its address, and the credentials it was shown."""
    shown: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown.append(self.headers.get("Authorization"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", shown
        server.shutdown()


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_a_token_is_sent_from_where_ray_keeps_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with dashboard(200, VERSION) as (url, shown):

        def sent() -> str | None:
            connect(url)
            return shown[-1]

        assert sent() is None
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text("of home\n")
        assert sent() == "Bearer of home"
        (tmp_path / "other").write_text("of a file\n")
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "other"))
        assert sent() == "Bearer of a file"
        monkeypatch.setenv("RAY_AUTH_TOKEN", "of the environment")
        assert sent() == "Bearer of the environment"
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        assert sent() is None


@pytest.mark.parametrize(
    ("status", "token", "message"),
    [
        (401, None, "asks for a token and none was found: set RAY_AUTH_TOKEN"),
        (403, "hush", "refused the token from RAY_AUTH_TOKEN"),
    ],
)
def test_a_refused_token_is_one_line_with_the_fix(
    monkeypatch: pytest.MonkeyPatch, status: int, token: str | None, message: str
) -> None:
    if token:
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    with (
        dashboard(status, "Forbidden") as (url, _),
        pytest.raises(ConfigurationError, match=message) as refused,
    ):
        connect(url)
    assert "\n" not in str(refused.value)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(("status", "body"), [(200, "<html>"), (200, "{}"), (404, "")])
def test_what_is_no_ray_is_said(status: int, body: str) -> None:
    with (
        dashboard(status, body) as (url, _),
        pytest.raises(ConfigurationError, match="no Ray dashboard"),
    ):
        connect(url)


@pytest.mark.parametrize("address", ["head:8265", "auto", "ray://head:10001", "http://"])
def test_an_address_that_is_none_is_said(address: str) -> None:
    with pytest.raises(ConfigurationError, match="write http://HEAD:8265"):
        connect(address)


def test_an_address_that_is_given_wins_over_rays_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    with dashboard(200, VERSION) as (url, shown):
        connect(url)
        assert shown


@pytest.mark.parametrize("listening", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_head_out_of_reach_is_said_within_ten_seconds(listening: bool) -> None:
    """Nobody there, or somebody who never answers."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if listening:
            silent.listen()
        begin = time.monotonic()
        with pytest.raises(Resumable, match="no answer from"):
            connect(f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert time.monotonic() - begin < 10


def test_a_token_file_that_is_missing_or_empty_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match="RAY_AUTH_TOKEN_PATH: no such file"):
        connect("http://127.0.0.1:1")
    Path(os.environ["RAY_AUTH_TOKEN_PATH"]).write_text("\n")
    with pytest.raises(ConfigurationError, match="holds no token"):
        connect("http://127.0.0.1:1")
