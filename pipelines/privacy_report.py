"""What a run did for the privacy of the people filmed: as JSON, and as a page to file.

It rests on the run's record alone: no uri, no id of a video, no row is in it.
"""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

import operators
from infra.runs import RunRecord
from operators.anonymize import resolved
from pipelines.configuration import config_from
from pipelines.gate import audit_log_days, duties
from schemas.config import Config, Privacy

#: What `mien privacy evaluate` measured of the anonymizers, where the package has it: a list
#: `figures` of objects, each with `anonymizer` and `strength`.
FIGURES = Path(operators.__file__).parent / "anonymizer_figures.json"

_ASSURED = (
    "none: raw pixels stay in the memory of the process that decodes; what waits between processes "
    "is anonymized, in memory; a run does not begin where Ray would put it on a disk"
)
_NOT_ASSURED = (
    "not assured: privacy.strict is off, so that anonymized crops may have been spilled to a disk"
)
_DATA_FLOW = """\
1. Ranges of a video's bytes are read by the process that decodes it. It has no network where the
   kernel allows, no credentials, and leaves no core dump. The video is neither copied nor changed.
2. {made_safe}
3. An image encoder turns each crop into a vector, a scoring method turns that into probabilities
   of apparent expressions. The crops end there. Vectors are {vectors}.
4. Tracks join one person's faces by motion inside one video. {found_again}
5. What stays: times, boxes, quality measures and scores{and_vectors}, in Parquet tables; the name
   of each video's file, in the table `videos`; counts and this page, in the run's record and in
   MLflow; events, in the audit log.
"""
_MADE_SAFE = (
    "Faces are found, aligned and made safe in that process ({anonymizer}). Raw pixels never leave "
    "it."
)
_NOT_MADE_SAFE = (
    "Faces are found and aligned in that process and not made safe (none): encoder and scoring run "
    "in it too. Raw pixels never leave it."
)
_NOT_FOUND_AGAIN = "No vector of identity is made, so\n   nobody can be found in another video."
_FOUND_AGAIN = (
    "The vectors that are kept were\n   not made to tell people apart, and do: who has them can "
    "find a person in other videos."
)
_RISKS = (
    (
        "A person is recognised in what is stored",
        "no face is stored; crops are made safe by {anonymizer}, re-identification {measured}; "
        "vectors are {vectors}",
        "boxes and times point into the original video: who has it can look",
    ),
    (
        "A score is taken for what a person feels",
        "columns are named and documented as apparent expressions; low confidence is marked "
        "`abstained`",
        "readers of a report may still do so",
    ),
    (
        "Scores differ in quality between groups of people",
        "the model's card says on what it was trained and measured",
        "not measured on your recordings",
    ),
    (
        "Results are used for another purpose",
        "purpose, setting and ground are recorded with every run, in a log that shows tampering",
        "whoever can read the tables can use them",
    ),
    (
        "Data is kept too long",
        "retention_days is {retention_days}; `mien expire` applies it",
        "the original videos are not mien's to delete",
    ),
    (
        "The data is stolen",
        "ids are keyed hashes; no row is in a log",
        "access to the store, its key and its backups is yours to guard",
    ),
)


def privacy_facts(record: RunRecord) -> dict[str, Any]:
    """The report for a machine. `governance` is null for a record that has none."""
    cfg = config_from(yaml.safe_load(record.config_yaml) or {})
    entry, strength = resolved(cfg.privacy)
    return {
        "run_id": record.run_id,
        "state": str(record.state),
        "started": record.started.isoformat(),
        "ended": record.ended.isoformat() if record.ended else None,
        "counts": {name: record.counts.get(name, 0) for name in ("videos", "frames", "faces")},
        "anonymizer": {
            "name": entry.name,
            "strength": strength,
            "unit": entry.unit,
            "summary": entry.summary,
            "measured": measured(cfg.privacy),
        },
        "pixels_at_rest": "none" if cfg.privacy.strict else "not assured",
        "pixels_at_rest_because": _ASSURED if cfg.privacy.strict else _NOT_ASSURED,
        "vectors_kept": cfg.embed.protection,
        "governance": cfg.governance.model_dump(mode="json") if cfg.governance else None,
        "duties": [duty.name for duty in duties(cfg)],
        **_dates(record, cfg),
        "audit_head": record.audit_head,
        "hashes": record.hashes,
    }


def measured(cfg: Privacy) -> dict[str, Any] | None:
    """What was measured of this anonymizer at this strength; None where nothing was."""
    if not FIGURES.exists():
        return None
    entry, strength = resolved(cfg)
    for row in json.loads(FIGURES.read_text(encoding="utf-8"))["figures"]:
        if (row["anonymizer"], row["strength"]) == (entry.name, strength):
            return row
    return None


