"""A run as a Ray job: what is sent, what is followed, how it ends. The cluster is a stand-in."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest
import yaml
from ray.job_submission import JobDetails, JobErrorType, JobStatus

from infra import submission
from infra.errors import ConfigurationError, Resumable
from infra.job_server import Client
from infra.submission import Submission, exit_code, follow, passed_environment


def job(**changes: Any) -> Submission:
    values = {
        "config_json": "{}",
        "arguments": (),
        "environment": {},
        "working_dir": None,
        "grace_seconds": 90.5,
    }
    return Submission(**{**values, **changes})


def test_variables_go_along_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "MIEN_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    set_here = {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_PROFILE": "of this machine",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "of this machine",
        "MIEN_KEY": "k",
        "MIEN_KEY_FILE": "of this machine",
        "MINE": "m",
        "RAY_AUTH_TOKEN": "t",
    }
    for name, value in set_here.items():
        monkeypatch.setenv(name, value)
    assert passed_environment([]) == {"AWS_ACCESS_KEY_ID": "a", "MIEN_KEY": "k"}
    assert passed_environment(["MINE"]).keys() == {"AWS_ACCESS_KEY_ID", "MIEN_KEY", "MINE"}
    assert passed_environment([""]) == {}
    assert passed_environment(["", "MINE"]) == {"MINE": "m"}
    assert passed_environment(["DO_NOT_TRACK", ""]) == {}  # mien sets it itself, on every node


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("NOT_SET_HERE", None, "NOT_SET_HERE: this variable is not set here"),
        ("GIVEN=secret", None, "takes the name of a variable"),
        ("MIEN_KEY", "secret$HOME", "MIEN_KEY: its value has a \\$"),
    ],
)
def test_a_variable_that_cannot_go_along_is_refused_unseen(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str | None, message: str
) -> None:
    if value:
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=message) as refused:
        passed_environment([name])
    assert "secret" not in str(refused.value)


def test_the_configuration_arrives_as_it_was_sent() -> None:
    """Ray replaces `$NAME` in a variable by what the node has under that name."""
    source = '/archive/$HOME/${PATH}/it\'s "here" \\u0024'
    sent = job(config_json=f'{{"source": {json.dumps(source)}}}')
    arrived = os.path.expandvars(sent.runtime_env["env_vars"]["MIEN_JOB"])
    assert yaml.safe_load(arrived) == {"source": source}


def test_ray_waits_with_the_kill_until_the_grace_time_is_over() -> None:
    assert int(job().runtime_env["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]) > 90.5


def test_the_code_is_the_clusters_or_what_is_uploaded(tmp_path: Path) -> None:
    ours = job(arguments=("--limit", "3"))
    assert "| mien score -c - --limit 3;" in ours.entrypoint
    assert "working_dir" not in ours.runtime_env
    uploaded = job(working_dir=tmp_path)
    assert "python -m pipelines.cli score" in uploaded.entrypoint
    assert uploaded.runtime_env["working_dir"] == str(tmp_path)


class Head:
    """A cluster whose job says `log` and ends after `polls` questions for its state."""

    def __init__(self, log: list[str], polls: int, breaks_at: int | None = None) -> None:
        self.log, self.polls, self.breaks_at = log, polls, breaks_at
        self.stopped = 0
        self.at_poll: dict[int, int] = {}
        self.asked = 0

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        for index, text in enumerate(self.log):
            if index == self.breaks_at:
                self.breaks_at = None
                raise RuntimeError("WebSocket connection closed unexpectedly")
            yield text

    def get_job_info(self, job_id: str) -> Any:
        self.asked += 1
        if number := self.at_poll.get(self.asked):
            os.kill(os.getpid(), number)
        ended = self.asked >= self.polls
        return SimpleNamespace(status=JobStatus.SUCCEEDED if ended else JobStatus.RUNNING)

    def stop_job(self, job_id: str) -> bool:
        self.stopped += 1
        return True

    def get_job_logs(self, job_id: str) -> str:
        return "".join(self.log)


SILENT = cast(Client, Head([], polls=0))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "_POLL_SECONDS", 0.02)
    monkeypatch.setattr(submission, "_PATIENCE_SECONDS", 0.3)


def followed(head: Head) -> tuple[str, list[str], Any]:
    written: list[str] = []
    said: list[str] = []
    details = follow(cast(Client, head), "mien-1", written.append, said.append)
    return "".join(written), said, details


def test_the_log_is_written_once_though_the_connection_breaks() -> None:
    head = Head(["one\n", "two\n", "three\n"], polls=20, breaks_at=2)
    assert followed(head)[0] == "one\ntwo\nthree\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_first_signal_stops_the_job_and_is_followed_to_its_end(number: int) -> None:
    head = Head(["x\n"], polls=20)
    head.at_poll = {3: number}
    _, said, details = followed(head)
    assert (head.stopped, len(said)) == (1, 1)
    assert details.status == JobStatus.SUCCEEDED


def test_a_second_signal_leaves_the_job() -> None:
    head = Head(["x\n"], polls=10_000)
    head.at_poll = {3: signal.SIGINT, 10: signal.SIGINT}
    with pytest.raises(Resumable, match="left job mien-1"):
        followed(head)
    assert head.stopped == 1


def test_a_head_that_is_gone_ends_the_following(monkeypatch: pytest.MonkeyPatch) -> None:
    head = Head([], polls=10_000)

    def gone(job_id: str) -> None:
        raise ConnectionError

    monkeypatch.setattr(head, "get_job_info", gone)
    with pytest.raises(Resumable, match="does not answer any more"):
        followed(head)


def ended(status: JobStatus, **fields: Any) -> JobDetails:
    return JobDetails(type="SUBMISSION", status=status, entrypoint="mien", **fields)


@pytest.mark.parametrize("code", range(8))
def test_the_jobs_exit_code_is_ours(code: int) -> None:
    status = JobStatus.FAILED if code else JobStatus.SUCCEEDED
    assert exit_code(SILENT, ended(status, driver_exit_code=code), {}) == code


@pytest.mark.parametrize(
    ("details", "error", "message"),
    [
        (ended(JobStatus.STOPPED), Resumable, "was stopped"),
        (ended(JobStatus.FAILED, driver_exit_code=137), Resumable, "killed"),
        (ended(JobStatus.FAILED, driver_exit_code=-9), Resumable, "killed"),
        (ended(JobStatus.FAILED, driver_exit_code=127), ConfigurationError, "no `mien` to run"),
        (
            ended(JobStatus.FAILED, error_type=JobErrorType.JOB_SUPERVISOR_ACTOR_DIED),
            Resumable,
            "lost",
        ),
        (
            ended(
                JobStatus.FAILED,
                error_type=JobErrorType.RUNTIME_ENV_SETUP_FAILURE,
                message="no room for hush-hush\nTraceback",
            ),
            ConfigurationError,
            r"no room for \*\*\*$",
        ),
    ],
)
def test_a_job_without_a_code_says_why(
    details: JobDetails, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        exit_code(SILENT, details, {"MIEN_KEY": "hush-hush"})


def test_the_shell_outlives_a_stop_and_says_how_mien_ended(tmp_path: Path) -> None:
    """Ray signals the whole tree of the job; mien finishes what is in flight."""
    mien = tmp_path / "mien"
    mien.write_text("#!/bin/sh\ntrap 'exit 6' TERM\ncat\nwhile :; do sleep 0.1; done\n")
    mien.chmod(0o755)
    sent = job(config_json='{"source": "here"}')
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **sent.runtime_env["env_vars"]}
    shell = subprocess.Popen(
        sent.entrypoint, shell=True, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert shell.stdout
    assert shell.stdout.read(18) == '{"source": "here"}'
    for process in [*psutil.Process(shell.pid).children(), psutil.Process(shell.pid)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    log, _ = shell.communicate(timeout=20)
    assert shell.returncode == 6
    stopped = ended(JobStatus.STOPPED)
    assert exit_code(cast(Client, Head([log], polls=0)), stopped, {}) == 6


def test_a_job_that_had_ended_when_it_was_stopped_keeps_its_code() -> None:
    head = Head(["one\n", "mien exit code 0\n"], polls=0)
    assert exit_code(cast(Client, head), ended(JobStatus.STOPPED), {}) == 0
