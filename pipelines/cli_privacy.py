"""The commands that measure privacy."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipelines.arguments import AsJson, ConfigPath, Overrides, messages
from pipelines.configuration import load_config

privacy = typer.Typer(help="Measure what the anonymizers are worth.", no_args_is_help=True)


@privacy.callback()
def _group() -> None:
    """Measure what the anonymizers are worth."""


def add_commands(app: typer.Typer) -> None:
    """Register the commands with the command line."""
    app.add_typer(privacy, name="privacy")


@privacy.command()
def evaluate(
    identity: Annotated[
        str, typer.Option("--identity", metavar="FACES.PARQUET", help="`image`, `subject`.")
    ],
    expression: Annotated[
        str, typer.Option("--expression", metavar="FACES.PARQUET", help="`image`, `label`.")
    ],
    overrides: Overrides = None,
    anonymizer: Annotated[
        list[str] | None,
        typer.Option("--anonymizer", metavar="NAME:STRENGTH", help="May be repeated."),
    ] = None,
    splits: Annotated[int, typer.Option("--splits", min=1, help="Random splits.")] = 5,
    out: Annotated[Path, typer.Option("--out", help="Folder for the table and plot.")] = Path(
        "privacy"
    ),
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Attack each anonymizer: who is still recognised, and what is left of the expression.

    For example: mien privacy evaluate --identity people.parquet --expression faces.parquet
    --anonymizer blur:6 --anonymizer k-same --out ./privacy

    Attackers know five faces a person and look for five others; the trained ones learn from
    equally anonymized faces. Both files hold raw crops, and stay where they are.
    """
    from pipelines.privacy_evaluation import evaluate_privacy
    from pipelines.privacy_table import print_privacy

    cfg = load_config(config, overrides or [])
    result = evaluate_privacy(cfg, identity, expression, out, messages, anonymizer or (), splits)
    if as_json:
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
    else:
        print_privacy(result, messages)
    messages.print(f"wrote {out}/privacy.json, privacy.csv and privacy.png")
