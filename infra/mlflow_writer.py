"""The process that writes to MLflow: its import takes seconds, and a server may hang.

It gets ready as soon as it starts, then reads one JSON request from stdin, and answers with one
line a payload. Where to write stands in `MLFLOW_TRACKING_URI`.
"""

import base64
import json
import os
import signal
import socket
import sys
import tempfile
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import Any, TextIO
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

RUN_TAG = "mien.run_id"
_CONNECT_SECONDS = 3
_ITEMS, _METRICS = 100, 800  # what MLflow takes in one call: of params, of tags; of metrics


def main() -> None:
    """Get ready, then do what stdin asks for."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Ray stops a job with every child it has
    answers = only_answers_on_stdout()
    os.nice(10)  # the run goes first
    try:
        client = connected()
    except Exception as error:  # noqa: BLE001 - told to the parent, which warns
        _answer(answers, None, error)
        return
    text = sys.stdin.read()
    if not text:
        return
    request = json.loads(text)
    for payload in request["payloads"]:
        try:
            _write(client, request["experiment"], request["artifacts_uri"], payload)
        except Exception as error:  # noqa: BLE001 - told to the parent, which warns
            _answer(answers, payload["run_id"], error)
            return
        _answer(answers, payload["run_id"], None)


def only_answers_on_stdout() -> TextIO:
    """Where answers go; whatever else this process prints goes nowhere."""
    answers = os.fdopen(os.dup(1), "w")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    return answers


def _answer(answers: TextIO, run_id: str | None, error: BaseException | None) -> None:
    name = type(error).__name__ if error else None
    answers.write(json.dumps({"run_id": run_id, "error": name}) + "\n")
    answers.flush()


def connected() -> Any:
    """A client of the server or database in `MLFLOW_TRACKING_URI`. Raises whatever MLflow does."""
    uri = os.environ["MLFLOW_TRACKING_URI"]
    place = urlsplit(uri)
    if place.scheme in ("http", "https") and place.hostname and not _by_proxy(place):
        port = place.port or (443 if place.scheme == "https" else 80)
        socket.create_connection((place.hostname, port), _CONNECT_SECONDS).close()
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    client.search_experiments(max_results=1)  # makes or migrates a local database
    return client


def _by_proxy(place: SplitResult) -> bool:
    return place.scheme in getproxies() and not proxy_bypass(place.hostname or "")


def _write(
    client: Any, experiment: str, artifacts_uri: str | None, payload: dict[str, Any]
) -> None:
    """Log one run, or bring it up to date if it is there."""
    from mlflow.entities import Metric, Param, RunTag

    experiment_id = _experiment(client, experiment, artifacts_uri)
    run = _existing(client, experiment_id, payload["run_id"])
    if run is None:
        run = client.create_run(
            experiment_id,
            start_time=payload["start_ms"],
            tags={RUN_TAG: payload["run_id"]},
            run_name=payload["run_id"],
        )
    run_id, known = run.info.run_id, run.data.params
    params = [Param(*item) for item in payload["params"].items() if item[0] not in known]
    tags = [RunTag(*item) for item in payload["tags"].items()]
    at = payload["end_ms"]
    metrics = [Metric(name, value, at, 0) for name, value in payload["metrics"].items()]
    metrics += [
        Metric(name, value, point["at_ms"], point["step"])
        for point in payload.get("curve", ())
        for name, value in point["values"].items()
    ]
    parts = zip_longest(
        _cut(metrics, _METRICS), _cut(params, _ITEMS), _cut(tags, _ITEMS), fillvalue=()
    )
    for part in parts:
        client.log_batch(run_id, *part)
    for name, data in payload["artifacts"].items():
        _log_artifact(client, run_id, PurePosixPath(name), base64.b64decode(data))
    client.set_terminated(run_id, payload["status"], payload["end_ms"])


def _cut(items: list[Any], most: int) -> list[list[Any]]:
    return [items[start : start + most] for start in range(0, len(items), most)]


def _experiment(client: Any, name: str, artifacts_uri: str | None) -> str:
    found = client.get_experiment_by_name(name)
    return found.experiment_id if found else client.create_experiment(name, artifacts_uri)


def _existing(client: Any, experiment_id: str, run_id: str) -> Any:
    found = client.search_runs([experiment_id], f"tags.`{RUN_TAG}` = '{run_id}'", max_results=1)
    return found[0] if found else None


def _log_artifact(client: Any, run_id: str, name: PurePosixPath, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name.name)
        path.write_bytes(data)
        parent = str(name.parent) if name.parent.name else None
        client.log_artifact(run_id, str(path), parent)


if __name__ == "__main__":
    main()
