"""Reports in MLflow that name an erased video: found and deleted, by a process of its own.

A server may hang, and MLflow's import takes seconds. As in `infra.mlflow_writer`, the process reads
one JSON request from stdin and answers with one line.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import yaml

from infra.mlflow_writer import RUN_TAG, connected, only_answers_on_stdout
from infra.runs import RunRecord
from infra.storage import Root
from infra.traces import erase_below, names_any
from infra.tracking import environment, local_artifacts
from schemas.config import Tracking

_SECONDS = 120.0
_PAGE = 500
#: Larger artifacts are no reports.
_MOST_BYTES = 200 << 20


def used_trackers(records: Collection[RunRecord]) -> list[Tracking]:
    """Where the runs of a store were logged."""
    found: dict[tuple[str | None, str], Tracking] = {}
    for record in records:
        section = (yaml.safe_load(record.config_yaml) or {}).get("tracking") or {}
        cfg = Tracking.model_validate(section)
        if cfg.enabled:
            found[cfg.uri, cfg.experiment] = cfg
    return list(found.values())


def erase_logged(
    cfg: Tracking, root: Root, run_ids: Collection[str], needles: Collection[bytes]
) -> int | None:
    """Delete artifacts of these runs that hold one of the needles: how many; None where MLflow
    cannot be reached."""
    if cfg.uri is None:
        return erase_below(local_artifacts(root), needles)
    request = {
        "experiment": cfg.experiment,
        "run_ids": sorted(run_ids),
        "needles": [needle.decode() for needle in needles],
    }
    try:
        answer = subprocess.run(
            [sys.executable, "-m", "infra.mlflow_eraser"],
            input=json.dumps(request).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(cfg.uri),
            timeout=_SECONDS,
            check=False,
        ).stdout
        return int(json.loads(answer)["deleted"])
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return None


def main() -> None:
    """Do what stdin asks for."""
    answers = only_answers_on_stdout()
    request = json.loads(sys.stdin.read())
    client = connected()
    needles = [needle.encode() for needle in request["needles"]]
    wanted, deleted = set(request["run_ids"]), 0
    for run in _runs(client, request["experiment"]):
        if run.data.tags.get(RUN_TAG) in wanted:
            deleted += _erase(client, run, needles)
    answers.write(json.dumps({"deleted": deleted}) + "\n")
    answers.flush()


def _runs(client: Any, experiment: str) -> Iterator[Any]:
    found = client.get_experiment_by_name(experiment)
    token = None
    while found is not None:
        page = client.search_runs([found.experiment_id], max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _erase(client: Any, run: Any, needles: Collection[bytes]) -> int:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    deleted = 0
    for name in _artifacts(client, run.info.run_id):
        with tempfile.TemporaryDirectory() as folder:
            path = client.download_artifacts(run.info.run_id, name, folder)
            named = names_any(Path(path).read_bytes(), needles)
        if named:
            get_artifact_repository(run.info.artifact_uri).delete_artifacts(name)
            deleted += 1
    return deleted


def _artifacts(client: Any, run_id: str, below: str | None = None) -> Iterator[str]:
    for entry in client.list_artifacts(run_id, below):
        if entry.is_dir:
            yield from _artifacts(client, run_id, entry.path)
        elif (entry.file_size or 0) <= _MOST_BYTES:
            yield entry.path


if __name__ == "__main__":
    main()
