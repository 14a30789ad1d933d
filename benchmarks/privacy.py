"""What the anonymizers are worth, for the reports of runs and for docs/privacy.md.

    python -m benchmarks.privacy --identity PEOPLE.PARQUET --expression FACES.PARQUET
    python -m benchmarks.privacy --measured privacy.json    # of `mien privacy evaluate`

Writes `results/privacy.json`, the plot and the table of docs/privacy.md, and the figures that go
into the privacy report of every run.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.machine import RESULTS, described
from infra.offline import disable_telemetry
from pipelines.configuration import config_from
from pipelines.figures_privacy import trade_off_png
from pipelines.privacy_evaluation import VECTOR_NOTE, evaluate_privacy
from pipelines.privacy_report import FIGURES

PAGE = Path(__file__).parents[1] / "docs" / "privacy.md"
BEGIN, END = "<!-- `python -m benchmarks.privacy` writes from here -->", "<!-- to here -->"


def figures(result: dict[str, Any]) -> list[dict[str, Any]]:
    """One row an anonymizer and strength that a run may have; shares, 0 to 1."""
    return [
        {
            "anonymizer": row["name"],
            "strength": row["strength"],
            "unit": row["unit"],
            "people": result["people"],
            "chance": result["chance_top1"],
            "strongest_attacker": row["attacker"],
            "top1": row["top1"],
            "top1_ci95": [row["top1_low"], row["top1_high"]],
            "top5": row["top5"],
            "verification_eer": row["eer"],
            "naive_top1": _naive(result, row),
            "expression_accuracy": row["accuracy"],
            "expression_accuracy_kept": row["accuracy_kept"],
            "expression_accuracy_refitted": row["accuracy_refit"],
            "method": result["method"],
            "backbone_sha256": result["backbone_sha256"],
            "date": result["date"],
        }
        for row in result["strongest"]
        if row["name"] not in VECTOR_NOTE
    ]


def table(result: dict[str, Any]) -> list[str]:
    """The strongest attacker of each setting, as Markdown."""
    lines = [
        "| anonymizer, strength | strongest attacker | top-1 (95 %) | top-5 | EER | naive top-1 "
        "| expression accuracy | kept | refitted |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["strongest"]:
        reach = f"{row['top1']:.1%} ({row['top1_low']:.1%} to {row['top1_high']:.1%})"
        kept = [row[key] for key in ("accuracy", "accuracy_kept", "accuracy_refit")]
        cells = [
            row["name"] if row["name"] in VECTOR_NOTE else f"{row['name']} {row['strength']:g}",
            row["attacker"],
            reach,
            f"{row['top5']:.1%}",
            f"{row['eer']:.1%}",
            f"{_naive(result, row):.1%}",
            *("-" if share is None else f"{share:.1%}" for share in kept),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _naive(result: dict[str, Any], setting: dict[str, Any]) -> float:
    key = ("name", "strength")
    same = [row for row in result["rows"] if all(row[k] == setting[k] for k in key)]
    return max(row["top1"] for row in same if not row["trained"])


def main() -> None:
    disable_telemetry()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.privacy")
    parser.add_argument("--identity")
    parser.add_argument("--expression")
    parser.add_argument("--measured", type=Path)
    given = parser.parse_args()
    if given.measured:
        result = json.loads(given.measured.read_text())
    else:
        cfg, console = config_from({"tracking": {"enabled": False}}), Console(stderr=True)
        with tempfile.TemporaryDirectory() as folder:
            result = evaluate_privacy(cfg, given.identity, given.expression, Path(folder), console)
    whole = {"machine": described(), **result}
    (RESULTS / "privacy.json").write_text(json.dumps(whole, indent=1) + "\n")
    FIGURES.write_text(json.dumps({"figures": figures(result)}, indent=1) + "\n")
    PAGE.with_suffix(".png").write_bytes(trade_off_png(result))
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    text = "\n".join([before + BEGIN, "", *table(result), "", END + rest.split(END)[1]])
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
