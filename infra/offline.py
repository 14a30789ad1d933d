"""Nothing of a run is told to anybody: the switches that turn off what libraries report home."""

import contextlib
import os
import sys
from collections.abc import Iterator

#: What each of them turns off: docs/privacy.md.
SWITCHES = {
    "DO_NOT_TRACK": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    # A cluster of `ray start` reports that its statistics are off: to a port where nobody listens.
    "RAY_USAGE_STATS_REPORT_URL": "http://127.0.0.1:9/",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}

#: For `duckdb.connect`: an unknown function in a query would make it download an extension.
DUCKDB_OFFLINE: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}


def disable_telemetry() -> None:
    """Set the switches for this process and all that it starts. Call it before other imports.

    OpenVINO's converter has no switch but its import: without the package it uses a stub of its
    own, which reports nothing. Only this process is covered there, so a worker calls this as well.
    """
    os.environ.update(SWITCHES)
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


@contextlib.contextmanager
def no_usage_process() -> Iterator[None]:
    """Let a head of Ray that starts in the block, without a dashboard, do without its process.

    All that the process would do is report usage. Where that is off it still asks the metadata
    servers of three clouds where it is, by a name that only one of them knows.
    """
    from ray._private.node import Node

    start = Node.start_api_server
    Node.start_api_server = lambda self, **_: None
    try:
        yield
    finally:
        Node.start_api_server = start
