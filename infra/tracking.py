"""MLflow: what a run was and did, written once, at its end, within a bounded time.

The payload is put into the store first and removed when MLflow has it, so that a server out of
reach costs nothing: the next run's call sends it along.
"""

import base64
import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from infra.live import Point
from infra.offline import disable_telemetry
from infra.runs import FOLDER, RunRecord, Stage, State, Wave
from infra.storage import Root
from schemas.config import Tracking

BUFFER = ".mlflow.json"
_SERVER_SECONDS = 20.0
_LOCAL_SECONDS = 90.0  # no server to wait for, but an import and a database to make
_MOST_AT_ONCE = 20
_MOST_CHARACTERS = 500
#: A server that does not answer is given up on at once: the buffer is there for that.
IMPATIENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",
}
_ENDED_WELL = (State.PUBLISHED, State.NOTHING_NEW)
_PRIVATE_KEYS = ("source", "store")


class Tracker:
    """Writes run records to MLflow through a process of its own."""

    def __init__(self, cfg: Tracking, root: Root) -> None:
        disable_telemetry()
        self._cfg = cfg
        self._root = root
        self._uri = cfg.uri or f"sqlite:///{_home(root)}/mlflow.db"
        self._artifacts_uri = None if cfg.uri else local_artifacts(root).as_uri()
        self._server = _is_server(self._uri)
        self._writer: subprocess.Popen[bytes] | None = None

    @property
    def enabled(self) -> bool:
        return self._cfg.enabled

    def warm(self) -> None:
        """Start the writer now, beside the run: its import takes seconds."""
        if self._cfg.enabled and self._writer is None:
            self._writer = self._start()

    def log_run(
        self,
        record: RunRecord,
        artifacts: Mapping[str, bytes | Path],
        curve: Sequence[Point] = (),
    ) -> str | None:
        """Write a finished run, and what is waiting from earlier ones.

        Args:
            record: The run. Source and store stay out of what is sent.
            artifacts: By name, with folders: contents or local files. No video's uri in them.
            curve: What was measured while it worked; becomes metrics named `live/...`, by seconds
                since the start. Those named `wave/...` come from the record, by the wave's number.

        Returns:
            One plain line when MLflow could not be reached in time; nothing is lost then.
        """
        if not self._cfg.enabled:
            return None
        payload = _payload(record, artifacts, curve)
        self._root.write(_rel(record.run_id), json.dumps(payload).encode())
        return self.flush()

    def flush(self) -> str | None:
        """Send what is waiting, the newest runs first. Returns a warning as `log_run` does."""
        waiting = [rel for rel, _ in self._root.list(FOLDER) if rel.endswith(BUFFER)]
        chosen = sorted(waiting, reverse=True)[:_MOST_AT_ONCE]
        if not self._cfg.enabled or not chosen:
            return None
        request = {
            "experiment": self._cfg.experiment,
            "artifacts_uri": self._artifacts_uri,
            "payloads": [json.loads(self._root.read_bytes(rel)) for rel in chosen],
        }
        answers = self._ask(json.dumps(request).encode())
        done = [_rel(answer["run_id"]) for answer in answers if answer["error"] is None]
        self._root.delete(done)
        if len(done) == len(chosen):
            return None
        errors = [answer["error"] for answer in answers if answer["error"]]
        return (
            f"MLflow at {without_password(self._uri)} is out of reach "
            f"({errors[0] if errors else 'no answer in time'}): "
            f"{len(waiting) - len(done)} runs wait in {self._root.full(FOLDER)} for the next one"
        )

    def close(self) -> None:
        """End a writer that was warmed and not used."""
        if self._writer is not None:
            _stop(self._writer)
            self._writer = None

    def _ask(self, request: bytes) -> list[dict[str, Any]]:
        writer = self._writer or self._start()
        self._writer = None
        limit = _SERVER_SECONDS if self._server else _LOCAL_SECONDS
        try:
            out, _ = writer.communicate(request, timeout=limit)
        except subprocess.TimeoutExpired as expired:
            out = expired.stdout or b""
        finally:
            _stop(writer)
        lines = out.decode(errors="replace").splitlines()
        answers = []
        for line in lines:
            with contextlib.suppress(ValueError):  # cut off in the middle of a line
                answers.append(json.loads(line))
        return answers

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "infra.mlflow_writer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(self._uri),
            start_new_session=True,  # Ctrl-C is for the run, which may still have something to log
        )


def local_artifacts(root: Root) -> Path:
    """Where artifacts lie when no tracking server is named."""
    return _home(root) / "mlflow-artifacts"


def _home(root: Root) -> Path:
    return Path(root.url if root.local else ".").absolute()


