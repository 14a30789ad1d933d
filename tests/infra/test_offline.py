import subprocess
import sys
from pathlib import Path

import pytest

import infra
from infra.offline import SWITCHES

PROGRAM = """
from infra.offline import disable_telemetry
disable_telemetry()
import huggingface_hub.constants as hub
import openvino.tools.ovc.telemetry_utils as ovc
from mlflow.telemetry.utils import is_telemetry_disabled
from ray._common.usage.usage_lib import _usage_stats_report_url, usage_stats_enabled
print(hub.HF_HUB_DISABLE_TELEMETRY, ovc.tm.__name__, is_telemetry_disabled(), usage_stats_enabled())
print(_usage_stats_report_url())
"""


@pytest.mark.slow
def test_every_library_sees_its_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*SWITCHES, "CI"):
        monkeypatch.delenv(name, raising=False)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [
        "True",
        "openvino.tools.ovc.telemetry_stub",
        "True",
        "False",
        SWITCHES["RAY_USAGE_STATS_REPORT_URL"],
    ]


@pytest.mark.parametrize("file", ["docker/Dockerfile", "ray/cluster.yaml"])
def test_a_head_that_somebody_starts_has_the_switches_of_ray(file: str) -> None:
    text = (Path(str(infra.__file__)).parent / file).read_text()
    for name, value in SWITCHES.items():
        assert not name.startswith("RAY_") or f"{name}={value}" in text


@pytest.mark.slow
def test_ray_asks_no_cloud_where_its_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that the image has; without it three metadata servers are asked."""
    from ray._common.usage import usage_lib

    asked = []
    monkeypatch.setattr(usage_lib, "get_cloud_from_metadata_requests", lambda: asked.append(1))
    usage_lib.get_cluster_config_to_report(str(tmp_path / "none"))
    assert asked == [1]
    (tmp_path / "there").write_text("{}")
    usage_lib.get_cluster_config_to_report(str(tmp_path / "there"))
    assert asked == [1]
