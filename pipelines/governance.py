"""Governance: the section to fill in, sample notices, and whether a job may begin."""

import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic.fields import FieldInfo

from infra.errors import ConfigurationError, Refused
from pipelines.configuration import load_config
from pipelines.gate import Finding, GateClosed, audit_log_days, duties, findings
from schemas.config import Governance
from schemas.governance_rules import DUTIES, PLACEHOLDER, RULES, Duty, Rule

T = TypeVar("T", Rule, Duty)

NOTICES = Path(__file__).parent / "notices"
SECTION_FILE = "governance.yaml"
_WIDTH = 96
_HEAD = """\
Who asks for this, why, and on what ground. Nothing is scored without it (exit 5): replace each
"{placeholder}", put the section into your job.yaml, then ask `mien governance check -c job.yaml`.
State what is true; every run records it. mien checks that it is stated, not that it is so, and
gives no legal advice.
"""


def template(jurisdiction: str) -> str:
    """The section with a comment on every key: its meaning, its values, the rules that ask for it.

    A run with it is refused until every placeholder is replaced.
    """
    lines = _comment(_HEAD.format(placeholder=PLACEHOLDER))
    lines.append("governance:")
    told: set[str] = set()
    for name, field in Governance.model_fields.items():
        rules = [rule for rule in _possible(RULES, jurisdiction) if _asks(rule, name)]
        lines += ["", *(f"  {line}" for line in _comment(_meaning(field)))]
        for rule in (rule for rule in rules if rule.name not in told):
            told.add(rule.name)
            lines += [f"  {line}" for line in _comment(f"{rule.name} ({rule.source}): {rule.says}")]
        value = jurisdiction if name == "jurisdiction" else f'"{PLACEHOLDER}"'
        always = any(set(rule.when) <= {"governance.jurisdiction"} for rule in rules)
        lines.append(f"  {'' if field.is_required() or always else '# '}{name}: {value}")
    lines += ["", *_comment("Not checked by mien, and asked of you:")]
    for duty in _possible(DUTIES, jurisdiction):
        lines += _comment(f"- {duty.name} ({duty.source}): {duty.says}")
    return "\n".join(lines) + "\n"


def write_template(jurisdiction: str, out: Path) -> list[Path]:
    """Write the section and sample notices in English and Japanese into the folder `out`.

    Raises `ConfigurationError` where one of them is there already, or `out` cannot be written.
    """
    texts = {SECTION_FILE: template(jurisdiction)}
    texts |= {path.name: path.read_text(encoding="utf-8") for path in sorted(NOTICES.glob("*.md"))}
    there = [name for name in texts if (out / name).exists()]
    if there:
        raise ConfigurationError(
            f"{out / there[0]}: is there already, perhaps filled in: name another folder"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (out / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{out}: cannot be written: {error.strerror}") from None
    return [out / name for name in texts]


def check(path: Path | None, overrides: Sequence[str]) -> tuple[dict[str, Any], Refused | None]:
    """Whether the gate lets the job pass: an answer for a machine, and the refusal if it does not.

    Raises `ConfigurationError` where the job is wrong in another section, or cannot be read.
    """
    try:
        cfg = load_config(path, overrides)
    except GateClosed as refusal:
        return _answer(refusal.findings), refusal
    found = findings(cfg)
    days = audit_log_days(cfg.governance) if cfg.governance else None
    return _answer(found, duties(cfg), days), GateClosed(found) if found else None


def _answer(
    found: Sequence[Finding], asked: Sequence[Duty] = (), days: int | None = None
) -> dict[str, Any]:
    return {
        "allowed": not found,
        "refusals": [asdict(one) for one in found],
        "duties": [{"name": d.name, "source": d.source, "says": d.says} for d in asked],
        "audit_log_days": days,
    }


def _possible(all_of: Sequence[T], jurisdiction: str) -> list[T]:
    """The rules or duties that can apply to a job of this jurisdiction."""
    return [
        one
        for one in all_of
        if jurisdiction in one.when.get("governance.jurisdiction", (jurisdiction,))
    ]


def _asks(rule: Rule, name: str) -> bool:
    """Whether the rule is worth a comment at this key: `accountability` asks for all of them."""
    return f"governance.{name}" in rule.stated and bool(rule.when)


def _meaning(field: FieldInfo) -> str:
    choices = ", ".join(_choices(field.annotation))
    return f"{field.description} One of: {choices}." if choices else str(field.description)


def _choices(kind: object) -> list[str]:
    if get_origin(kind) is Literal:
        return [str(value) for value in get_args(kind)]
    parts = get_args(kind) if isinstance(kind, UnionType) else ()
    return [choice for part in parts for choice in _choices(part)]


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(" ".join(text.split()), _WIDTH)]
