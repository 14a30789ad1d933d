"""A run as a Ray job: hand it to a cluster, follow it, and bring its exit code back.

Ray keeps a job's environment in its tables and writes it into `runtime_env_agent.log` on the nodes:
whatever is passed by `environment` can be read by who administers the cluster.
"""

import asyncio
import contextlib
import math
import os
import re
import secrets
import shlex
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from ray.exceptions import RayError
from ray.job_submission import JobDetails, JobErrorType, JobStatus

from infra.errors import ConfigurationError, Resumable
from infra.job_server import Client
from infra.offline import SWITCHES

#: The job's configuration in the job's environment.
CONFIG_VARIABLE = "MIEN_JOB"
#: Passed along where set; a prefix ends in an underscore.
PASSED = ("AWS_", "MIEN_KEY", "MLFLOW_TRACKING_URI")
#: Of these, what names something that lies on the caller's machine alone.
_LOCAL = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_CA_BUNDLE", "AWS_CONTAINER_")
#: The last line of a job, before its code.
_SAID = "mien exit code "
#: Ray kills a job that was told to stop after 3 s, unless this says otherwise.
_STOP_WAIT_VARIABLE = "RAY_JOB_STOP_WAIT_TIME_S"

_POLL_SECONDS = 1.0
#: How long a head that does not answer any more is asked again.
_PATIENCE_SECONDS = 60.0
#: How long the log may go on after its job: Ray sends it with a delay of seconds.
_LAST_WORDS_SECONDS = 15.0
#: What a job may take beyond its grace time to write down that it was stopped.
_STOP_MARGIN_SECONDS = 60
_GONE = (OSError, RuntimeError, RayError, aiohttp.ClientError)


@dataclass(frozen=True)
class Submission:
    """What is handed to the cluster. `config_json` is the whole configuration, as JSON, which is
    YAML too; `arguments` are the other ones of `mien score`; `environment` goes along as it is."""

    config_json: str
    arguments: tuple[str, ...]
    environment: dict[str, str]
    working_dir: Path | None
    grace_seconds: float

    @property
    def entrypoint(self) -> str:
        """The shell command that Ray runs on the head node.

        Ray keeps no exit code of a job that it was told to stop, and it tells the shell too: so the
        shell outlives the signal and says the code.
        """
        mien = "python -m pipelines.cli" if self.working_dir else "mien"
        score = shlex.join([*mien.split(), "score", "-c", "-", *self.arguments])
        return (
            f'trap : TERM; printf %s "${CONFIG_VARIABLE}" | {score}; '
            f'code=$?; echo "{_SAID}$code"; exit $code'
        )

    @property
    def runtime_env(self) -> dict[str, Any]:
        """Ray's description of where the job runs."""
        stop_wait = math.ceil(self.grace_seconds) + _STOP_MARGIN_SECONDS
        variables = {
            **self.environment,
            # Ray replaces $NAME in what it is given by what the node has under that name
            CONFIG_VARIABLE: self.config_json.replace("$", r"\u0024"),
            _STOP_WAIT_VARIABLE: str(stop_wait),
        }
        place = {"working_dir": str(self.working_dir)} if self.working_dir else {}
        return {"env_vars": variables, **place}


def passed_environment(names: Iterable[str]) -> dict[str, str]:
    """What of this process's environment goes along: `PASSED`, and `names` besides.

    An empty name leaves `PASSED` out. Raises `ConfigurationError` for a name that is not set, and
    for a value that Ray would change.
    """
    names = list(names)
    wanted = [name for name in names if name]
    for name in wanted:
        if "=" in name:
            raise ConfigurationError("--env takes the name of a variable; its value stays unseen")
        if name not in os.environ:
            raise ConfigurationError(f"--env {name}: this variable is not set here")
    if len(wanted) == len(names):
        wanted += [name for name in os.environ if _goes_along(name)]
    # mien sets its own switches on every node, and Ray refuses a variable that is given twice
    chosen = {name: os.environ[name] for name in wanted if name not in SWITCHES}
    for name, value in chosen.items():
        if "$" in value:
            raise ConfigurationError(
                f"{name}: its value has a $, which Ray would replace: set it on the nodes, and "
                "leave it out here with --env ''"
            )
    return chosen


def _goes_along(name: str) -> bool:
    known = any(name == item or (item[-1] == "_" and name.startswith(item)) for item in PASSED)
    return known and not name.startswith(_LOCAL) and not name.endswith("_FILE")