def environment(uri: str) -> dict[str, str]:
    """What a process that talks to MLflow at `uri` is given: not the store's key."""
    kept = {name: value for name, value in os.environ.items() if name != "MIEN_KEY"}
    package_root = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
    patience = IMPATIENT if _is_server(uri) else {}
    return {**kept, **patience, "MLFLOW_TRACKING_URI": uri, "PYTHONPATH": path}


def _is_server(uri: str) -> bool:
    return urlsplit(uri).scheme in ("http", "https")


def _stop(writer: subprocess.Popen[bytes]) -> None:
    writer.kill()
    with contextlib.suppress(OSError, ValueError):
        writer.communicate()


def _rel(run_id: str) -> str:
    return f"{FOLDER}/{run_id}{BUFFER}"


def _payload(
    record: RunRecord, artifacts: Mapping[str, bytes | Path], curve: Sequence[Point]
) -> dict[str, Any]:
    config = yaml.safe_load(record.config_yaml) or {}
    shown = {key: value for key, value in config.items() if key not in _PRIVATE_KEYS}
    audit = [result.model_dump() for result in record.audit]
    contents = {
        "config.yaml": yaml.safe_dump(shown, sort_keys=False).encode(),
        "audit.json": json.dumps(audit, indent=1).encode(),
        **{
            name: data if isinstance(data, bytes) else data.read_bytes()
            for name, data in artifacts.items()
        },
    }
    return {
        "run_id": record.run_id,
        "start_ms": _milliseconds(record.started),
        "end_ms": _milliseconds(record.ended or datetime.now(UTC)),
        "status": _status(record.state),
        "params": {name: value[:_MOST_CHARACTERS] for name, value in flat(shown)},
        "tags": {
            "mien.state": str(record.state),
            **({"mien.audit_head": record.audit_head} if record.audit_head else {}),
            **{f"hash.{name}": value for name, value in record.hashes.items()},
            **{f"version.{name}": value for name, value in record.versions.items()},
        },
        "metrics": _metrics(record),
        "curve": [
            {
                "at_ms": _milliseconds(point.at),
                "step": round((point.at - record.started).total_seconds()),
                "values": {f"live/{name}": value for name, value in point.values.items()},
            }
            for point in curve
        ]
        + [
            {"at_ms": _milliseconds(wave.ended), "step": wave.number, "values": _wave(wave)}
            for wave in record.waves
        ],
        "artifacts": {
            name: base64.b64encode(data).decode() for name, data in sorted(contents.items())
        },
    }


def _metrics(record: RunRecord) -> dict[str, float]:
    values: dict[str, float] = {
        "planned_seconds": record.planned_seconds,
        "written_seconds": record.written_seconds,
        "quarantined_seconds": record.quarantined_seconds,
        "audit_passed": sum(result.success for result in record.audit),
        "audit_failed": sum(not result.success for result in record.audit),
        **{f"count.{name}": count for name, count in record.counts.items()},
    }
    if record.ended:
        values["wall_seconds"] = (record.ended - record.started).total_seconds()
    return _named({**values, **_stages(record.stages)})


def _wave(wave: Wave) -> dict[str, float]:
    values: dict[str, float] = {
        "wall_seconds": wave.wall_seconds,
        "planned_seconds": wave.planned_seconds,
        "written_seconds": wave.written_seconds,
        "quarantined_seconds": wave.quarantined_seconds,
        "published": wave.published,
        **{f"count.{name}": count for name, count in wave.counts.items()},
        **_stages(wave.stages),
    }
    return _named({f"wave/{name}": value for name, value in values.items()})


def _stages(stages: Mapping[str, Stage]) -> dict[str, float]:
    return {
        f"stage.{name}.{key}": value
        for name, stage in stages.items()
        for key, value in (
            ("rows", stage.rows),
            ("seconds", stage.wall_seconds),
            ("rows_per_second", stage.rows_per_second),
        )
    }


def _named(values: Mapping[str, float]) -> dict[str, float]:
    """Under names that MLflow takes."""
    return {re.sub(r"[^\w\-. /]", "_", name): float(value) for name, value in values.items()}


def flat(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A nested configuration as `section.key` and text."""
    pairs: list[tuple[str, str]] = []
    for key, value in config.items():
        if isinstance(value, Mapping):
            pairs += flat(value, f"{prefix}{key}.")
        else:
            pairs.append((f"{prefix}{key}", str(value)))
    return pairs


def _status(state: State) -> str:
    if state is State.RUNNING:
        return "RUNNING"
    return "FINISHED" if state in _ENDED_WELL else "FAILED"


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def without_password(uri: str) -> str:
    """A URI as it may be shown."""
    return re.sub(r"//[^/@]*@", "//", uri)
