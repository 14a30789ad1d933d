import subprocess
import sys

import pytest

PROGRAM = """
from infra.offline import disable_telemetry
disable_telemetry()
import huggingface_hub.constants as hub
import openvino.tools.ovc.telemetry_utils as ovc
from mlflow.telemetry.utils import is_telemetry_disabled
from ray._common.usage.usage_lib import usage_stats_enabled
print(hub.HF_HUB_DISABLE_TELEMETRY, ovc.tm.__name__, is_telemetry_disabled(), usage_stats_enabled())
"""


@pytest.mark.slow
def test_every_library_sees_its_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY", "RAY_USAGE_STATS_ENABLED", "CI"):
        monkeypatch.delenv(name, raising=False)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "openvino.tools.ovc.telemetry_stub", "True", "False"]
