"""`mien privacy evaluate` as a user calls it, on faces of noise."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from infra.errors import ConfigurationError
from operators.evaluation import attackers as attackers_module
from operators.evaluation.attackers import attackers
from pipelines import privacy_evaluation as module
from pipelines.configuration import config_from
from pipelines.privacy_evaluation import evaluate_privacy, parse_setting
from schemas.config import Config
from schemas.tables import LABELS
from tests.pipelines.test_faces import png

pytestmark = pytest.mark.slow  # seconds each, or many of them

QUIET = Console(quiet=True)


def file(path: Path, people: int, shots: int) -> str:
    rows = range(people * shots)
    table: dict[str, Any] = {
        "image": [png(row) for row in rows],
        "label": [LABELS[row % 7] for row in rows],
        "subject": [f"person {row // shots}" for row in rows],
    }
    pq.write_table(pa.table(table), path)
    return str(path)


def config(backbone: Path) -> Config:
    return config_from({"embed": {"backbone": str(backbone)}, "tracking": {"enabled": False}})


def test_an_evaluation_attacks_every_setting_and_writes_its_table(
    tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attackers_module, "CNN_STEPS", 4)
    data = file(tmp_path / "faces.parquet", 4, 4)
    given = ["none", "solid:90"]
    result = evaluate_privacy(config(tiny_backbone), data, data, tmp_path / "out", QUIET, given, 1)
    assert json.loads((tmp_path / "out" / "privacy.json").read_text()) == result
    assert [(row["name"], row["attacker"]) for row in result["rows"]] == [
        (name, entry.name) for name in ("none", "solid") for entry in attackers()
    ]
    none, solid = result["strongest"]
    assert none["accuracy_kept"] == 1
    assert solid["top1"] == result["chance_top1"] == 0.25
    assert (tmp_path / "out" / "privacy.png").read_bytes().startswith(b"\x89PNG")
    assert len((tmp_path / "out" / "privacy.csv").read_text().splitlines()) == 11


def test_everything_includes_what_a_projection_does_for_strangers(
    tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attackers_module, "CNN_STEPS", 4)
    monkeypatch.setattr(module, "MEASURED", ("none",))
    data = file(tmp_path / "faces.parquet", 6, 4)
    result = evaluate_privacy(config(tiny_backbone), data, data, tmp_path / "out", QUIET, (), 1)
    found = {row["name"]: row for row in result["strongest"]}
    assert set(found) == {"none", *module.VECTOR_NOTE}
    assert found[module.HALF]["accuracy"] == found["none"]["accuracy"]
    half, projected = (
        [(row["top1"], row["eer"]) for row in result["rows"] if row["name"] == name]
        for name in (module.HALF, module.PROJECTED)
    )
    assert len(half) == len(projected) == 2
    assert half != projected
    few = evaluate_privacy(
        config(tiny_backbone), file(tmp_path / "few.parquet", 2, 4), data, tmp_path / "f", QUIET
    )
    assert {module.HALF, module.PROJECTED}.isdisjoint(row["name"] for row in few["rows"])


def test_one_image_a_person_is_refused_and_nothing_is_written(
    tiny_backbone: Path, tmp_path: Path
) -> None:
    data = file(tmp_path / "faces.parquet", 6, 1)
    with pytest.raises(ConfigurationError, match="one face only"):
        evaluate_privacy(config(tiny_backbone), data, data, tmp_path / "out", QUIET)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "told"), [("hat", "unknown anonymizer 'hat'"), ("blur:x", "write name:strength")]
)
def test_a_wrong_setting_is_refused(text: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        parse_setting(text)
    assert parse_setting("k-same:2") == ("k-same", 2.0)
