"""The short version of `make chaos`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.monkey import ROOT


@pytest.mark.ray
@pytest.mark.long
def test_nothing_is_lost_or_doubled_whatever_is_killed(tiny_backbone: Path, tmp_path: Path) -> None:
    # in a process of its own: a cluster leaves signal handlers and cached clients behind
    command = [sys.executable, "-m", "tests.chaos", "--kills", "5", "--seed", "59", "--short"]
    command += ["--backbone", str(tiny_backbone), "--out", str(tmp_path / "chaos.json")]
    with (tmp_path / "log").open("wb") as log:
        subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=False)
    result = json.loads((tmp_path / "chaos.json").read_text())
    assert result["trouble"] == []
    assert set(result["kills_by_kind"]) == {"driver", "worker", "child", "node", "s3"}
    assert (result["lost_rows"], result["doubled_rows"]) == (0, 0)
