"""What a result must name to mean anything: the machine, the versions, the command."""

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("mien", "ray", "torch", "openvino", "av", "pyarrow", "duckdb", "numpy")


def described() -> dict[str, Any]:
    """CPU, cores, load, memory, kernel, Python and package versions, date and command."""
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    return {
        "cpu": cpu[0].split(":")[1].strip() if cpu else platform.processor(),
        "cores": psutil.cpu_count(),
        "load_average": [round(load, 1) for load in os.getloadavg()],  # others' work included
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "command": f"python -m {_module()} {' '.join(sys.argv[1:])}".strip(),
    }


def _module() -> str:
    """The module that was started with `-m`, by its file's place in the repository."""
    path = Path(sys.argv[0]).resolve().with_suffix("")
    parts = path.relative_to(RESULTS.parents[1]).parts
    return ".".join(parts[:-1] if parts[-1] == "__main__" else parts)
