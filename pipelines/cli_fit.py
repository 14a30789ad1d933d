"""The commands for researchers: crops to label, fit a method, evaluate one."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from operators.methods.identity_projection import IDENTITY_PROJECTION
from pipelines.arguments import (
    Arguments,
    AsJson,
    ConfigPath,
    Overrides,
    job_config,
    messages,
    split_arguments,
)
from pipelines.configuration import load_config

DataPath = Annotated[
    str, typer.Option("--data", metavar="FACES.PARQUET", help="Faces: `image`, `label`, ...")
]


def add_commands(app: typer.Typer) -> None:
    """Register the commands with the command line."""
    for command in (crops, fit, evaluate):
        app.command()(command)


def crops(
    arguments: Arguments = None,
    out: Annotated[Path, typer.Option("--out", help="The file to write.")] = Path("faces.parquet"),
    sample: Annotated[
        int | None, typer.Option(min=1, help="N faces, spread evenly over the whole source.")
    ] = None,
    config: ConfigPath = None,
) -> None:
    """Write anonymized crops of the faces in SOURCE, to label and to fit on.

    Fill the column `label` (and `subject`, if the same person occurs in several clips). Faces of
    one track share a `clip_id`.

    For example: mien crops ./archive --out faces.parquet --sample 2000 -c job.yaml
    """
    from pipelines.crops import write_crops

    source, overrides = split_arguments(arguments)
    cfg = job_config(config, source, None, overrides)
    faces, broken = write_crops(cfg, out, sample, messages)
    messages.print(f"wrote {faces} faces to {out}")
    if broken:
        messages.print(f"note: {broken} spans could not be read to the end: exit code 3")
        raise typer.Exit(3)


def fit(
    method: Annotated[
        str,
        typer.Argument(
            metavar="METHOD", help="`mien methods` lists them; or `identity_projection`."
        ),
    ],
    data: DataPath,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option("--out", help="The artifact's folder.")] = Path("artifact"),
    config: ConfigPath = None,
) -> None:
    """Fit METHOD on faces and write its artifact: safetensors and a card, no pickle.

    Interrupted, the same command goes on from its last checkpoint. The run and the model go to
    MLflow: tracking.uri, MLFLOW_TRACKING_URI, or ./mlflow.db.

    For example: mien fit exp_clip --data faces.parquet --out ./exp_clip fit.exp_clip.epochs=20

    `identity_projection` is no method: it learns, from faces with `subject`, what tells people
    apart, for embed.protection=projected to take out of the vectors that a run keeps.
    """
    from pipelines.fit import fit as run

    artifact = run(load_config(config, overrides or []), method, data, out, messages)
    card = artifact.card
    teacher = card.get("teacher", {})
    if teacher.get("supervised"):
        messages.print(f"note: {teacher['captions']}", soft_wrap=True)
    messages.print(f"wrote {out}: {_what_next(method, out, card)}", soft_wrap=True)


def _what_next(method: str, out: Path, card: Mapping[str, Any]) -> str:
    if method != IDENTITY_PROJECTION.name:
        return (
            f"score with score.methods=\\[{method}@{out}], measure with "
            f"`mien evaluate --artifact {out} --data ...`"
        )
    held = card["held_out"]
    measured = (
        f"of {held['people']} people who were held out, who learns from such vectors recognises "
        f"{held['recognised_projected']:.0%} ({held['recognised_raw']:.0%} in raw ones, "
        f"{held['chance']:.0%} by chance)"
        if "chance" in held
        else "too few people were held out to measure it: raise fit.held_out"
    )
    return f"keep vectors with embed.protection=projected embed.projection={out}; {measured}"


def evaluate(
    data: DataPath,
    overrides: Overrides = None,
    method: Annotated[
        str | None, typer.Option("--method", help="A method, `name` or `name@artifact`.")
    ] = None,
    artifact: Annotated[
        str | None, typer.Option("--artifact", help="A folder, or models:/name@alias.")
    ] = None,
    folds: Annotated[
        str | None,
        typer.Option("--folds", metavar="COLUMN:K", help="Fit on K-1 parts, measure the other."),
    ] = None,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Measure under light, blur, noise, masks, ...")
    ] = False,
    out: Annotated[Path, typer.Option("--out", help="Folder for metrics.json and plots.")] = Path(
        "evaluation"
    ),
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Measure a method on labelled faces, exactly as `mien score` would score them.

    For example: mien evaluate --data faces.parquet --method zero_shot --robustness --out ./e

    `--folds subject:5` fits the method on every four fifths of the people and measures it on the
    rest. Intervals are drawn over people where the data names them.
    """
    from pipelines.evaluate import Folds, print_metrics
    from pipelines.evaluate import evaluate as run

    cfg = load_config(config, overrides or [])
    parts = Folds.parse(folds) if folds else None
    metrics = run(cfg, data, out, messages, method, artifact, parts, robustness)
    if as_json:
        sys.stdout.write(json.dumps(metrics, indent=2) + "\n")
    else:
        print_metrics(metrics, messages)
    messages.print(f"wrote {out}/metrics.json and its plots")
