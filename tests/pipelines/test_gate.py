"""The gate: each rule refuses what breaks it and lets pass what meets it, and says whose it is."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.errors import ConfigurationError, Refused
from pipelines.cli import main
from pipelines.configuration import load_config
from pipelines.gate import GateClosed, audit_log_days, duties, findings, require_governance
from pipelines.governance import NOTICES, template, write_template
from schemas.config import Config, Governance
from schemas.governance_rules import DUTIES, PLACEHOLDER, RULES
from tests.pipelines.jobs import GOVERNANCE

JURISDICTIONS = ("eu", "jp", "other")
EU = {"jurisdiction": "eu"}
JP = {"jurisdiction": "jp"}


def job(**governance: Any) -> Config:
    return Config.model_validate({"governance": {**GOVERNANCE, **governance}})


def refused_by(cfg: Config) -> set[str]:
    return {finding.rule for finding in findings(cfg)}


def mien(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["mien", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("governance", "rule"),
    [
        ({**EU, "setting": "workplace"}, "eu-work-education"),
        ({**EU, "setting": "education"}, "eu-work-education"),
        ({**EU, "setting": "workplace", "exception": "safety"}, "eu-work-education"),
        (
            {**EU, "setting": "education", "exception": "medical", "exception_reason": " "},
            "eu-work-education",
        ),
        ({**EU, "setting": "workplace", "exception_reason": "we like to"}, "eu-work-education"),
        ({**EU, "notice_reference": "  "}, "eu-notice"),
        ({**EU, "overseer": "change me: a name"}, "eu-overseer"),
        (JP, "jp-purpose"),
        ({**JP, "purpose_statement": "来店者数の計測"}, "jp-purpose"),
        ({**JP, "purpose_statement": "tests of a user interface"}, "jp-purpose"),
        ({**JP, "purpose_statement": "表情の分析", "notice_reference": " "}, "jp-notice"),
        ({"controller": PLACEHOLDER}, "accountability"),
        ({"overseer": " "}, "accountability"),
    ],
)
def test_what_breaks_a_rule_is_refused_by_name(governance: dict[str, str], rule: str) -> None:
    cfg = job(**governance)
    assert refused_by(cfg) == {rule}
    with pytest.raises(Refused) as caught:
        require_governance(cfg)
    source, fix = next((one.source, one.fix) for one in RULES if one.name == rule)
    assert all(text in str(caught.value) for text in (rule, source, fix))
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    "governance",
    [
        {},
        {"setting": "workplace"},
        EU,
        *(
            {**EU, "setting": setting, "exception": kind, "exception_reason": "driver fatigue"}
            for setting in ("workplace", "education")
            for kind in ("medical", "safety")
        ),
        {**JP, "purpose_statement": "来場者の顔画像から表情を推定し、展示を評価する"},
        {**JP, "purpose_statement": "Analysis of FACIAL expressions of visitors"},
    ],
)
def test_what_meets_the_rules_may_begin(governance: dict[str, str]) -> None:
    assert require_governance(job(**governance)).controller == "tests"


@pytest.mark.parametrize(
    "embed", [{"protection": "raw"}, {"protection": "projected", "projection": "somewhere"}]
)
def test_kept_vectors_demand_a_ground_of_their_own(embed: dict[str, str]) -> None:
    def keeping(**governance: str) -> Config:
        section = {**GOVERNANCE, **governance}
        return Config.model_validate({"governance": section, "embed": embed})

    assert refused_by(keeping()) == {"kept-embeddings"}
    assert refused_by(keeping(special_category_basis="GDPR Art. 9(2)(a)")) == set()


@pytest.mark.parametrize(
    ("jurisdiction", "key", "rule"),
    [
        ("eu", "legal_basis", "gdpr-legal-basis"),
        ("eu", "retention_days", "gdpr-retention"),
        ("eu", "overseer", "eu-overseer"),
        ("eu", "notice_reference", "eu-notice"),
        ("jp", "notice_reference", "jp-notice"),
        ("other", "retention_days", "accountability"),
        ("eu", "purpose", "accountability"),
    ],
)
def test_a_missing_field_is_refused_by_the_rule_that_asks_for_it(
    jurisdiction: str, key: str, rule: str, tmp_path: Path
) -> None:
    section = {**GOVERNANCE, "jurisdiction": jurisdiction}
    del section[key]
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump({"governance": section}))
    with pytest.raises(GateClosed, match=f"governance.{key}: field required") as caught:
        load_config(path)
    assert [finding.rule for finding in caught.value.findings] == [rule]


def test_one_fix_is_said_once_for_all_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("governance: {jurisdiction: other}")
    with pytest.raises(GateClosed) as caught:
        load_config(path)
    assert len(caught.value.findings) == 8
    assert str(caught.value).count("mien governance template") == 1


def test_the_audit_log_outlives_the_rows() -> None:
    days = {
        (jurisdiction, kept): audit_log_days(
            Governance.model_validate(
                {**GOVERNANCE, "jurisdiction": jurisdiction, "retention_days": kept}
            )
        )
        for jurisdiction in JURISDICTIONS
        for kept in (1, 400)
    }
    assert days == {
        ("eu", 1): 183,
        ("eu", 400): 400,
        ("jp", 1): 1,
        ("jp", 400): 400,
        ("other", 1): 1,
        ("other", 400): 400,
    }


def test_rules_and_duties_have_names_sources_and_keys_that_exist() -> None:
    names = [one.name for one in (*RULES, *DUTIES)]
    assert len(names) == len(set(names))
    known = {f"governance.{name}" for name in Governance.model_fields}
    for rule in RULES:
        assert rule.source
        assert rule.fix
        assert {*rule.stated, *rule.mentions} <= known
        assert set(rule.mentions) <= set(rule.stated)
        assert {key for key in rule.when if key.startswith("governance.")} <= known
    for rule in (*RULES, *DUTIES):
        for key, values in rule.when.items():
            if key.startswith("governance."):
                kind = Governance.model_fields[key.split(".")[1]].annotation
                assert all(f"'{value}'" in str(kind) for value in values), (rule.name, key)


@pytest.mark.parametrize("jurisdiction", JURISDICTIONS)
def test_a_template_names_every_key_and_is_refused_until_filled_in(
    jurisdiction: str, tmp_path: Path
) -> None:
    files = write_template(jurisdiction, tmp_path / "new")
    assert {path.name for path in files} == {"governance.yaml", "notice.en.md", "notice.ja.md"}
    text = files[0].read_text()
    assert all(f"{name}: " in text for name in Governance.model_fields)
    assert all(rule.name in text for rule in RULES if rule.name.startswith(jurisdiction))
    with pytest.raises(Refused):
        load_config(files[0])
    choices = {"purpose": "research", "setting": "laboratory", "legal_basis": "consent"}
    lines = [
        f"  {line.split(':')[0].strip()}: {value}"
        if (value := {**choices, "retention_days": "30"}.get(line.split(":")[0].strip()))
        else line
        for line in text.splitlines()
    ]
    files[0].write_text("\n".join(lines))
    with pytest.raises(Refused, match="not stated"):  # the placeholders of free text
        require_governance(load_config(files[0]))
    files[0].write_text("\n".join(lines).replace(PLACEHOLDER, "the analysis of faces"))
    require_governance(load_config(files[0]))
    with pytest.raises(ConfigurationError, match="there already"):
        write_template(jurisdiction, tmp_path / "new")


def test_the_sample_notices_say_what_the_rules_ask() -> None:
    english = (NOTICES / "notice.en.md").read_text()
    japanese = (NOTICES / "notice.ja.md").read_text()
    assert "no legal advice" in english
    assert "emotion recognition" in english
    assert "法的助言ではありません" in japanese
    assert all(word in japanese for word in ("利用目的", "顔", "表情"))


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    ("override", "code", "rule"),
    [
        ("governance.jurisdiction=eu", 0, None),
        ("governance.setting=workplace", 0, None),
        ("governance.jurisdiction=jp", 5, "jp-purpose"),
        ("governance.retention_days=0", 5, "accountability"),
        ("governance=null", 5, "accountability"),
        ("plan.segment_seconds=0", 2, None),
    ],
)
def test_the_check_answers_without_work(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    override: str,
    code: int,
    rule: str | None,
    as_json: bool,
) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump({"governance": GOVERNANCE}))
    options = ["--json"] if as_json else []
    assert mien(monkeypatch, "governance", "check", "-c", str(path), override, *options) == code
    said = capsys.readouterr()
    assert (rule or "") in " ".join(said.err.split())
    if as_json and code != 2:
        answer = json.loads(said.out)
        assert answer["allowed"] is (code == 0)
        assert {one["rule"] for one in answer["refusals"]} == ({rule} if rule else set())
    elif code == 0:
        assert said.out.startswith("allowed")
    assert [one.name for one in tmp_path.iterdir()] == ["job.yaml"]


def test_duties_are_those_of_the_place() -> None:
    assert [duty.name for duty in duties(job(**JP))] == ["requests-answered"]
    work = {**EU, "setting": "workplace", "legal_basis": "legitimate_interests"}
    assert {duty.name for duty in duties(job(**work))} == {
        "audit-log-kept",
        "impact-assessment",
        "workers-informed",
        "interests-weighed",
    }
    assert duties(job()) == []


@pytest.mark.parametrize("command", ["score", "plan", "submit", "crops"])
def test_a_job_that_is_refused_does_nothing(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    section = {**GOVERNANCE, **EU, "setting": "education"}
    (tmp_path / "archive").mkdir()
    path = tmp_path / "job.yaml"
    values = {"source": str(tmp_path / "archive"), "governance": section}
    path.write_text(yaml.safe_dump(values))
    out = tmp_path / ("faces.parquet" if command == "crops" else "store")
    assert mien(monkeypatch, command, "-c", str(path), "--out", str(out)) == 5
    assert "eu-work-education" in " ".join(capsys.readouterr().err.split())
    assert {one.name for one in tmp_path.iterdir()} == {"archive", "job.yaml"}


def test_a_template_goes_to_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mien(monkeypatch, "governance", "template", "--jurisdiction", "jp") == 0
    said = capsys.readouterr()
    assert said.out == template("jp")
    assert yaml.safe_load(said.out)["governance"]["jurisdiction"] == "jp"


def test_the_documentation_has_every_rule_with_its_source() -> None:
    page = (Path(__file__).parents[2] / "docs" / "privacy.md").read_text()
    rows = {line.split(" | ")[0][2:]: line for line in page.splitlines() if line.startswith("| ")}
    assert {rule.name for rule in RULES} <= set(rows)
    for rule in RULES:
        source = rule.source.replace(" (EU) 2024/1689,", "").replace(" (EU) 2016/679,", "")
        source = source.replace(" Japan's Act 57 of 2003,", "").removesuffix("; asked everywhere")
        assert source in rows[rule.name], rule.name
