"""Nothing of a run is told to anybody: the switches that turn off what libraries report home."""

import os
import sys

SWITCHES = {
    "DO_NOT_TRACK": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def disable_telemetry() -> None:
    """Set the switches for this process and all that it starts. Call it before other imports.

    OpenVINO's converter has no switch but its import: without the package it uses a stub of its
    own, which reports nothing. Only this process is covered there, so a worker calls this as well.
    """
    os.environ.update(SWITCHES)
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
