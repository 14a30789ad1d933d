"""The embedded backbone under disturbances and behind each anonymizer.

    python -m benchmarks.mien_lite --faces VAL.PARQUET

Writes `results/mien_lite.json`, and the page and plot that the model's card points to. The figures
of `benchmarks.recovery` are put on the page too, where they are there.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.machine import RESULTS, described
from infra.offline import disable_telemetry
from operators.core.anonymizers import anonymizers
from pipelines.configuration import config_from
from pipelines.evaluate import evaluate

DOCS = Path(__file__).parents[1] / "docs" / "models"
KEYS = ("n", "accuracy", "uar", "f1_macro", "ece", "accuracy_surest_80_percent", "ci95")


def measure(faces: str, folder: Path, console: Console) -> dict[str, Any]:
    """Plain and disturbed with the default anonymizer; plain with each other one."""
    off = {"tracking": {"enabled": False}}
    whole = evaluate(config_from(off), faces, folder, console, name="zero_shot", robustness=True)
    behind = {}
    for entry in anonymizers():
        cfg = config_from({**off, "privacy": {"anonymizer": entry.name}})
        found = evaluate(cfg, faces, folder / entry.name, console, name="zero_shot")
        behind[found["anonymizer"]] = {key: found[key] for key in ("accuracy", "uar", "ece")}
    return {
        "backbone_sha256": whole["backbone_sha256"],
        "anonymizer": whole["anonymizer"],
        **{key: whole[key] for key in KEYS},
        "robustness": whole["robustness"],
        "behind_anonymizers": behind,
    }


def page(result: dict[str, Any], recovery: dict[str, Any] | None) -> str:
    """The figures as Markdown."""
    lines = [
        "# mien-lite: robustness",
        "",
        "<!-- Written by `python -m benchmarks.mien_lite --faces VAL.PARQUET`; do not edit. -->",
        "",
        f"Zero-shot on FER2013 PublicTest (n = {result['n']:,}), as `mien evaluate --robustness` "
        f"measures it: accuracy {result['accuracy']:.1%}, UAR {result['uar']:.1%} undisturbed. "
        "The disturbance comes before the anonymizer, as the camera does.",
        "",
        "![accuracy under each disturbance](mien-lite-robustness.png)",
        "",
        "| disturbance | mild | middle | strong |",
        "|---|---|---|---|",
    ]
    rows: dict[str, list[str]] = {}
    for row in result["robustness"]:
        name = f"{row['corruption'].replace('_', ' ')} ({row['unit']})"
        rows.setdefault(name, []).append(f"{row['accuracy']:.1%} at {row['strength']:g}")
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]
    lines += ["", "| anonymizer, strength | accuracy | UAR | ECE |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {found['accuracy']:.1%} | {found['uar']:.1%} | {found['ece']:.3f} |"
        for name, found in result["behind_anonymizers"].items()
    ]
    lines += ["", "`solid` leaves nothing to see: every face then gets one and the same label.", ""]
    if recovery:
        lines += [
            "## Through the pipeline",
            "",
            f"`python -m benchmarks.recovery`: {recovery['faces']:,} faces, enlarged to 144 px, "
            "put into frames, coded as video, found, aligned and scored as in a run. "
            f"{recovery['found']:.1%} are found; their accuracy is "
            f"{recovery['accuracy_of_found_through_video']:.1%}, against "
            f"{recovery['accuracy_of_found_as_they_are']:.1%} of the same faces scored as they "
            f"are: {recovery['points_lost']:.1f} points are lost.",
            "",
        ]
    return "\n".join(lines)


def main() -> None:
    disable_telemetry()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mien_lite")
    parser.add_argument("--faces", required=True, help="Parquet with image and label")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(args.faces, Path(folder), Console(stderr=True))
        shutil.copy(Path(folder) / "robustness.png", DOCS / "mien-lite-robustness.png")
    result = {"machine": described(), **figures}
    (RESULTS / "mien_lite.json").write_text(json.dumps(result, indent=2) + "\n")
    found = RESULTS / "recovery.json"
    recovery = json.loads(found.read_text()) if found.is_file() else None
    (DOCS / "mien-lite-robustness.md").write_text(page(result, recovery), encoding="utf-8")


if __name__ == "__main__":
    main()
