"""What a privacy evaluation leaves: `privacy.json`, `privacy.csv`, `privacy.png`, a table."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipelines.figures_privacy import trade_off_png

Rows = list[dict[str, Any]]

COLUMNS = (
    "name", "strength", "unit", "attacker", "trained", "top1", "top1_low", "top1_high", "top5",
    "eer", "accuracy", "accuracy_kept", "accuracy_refit",
)  # fmt: skip


def strongest(rows: Rows) -> Rows:
    """Of each setting, the row of the attacker that recognises most."""
    best: dict[tuple[str, float], dict[str, Any]] = {}
    for row in rows:
        key = (row["name"], row["strength"])
        if key not in best or row["top1"] > best[key]["top1"]:
            best[key] = row
    return list(best.values())


def write(out: Path, result: dict[str, Any]) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(result["rows"])
    contents = {
        "privacy.json": (json.dumps(result, indent=2) + "\n").encode(),
        "privacy.csv": text.getvalue().encode(),
        "privacy.png": trade_off_png(result),
    }
    for name, data in contents.items():
        partial = out / f".{name}.new"
        partial.write_bytes(data)
        partial.replace(out / name)
    return [out / name for name in contents]


def print_privacy(result: dict[str, Any], console: Console) -> None:
    """One line a setting: its strongest attacker against what is left of the expression."""
    table = Table("anonymizer", "strongest attacker", "top-1", "95 %", "top-5", "EER", "accuracy")
    for row in result["strongest"]:
        accuracy = "" if row["accuracy"] is None else f"{row['accuracy']:.1%}"
        table.add_row(
            f"{row['name']} {row['strength']:g}",
            row["attacker"],
            f"{row['top1']:.1%}",
            f"{row['top1_low']:.1%} to {row['top1_high']:.1%}",
            f"{row['top5']:.1%}",
            f"{row['eer']:.1%}",
            accuracy,
        )
    console.print(table)
    console.print(f"chance: {result['chance_top1']:.1%} of {result['people']} people")
