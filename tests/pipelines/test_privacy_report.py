"""A run's privacy report says what its record says, and what is not known it calls so."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.runs import RunRecord
from operators.backbone import MIEN_LITE, backbone_info
from operators.core.anonymizers import anonymizer, anonymizers
from operators.evaluation.attackers import attackers
from pipelines import privacy_report
from pipelines.privacy_report import measured, privacy_facts, privacy_markdown, report_files
from schemas.config import Privacy
from tests.pipelines.jobs import GOVERNANCE

ROOT = Path(__file__).parents[2]


def record(governance: dict[str, Any] | None = None, **config: Any) -> RunRecord:
    section = {**GOVERNANCE, **(governance or {})}
    return RunRecord(
        run_id="20260101T000000000Z-aaaaaa",
        started=datetime(2026, 1, 1, tzinfo=UTC),
        ended=datetime(2026, 1, 2, tzinfo=UTC),
        config_yaml=yaml.safe_dump({"governance": section, **config}),
        counts={"videos": 2, "faces": 7},
        audit_head="3:" + "a" * 64,
    )


@pytest.fixture
def figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "figures.json"
    rows = [{"anonymizer": "blur", "strength": 0.5, "top1": 0.061, "ci95": [0.05, 0.07]}]
    path.write_text(json.dumps({"figures": rows}))
    monkeypatch.setattr(privacy_report, "FIGURES", path)
    return path


def test_the_page_has_what_an_officer_asks_for() -> None:
    facts = privacy_facts(record({"overseer": "Jo | Doe"}))
    page = privacy_markdown(facts)
    assert json.loads(json.dumps(facts)) == facts
    for heading in ("Governance, as stated", "Data flow", "Risks and measures", "Who decides"):
        assert f"# {heading}\n" in page
    assert "| can stop it (overseer) | Jo \\| Doe |" in page
    assert f"| anonymizer | {facts['anonymizer']['name']} " in page
    assert "3:" + "a" * 64 in page
    assert "{" not in page
    assert "no legal advice" in page
    for line in page.splitlines():
        assert not line.startswith("|") or line.endswith("|"), line


@pytest.mark.parametrize(
    ("jurisdiction", "rows", "log"),
    [("eu", "2026-01-03", "2026-07-04"), ("other", "2026-01-03", "2026-01-03")],
)
def test_it_dates_the_deletion_and_the_end_of_the_log(
    jurisdiction: str, rows: str, log: str
) -> None:
    facts = privacy_facts(record({"jurisdiction": jurisdiction}))
    assert (facts["rows_due"], facts["audit_log_until"]) == (rows, log)
    assert ("impact-assessment" in facts["duties"]) is (jurisdiction == "eu")


def test_pixels_at_rest_are_promised_by_privacy_strict_alone() -> None:
    assert privacy_facts(record())["pixels_at_rest"] == "none"
    relaxed = privacy_facts(record(privacy={"strict": False}))
    assert relaxed["pixels_at_rest"] == "not assured"
    assert "not assured: privacy.strict is off" in privacy_markdown(relaxed)


def test_figures_are_those_of_the_very_strength(
    figures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of(anonymizer: dict[str, Any]) -> dict[str, Any] | None:
        return measured(Privacy.model_validate({"anonymizer": anonymizer}))

    assert of({"name": "blur", "strength": 0.5}) == json.loads(figures.read_text())["figures"][0]
    assert of({"name": "blur", "strength": 0.25}) is None
    assert of({"name": "solid"}) is None
    monkeypatch.setattr(privacy_report, "FIGURES", figures.with_name("absent.json"))
    assert of({"name": "blur", "strength": 0.5}) is None


def test_what_was_measured_is_shown_and_else_called_not_measured(figures: Path) -> None:
    known = record(privacy={"anonymizer": {"name": "blur", "strength": 0.5}})
    page = privacy_markdown(privacy_facts(known))
    assert "| top1 | 0.061 |" in page
    assert "re-identification as measured above" in page
    other = privacy_markdown(privacy_facts(record(privacy={"anonymizer": "solid"})))
    assert "Not measured at this strength" in other
    assert "re-identification not measured" in other


def test_without_an_anonymizer_it_does_not_say_that_crops_are_made_safe() -> None:
    page = privacy_markdown(privacy_facts(record(privacy={"anonymizer": "none"})))
    assert anonymizer("none").summary in page
    assert "not made safe" in page
    assert "aligned and made safe" not in page


def test_a_run_without_governance_is_reported_too() -> None:
    bare = record().model_copy(update={"config_yaml": "", "ended": None})
    files = report_files(bare)
    facts = json.loads(files["privacy.json"])
    assert (facts["governance"], facts["rows_due"]) == (None, None)
    assert "not stated" in files["privacy.md"].decode()


def test_the_shipped_figures_are_of_this_backbone_and_on_the_page() -> None:
    """Default strengths are all measured, by attackers that are registered still."""
    rows = json.loads(privacy_report.FIGURES.read_text())["figures"]
    assert {(e.name, e.default_strength) for e in anonymizers()} <= {
        (row["anonymizer"], row["strength"]) for row in rows
    }
    page = (ROOT / "docs" / "privacy.md").read_text(encoding="utf-8")
    for row in rows:
        assert row["backbone_sha256"] == backbone_info(MIEN_LITE).sha256
        assert row["strongest_attacker"] in [attacker.name for attacker in attackers()]
        line = f"| {row['anonymizer']} {row['strength']:g} | {row['strongest_attacker']} "
        assert f"{line}| {row['top1']:.1%} (" in page