def submit(client: Client, submission: Submission) -> str:
    """Hand the job over; its submission id. Uploads the working folder where there is one.

    Raises `ConfigurationError` where Ray refuses it, and `Resumable` where the head is gone.
    """
    submission_id = f"mien-{secrets.token_hex(8)}"
    try:
        return client.submit_job(
            entrypoint=submission.entrypoint,
            submission_id=submission_id,
            runtime_env=submission.runtime_env,
        )
    except OSError:
        raise Resumable(
            f"the cluster did not answer; the job may have begun: `ray job status {submission_id}`"
        ) from None
    except (RuntimeError, ValueError, RayError) as error:
        reason = _unseen(str(error), submission.environment)
        raise ConfigurationError(f"the cluster did not take the job: {reason}") from None


def _unseen(text: str, environment: dict[str, str]) -> str:
    """The first line of Ray's words, without any value that was passed."""
    for value in filter(None, environment.values()):
        text = text.replace(value, "***")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:300] if lines else "no reason given"


def follow(
    client: Client,
    submission_id: str,
    write: Callable[[str], None],
    say: Callable[[str], None],
) -> JobDetails:
    """Hand the job's log to `write` as it comes, until the job has ended.

    The first SIGINT or SIGTERM asks the job to stop and goes on; a second one leaves it.

    Raises:
        Resumable: The second signal came, or the head has not answered for a minute.
    """
    return asyncio.run(_Following(client, submission_id, write, say).run())


class _Following:
    def __init__(
        self,
        client: Client,
        submission_id: str,
        write: Callable[[str], None],
        say: Callable[[str], None],
    ) -> None:
        self._client, self._id = client, submission_id
        self._write, self._say = write, say
        self._signals = 0
        self._woken = asyncio.Event()
        self._ended = False

    async def run(self) -> JobDetails:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        tail = asyncio.create_task(self._tail())
        details = await self._until_ended()
        self._ended = True
        await asyncio.wait({tail}, timeout=_LAST_WORDS_SECONDS)
        return details

    def _on_signal(self) -> None:
        self._signals += 1
        self._woken.set()

    async def _until_ended(self) -> JobDetails:
        heard, told = time.monotonic(), False
        while True:
            try:
                if self._signals and not told:
                    await asyncio.to_thread(self._client.stop_job, self._id)
                    told = True
                    self._say("stopping: the job finishes what is in flight; once more to leave it")
                details = await asyncio.to_thread(self._client.get_job_info, self._id)
                if details.status.is_terminal():
                    return details
                heard = time.monotonic()
            except _GONE:
                if time.monotonic() - heard > _PATIENCE_SECONDS:
                    raise Resumable(
                        f"the cluster does not answer any more; job {self._id} may go on there, "
                        "and the same command goes on from where it got to"
                    ) from None
            if self._signals > 1:
                raise Resumable(f"left job {self._id}, which stops by itself")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), _POLL_SECONDS)
            self._woken.clear()

    async def _tail(self) -> None:
        """The log, each part once: a connection that broke begins again at the log's start."""
        written = 0
        while True:
            seen = 0
            with contextlib.suppress(*_GONE):
                async for text in self._client.tail_job_logs(self._id):
                    fresh = text[max(0, written - seen) :]
                    seen += len(text)
                    if fresh:
                        self._write(fresh)
                        written = seen
            if self._ended:
                return
            await asyncio.sleep(_POLL_SECONDS)


def exit_code(client: Client, details: JobDetails, environment: dict[str, str]) -> int:
    """The code that `mien score` ended with on the cluster.

    Raises the error that fits where it has none: it was stopped, killed, or never began.
    """
    code = details.driver_exit_code
    if details.status == JobStatus.STOPPED:
        code = _said_code(client, details)
        if code is None:
            raise Resumable("the job was stopped: the same command goes on from here")
    if code is None:
        reason = _unseen(details.message or "", environment)
        if details.error_type == JobErrorType.RUNTIME_ENV_SETUP_FAILURE:
            raise ConfigurationError(f"the job's environment could not be made: {reason}")
        raise Resumable(f"the job was lost ({details.error_type}): {reason}")
    if code in (126, 127):
        raise ConfigurationError(
            "the head node finds no `mien` to run: install it there, put it on the PATH that Ray "
            "was started with, or upload it with --working-dir"
        )
    if not 0 <= code < 128:
        raise Resumable(f"the job was killed ({code}): the same command goes on from here")
    return code


def _said_code(client: Client, details: JobDetails) -> int | None:
    with contextlib.suppress(*_GONE):
        log = client.get_job_logs(details.submission_id or "")
        if said := re.search(rf"^{_SAID}(\d+)\s*\Z", log, re.MULTILINE):
            return int(said[1])
    return None
