"""The governance gate: no work before the rules are met. Pure evaluation of `governance_rules`."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from infra.errors import Refused
from schemas.config import Config, Governance
from schemas.governance_rules import AUDIT_LOG_DAYS, DUTIES, PLACEHOLDER, RULES, Duty, Rule

SECTION = "governance"


@dataclass(frozen=True)
class Finding:
    """Why a run is refused: what is wrong, by which rule, and what to do."""

    rule: str
    source: str
    problem: str
    fix: str

    def __str__(self) -> str:
        return f"{self.problem} [{self.rule}: {self.source}]: {self.fix}"


class GateClosed(Refused):
    """The gate's answer, with its reasons one by one."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        by_rule: dict[str, Finding] = {}
        for one in self.findings:  # the fix once a rule, whatever it found
            before = by_rule.get(one.rule)
            problem = f"{before.problem}; {one.problem}" if before else one.problem
            by_rule[one.rule] = replace(one, problem=problem)
        super().__init__("; ".join(map(str, by_rule.values())))


def require_governance(cfg: Config) -> Governance:
    """The section of a run that may begin. Raises `GateClosed` (exit 5) for any other."""
    found = findings(cfg)
    if found or cfg.governance is None:
        raise GateClosed(found)
    return cfg.governance


def findings(cfg: Config) -> list[Finding]:
    """Every rule that `cfg` does not meet; none where a run may begin."""
    if cfg.governance is None:
        required = [name for name, info in Governance.model_fields.items() if info.is_required()]
        problem = f"no governance section in the configuration: state {', '.join(required)}"
        return [_finding(_last_resort(), problem)]
    facts = flat(cfg.model_dump(mode="json"))
    applying = [rule for rule in RULES if _applies(rule.when, facts)]
    found = []
    told: set[str] = set()
    for rule in applying:
        missing = [key for key in rule.stated if not _stated(facts.get(key)) and key not in told]
        told.update(missing)
        if missing:
            found.append(_finding(rule, f"{' and '.join(missing)} not stated: {rule.says}"))
        else:
            found += [
                _finding(rule, f"{key} does not say so: {rule.says}")
                for key, pattern in rule.mentions.items()
                if key not in told and not re.search(pattern, str(facts[key]), re.IGNORECASE)
            ]
    return found


def bad_value(key: str, problem: str, values: Mapping[str, Any]) -> Finding:
    """What is wrong at `key` of the section, by the first rule that asks for it.

    `values` is the configuration as it was read, before validation.
    """
    facts = flat(values)
    asking = [rule for rule in RULES if key in rule.stated and _applies(rule.when, facts)]
    return _finding((asking or [_last_resort()])[0], problem)


def duties(cfg: Config) -> list[Duty]:
    """What the rules ask beyond what can be checked here."""
    facts = flat(cfg.model_dump(mode="json"))
    return [duty for duty in DUTIES if _applies(duty.when, facts)]


def audit_log_days(governance: Governance) -> int:
    """For how many days after its newest event the audit log must be kept at least."""
    return max(governance.retention_days, AUDIT_LOG_DAYS.get(governance.jurisdiction, 0))


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration by dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _applies(when: Mapping[str, tuple[str, ...]], facts: Mapping[str, Any]) -> bool:
    return all(facts.get(key) in values for key, values in when.items())


def _stated(value: object) -> bool:
    text = str(value).strip()
    return value is not None and bool(text) and not text.upper().startswith(PLACEHOLDER)


def _finding(rule: Rule, problem: str) -> Finding:
    return Finding(rule.name, rule.source, problem, rule.fix)


def _last_resort() -> Rule:
    return next(rule for rule in RULES if not rule.when)