def privacy_markdown(facts: dict[str, Any]) -> str:
    """The report as a page, with an annex for an impact assessment."""
    anonymizer = facts["anonymizer"]
    strength = f" {anonymizer['strength']:g} {anonymizer['unit']}"
    name = anonymizer["name"] + (strength if anonymizer["unit"] != "-" else "")
    governance = facts["governance"] or {}
    kept = facts["vectors_kept"] != "drop"
    made_safe = _NOT_MADE_SAFE if name == "none" else _MADE_SAFE
    words = {
        "anonymizer": name,
        "made_safe": made_safe.format(anonymizer=name),
        "measured": "as measured above" if anonymizer["measured"] else "not measured",
        "vectors": _vectors(facts["vectors_kept"]),
        "and_vectors": ", and vectors of faces" if kept else "",
        "found_again": _FOUND_AGAIN if kept else _NOT_FOUND_AGAIN,
        "retention_days": governance.get("retention_days", "not stated"),
    }
    run = [
        ("run", facts["run_id"]),
        ("state", facts["state"]),
        ("began", facts["started"]),
        ("ended", facts["ended"]),
        *facts["counts"].items(),
        ("anonymizer", f"{name}: {anonymizer['summary']}"),
        ("pixels at rest", facts["pixels_at_rest_because"]),
        ("vectors kept", words["vectors"]),
        ("rows due for deletion", facts["rows_due"]),
        ("audit log kept until at least", facts["audit_log_until"]),
        ("head of the audit log", facts["audit_head"]),
    ]
    return "\n".join(
        [
            f"# Privacy report of run {facts['run_id']}",
            "",
            "Written by mien from the run's own record. It is no legal advice.",
            "",
            *_table(("what", "value"), run),
            "## What the anonymizer was measured to do",
            "",
            *_figures(anonymizer["measured"]),
            "## Governance, as stated",
            "",
            *_table(("key", "value"), [(key, _shown(v)) for key, v in governance.items()]),
            "## Annex: for a data protection impact assessment",
            "",
            "What mien knows of the processing, for GDPR Art. 35(7). Necessity, proportionality "
            "and the views of the people filmed are the controller's to write.",
            "",
            "### Data flow",
            "",
            _DATA_FLOW.format(**words),
            "### Risks and measures",
            "",
            *_table(
                ("risk", "what mien does", "what is left"),
                [tuple(cell.format(**words) for cell in row) for row in _RISKS],
            ),
            "### Who decides",
            "",
            *_table(("who", "name"), _deciders(governance)),
            "Approved by, on: ______________________",
            "",
        ]
    )


def report_files(record: RunRecord) -> dict[str, bytes]:
    """The report by what its files' names end in."""
    facts = privacy_facts(record)
    return {
        "privacy.json": json.dumps(facts, indent=1, ensure_ascii=False).encode(),
        "privacy.md": privacy_markdown(facts).encode(),
    }


def _dates(record: RunRecord, cfg: Config) -> dict[str, str | None]:
    """When the rows are due for deletion, and until when the audit log is to be kept."""
    if cfg.governance is None or record.ended is None:
        return {"rows_due": None, "audit_log_until": None}
    ended = record.ended.date()
    rows_due = ended + timedelta(days=cfg.governance.retention_days)
    log = ended + timedelta(days=audit_log_days(cfg.governance))
    return {"rows_due": rows_due.isoformat(), "audit_log_until": log.isoformat()}


def _vectors(kept: str) -> str:
    return "not kept" if kept == "drop" else f"kept ({kept}): biometric data"


def _figures(row: dict[str, Any] | None) -> list[str]:
    if row is None:
        return ["Not measured at this strength. `mien privacy evaluate` measures it.", ""]
    numbers = [(key, _shown(value)) for key, value in row.items() if key != "anonymizer"]
    return _table(("figure", "value"), numbers)


def _deciders(governance: dict[str, Any]) -> list[tuple[str, object]]:
    return [
        ("decides why and how (controller)", governance.get("controller")),
        ("runs it for the controller (operator)", governance.get("operator")),
        ("can stop it (overseer)", governance.get("overseer")),
    ]


def _table(heads: tuple[str, ...], rows: list[Any]) -> list[str]:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return [*(f"| {' | '.join(map(_cell, line))} |" for line in lines), ""]


def _cell(value: object) -> str:
    return "not stated" if value is None else " ".join(str(value).replace("|", "\\|").split())


def _shown(value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
