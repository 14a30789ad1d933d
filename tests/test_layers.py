"""The import contracts: they hold, and a planted violation of each breaks them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("schemas", "operators", "infra", "pipelines")

PLANTED = [
    ("operators/anonymize.py", "import ray"),
    ("operators/core/crops.py", "import operators.score"),
    ("operators/embed.py", "import operators.score"),
    ("operators/score.py", "import infra.storage"),
    ("infra/storage.py", "import operators.score"),
    ("infra/storage.py", "import pipelines.score"),
    ("schemas/tables.py", "import infra.storage"),
    ("schemas/config.py", "import torch"),
]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("*.pyc"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_contracts_hold(copy: Path) -> None:
    result = lint(copy)
    assert result.returncode == 0, result.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("file", "line"), PLANTED)
def test_a_planted_violation_fails(copy: Path, file: str, line: str) -> None:
    path = copy / file
    path.write_text(f"{path.read_text()}\n{line}\n")
    result = lint(copy)
    assert result.returncode != 0
    assert "BROKEN" in result.stdout


@pytest.mark.slow
def test_a_driver_loads_no_torch() -> None:
    """Half a gigabyte and two seconds that only those need who build a model."""
    code = (
        "import sys, pipelines.cli, pipelines.score; from pathlib import Path;"
        "from pipelines.configuration import load_config;"
        "from pipelines.settings import resolve_settings;"
        "resolve_settings(load_config(Path('job.yaml'), []));"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
