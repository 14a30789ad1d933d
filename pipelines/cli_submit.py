"""`mien submit`: the same run as `mien score`, as a job on a Ray cluster."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from infra.errors import ConfigurationError
from infra.storage import is_local, local_path
from infra.tracking import without_password
from pipelines.arguments import (
    Arguments,
    AsJson,
    ConfigPath,
    Limit,
    RetryQuarantined,
    Wait,
    job_config,
    messages,
    split_arguments,
)
from pipelines.configuration import source_and_store
from pipelines.gate import require_governance
from schemas.config import Config

_ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


def add_commands(app: typer.Typer) -> None:
    """Register the command with the command line."""
    app.command()(submit)


def submit(
    arguments: Arguments = None,
    out: Annotated[str | None, typer.Option("--out", help="The store.")] = None,
    config: ConfigPath = None,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="http://HEAD:8265",
            help="The cluster's dashboard; by default cluster.address or RAY_ADDRESS, where "
            "that is such an address.",
        ),
    ] = None,
    working_dir: Annotated[
        Path | None,
        typer.Option(
            "--working-dir",
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="Upload this folder and run the code in it; by default the cluster's own mien.",
        ),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            "--env",
            metavar="NAME",
            help="Pass this variable too. AWS_*, MIEN_KEY and MLFLOW_TRACKING_URI go along where "
            "set, unless one --env is empty.",
        ),
    ] = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Hand the job over and leave it.")
    ] = False,
    limit: Limit = None,
    retry_quarantined: RetryQuarantined = False,
    wait: Wait = 0,
    as_json: AsJson = False,
) -> None:
    """Run `mien score` as a job on a Ray cluster, follow it, and end with its exit code.

    For example: mien submit s3://archive --out s3://results -c job.yaml --address http://head:8265

    The first Ctrl-C or SIGTERM tells the job to finish what is in flight (run.grace_seconds); a
    second one leaves it to itself. The job's log goes to stderr.
    """
    source, overrides = split_arguments(arguments)
    cfg = job_config(config, source, out, overrides)
    require_governance(cfg)
    url = _dashboard(address, cfg)

    from infra.job_server import connect
    from infra.submission import Submission, exit_code, follow, passed_environment
    from infra.submission import submit as hand_over
    from pipelines.settings import known_methods

    known_methods(cfg)
    options: list[str] = ["--json"] if as_json else []
    options += ["--limit", str(limit)] if limit else []
    options += ["--retry-quarantined"] if retry_quarantined else []
    options += ["--wait", str(wait)] if wait else []
    submission = Submission(
        config_json=_for_the_cluster(cfg).model_dump_json(),
        arguments=tuple(options),
        environment=passed_environment(env or []),
        working_dir=working_dir,
        grace_seconds=cfg.run.grace_seconds,
    )
    client = connect(url)
    job = hand_over(client, submission)
    shown = without_password(url)
    messages.print(f"job {job} at {shown}", highlight=False, soft_wrap=True)
    if no_wait:
        _print_how_to_follow(job, shown, as_json)
        return
    log = Log(job)
    details = follow(client, job, log.write if as_json else _to_stderr, messages.print)
    raise typer.Exit(exit_code(client, details, submission.environment))


def _dashboard(address: str | None, cfg: Config) -> str:
    """The address that is given, or the first one configured that a dashboard may have."""
    if address:
        return address
    configured = [cfg.cluster.address, *(os.environ.get(name, "") for name in _ADDRESS_VARIABLES)]
    for item in configured:
        if item.startswith(("http://", "https://")):
            return item
    raise ConfigurationError("no cluster: name its dashboard with --address http://HEAD:8265")


def _for_the_cluster(cfg: Config) -> Config:
    """The configuration as the job needs it: it joins the cluster it is on, and a path is absolute,
    since the job runs in a folder of Ray's."""
    source, store = (local_path(url) if is_local(url) else url for url in source_and_store(cfg))
    inside = cfg.cluster.model_copy(update={"address": "auto"})
    return cfg.model_copy(update={"source": source, "store": store, "cluster": inside})


def _print_how_to_follow(job: str, url: str, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps({"submission_id": job, "address": url}, indent=2) + "\n")
    else:
        sys.stdout.write(f"{job}\n")
    messages.print(
        f"follow it with `RAY_AUTH_MODE=token ray job logs --follow --address {url} {job}`",
        highlight=False,
        soft_wrap=True,
    )


def _to_stderr(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


class Log:
    """Parts a job's log: the run's record, as `mien score --json` prints it between a line `{` and
    a line `}`, goes to stdout; all else is messages."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._rest = ""
        self._record: list[str] = []

    def write(self, text: str) -> None:
        """The next part of the log, which may end in the middle of a line."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if not self._record and line != "{":
                _to_stderr(f"{line}\n")
                continue
            self._record.append(line)
            if line == "}":
                record = json.loads("\n".join(self._record))
                body = {"submission_id": self._job, **record}
                sys.stdout.write(json.dumps(body, indent=2) + "\n")
                self._record = []
