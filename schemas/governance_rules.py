"""The rules that a run must meet before any work, each with its source. Data; no legal advice.

A rule applies where every key of `when` has one of the values given for it, and is met where every
key of `stated` is stated and every key of `mentions` matches its pattern. Keys are those of the
resolved configuration. `pipelines.gate` evaluates them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

AI_ACT = "AI Act, (EU) 2024/1689"
GDPR = "GDPR, (EU) 2016/679"
APPI = "APPI, Japan's Act 57 of 2003"

#: A value that begins so was never filled in.
PLACEHOLDER = "CHANGE ME"
#: What a Japanese statement of purpose must name; whole words, so that `interface` does not count.
FACE = r"\bfac(e|es|ial)\b|顔|表情|容貌"
#: Days for which an audit log must be kept at least, by jurisdiction: AI Act, Art. 26(6).
AUDIT_LOG_DAYS: Mapping[str, int] = {"eu": 183}

_EU = {"governance.jurisdiction": ("eu",)}
_JP = {"governance.jurisdiction": ("jp",)}
_FREE_TEXT = ("controller", "operator", "notice_reference", "overseer")
_CHOICES = ("purpose", "setting", "jurisdiction", "legal_basis", "retention_days")


@dataclass(frozen=True)
class Rule:
    """Something that refuses a run (exit 5)."""

    name: str
    source: str
    says: str
    """What the source demands, in a sentence without its subject's name."""
    fix: str
    when: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stated: tuple[str, ...] = ()
    mentions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Duty:
    """Something that mien cannot check: it is said, and left to the controller."""

    name: str
    source: str
    says: str
    when: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


RULES: tuple[Rule, ...] = (
    Rule(
        name="eu-work-education",
        source=f"{AI_ACT}, Art. 5(1)(f)",
        says="emotions of people at work or in education must not be inferred, except for "
        "medical or safety reasons",
        fix="do not run it there; or, where such a reason is true, state governance.exception "
        "(medical, safety) and governance.exception_reason",
        when={**_EU, "governance.setting": ("workplace", "education")},
        stated=("governance.exception", "governance.exception_reason"),
    ),
    Rule(
        name="eu-notice",
        source=f"{AI_ACT}, Art. 50(3); {GDPR}, Art. 13 and 14",
        says="people exposed to emotion recognition must be told of it",
        fix="tell them (`mien governance template` has a sample notice) and state where in "
        "governance.notice_reference",
        when=_EU,
        stated=("governance.notice_reference",),
    ),
    Rule(
        name="eu-overseer",
        source=f"{AI_ACT}, Art. 26(2) with Annex III 1(c)",
        says="a person with competence, training and authority must oversee the use",
        fix="name the person who can stop it in governance.overseer",
        when=_EU,
        stated=("governance.overseer",),
    ),
    Rule(
        name="gdpr-legal-basis",
        source=f"{GDPR}, Art. 6(1)",
        says="personal data may be processed on one of six grounds only",
        fix="state which in governance.legal_basis",
        when=_EU,
        stated=("governance.legal_basis",),
    ),
    Rule(
        name="gdpr-retention",
        source=f"{GDPR}, Art. 5(1)(e)",
        says="personal data must be kept no longer than its purpose needs",
        fix="state a whole number of days, 1 or more, in governance.retention_days",
        when=_EU,
        stated=("governance.retention_days",),
    ),
    Rule(
        name="jp-purpose",
        source=f"{APPI}, Art. 17(1); PPC guidelines, Q&A 1-14 and 1-16",
        says="the purpose must be specific enough for people to expect what is done, the analysis "
        "of faces included",
        fix="state the purpose in the words of your notice, naming the face analysis (顔, 表情, "
        "face, facial), in governance.purpose_statement",
        when=_JP,
        stated=("governance.purpose_statement",),
        mentions={"governance.purpose_statement": FACE},
    ),
    Rule(
        name="jp-notice",
        source=f"{APPI}, Art. 21(1)",
        says="the purpose must be notified to people or published",
        fix="notify or publish it and state where in governance.notice_reference",
        when=_JP,
        stated=("governance.notice_reference",),
    ),
    Rule(
        name="kept-embeddings",
        source=f"{GDPR}, Art. 9(2); asked everywhere",
        says="vectors from which a person could be told apart are biometric data, a special "
        "category with grounds of its own",
        fix="leave embed.protection at drop; or state the ground in "
        "governance.special_category_basis",
        when={"embed.protection": ("projected", "raw")},
        stated=("governance.special_category_basis",),
    ),
    Rule(
        name="accountability",
        source=f"{GDPR}, Art. 5(2) and 30(1); asked everywhere",
        says="who processes what, why, for how long and on what ground must be on record",
        fix="state it; `mien governance template --jurisdiction eu|jp|other` writes the section",
        stated=tuple(f"governance.{name}" for name in (*_FREE_TEXT, *_CHOICES)),
    ),
)

DUTIES: tuple[Duty, ...] = (
    Duty(
        name="audit-log-kept",
        source=f"{AI_ACT}, Art. 26(6)",
        says="keep the store's audit/ folder for six months or more, also after the rows have "
        "been erased; mien never deletes an event",
        when=_EU,
    ),
    Duty(
        name="impact-assessment",
        source=f"{GDPR}, Art. 35",
        says="assess the impact before you begin: a run's privacy report ends with an annex for it",
        when=_EU,
    ),
    Duty(
        name="workers-informed",
        source=f"{AI_ACT}, Art. 26(7)",
        says="tell workers and their representatives before such a system is used at work",
        when={**_EU, "governance.setting": ("workplace",)},
    ),
    Duty(
        name="interests-weighed",
        source=f"{GDPR}, Art. 6(1)(f)",
        says="write down how your interests were weighed against those of the people filmed",
        when={**_EU, "governance.legal_basis": ("legitimate_interests",)},
    ),
    Duty(
        name="requests-answered",
        source=f"{APPI}, Art. 32 and 33",
        says="publish where people can ask for disclosure, correction or erasure, and answer them",
        when=_JP,
    ),
)
