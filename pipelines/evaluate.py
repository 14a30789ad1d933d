"""Evaluate: labelled faces through a method exactly as a run scores them; `metrics.json`, plots."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.model_selection import GroupKFold

from infra.errors import ConfigurationError, interruption
from infra.experiments import Trial, log_trial
from operators.backbone import Backbone
from operators.evaluation.corruptions import corrupt, corruptions
from operators.evaluation.metrics import summarise
from operators.methods.artifact import Artifact
from operators.methods.registry import (
    Method,
    MethodEntry,
    MethodSpec,
    Progress,
    method,
    methods,
)
from operators.training.checkpoint import Checkpoint
from pipelines.artifacts import artifact_method, open_artifact
from pipelines.faces import GROUP_COLUMNS, FacesFile, Reader, read_faces
from pipelines.figures_evaluation import confusion_png, reliability_png, robustness_png
from pipelines.fit import fit_faces, open_backbone
from pipelines.progress import StepProgress
from schemas.config import Config
from schemas.tables import LABELS


@dataclass(frozen=True)
class Folds:
    """`column:K`: K parts, no value of the column in two of them."""

    column: str
    count: int

    @classmethod
    def parse(cls, text: str) -> "Folds":
        """Raises `ConfigurationError` for anything but `column:K`."""
        column, _, count = text.partition(":")
        if column not in GROUP_COLUMNS or not count.isdigit() or int(count) < 2:
            raise ConfigurationError(
                f"--folds {text}: write column:K with K of 2 or more and one of the columns "
                f"{', '.join(GROUP_COLUMNS)}, as in subject:5"
            )
        return cls(column, int(count))


def evaluate(
    cfg: Config,
    data: str,
    out: Path,
    console: Console,
    name: str | None = None,
    reference: str | None = None,
    folds: Folds | None = None,
    robustness: bool = False,
) -> dict[str, Any]:
    """Score the labelled faces of `data`, write `metrics.json` and plots to `out`, return it.

    `name` is a method, `reference` an artifact (a path or `models:/name@alias`). With `folds` the
    method is fitted on every part but one, and measured on that one. With `robustness` the faces
    are measured under every registered disturbance too.

    Raises:
        ConfigurationError: names, data or an artifact that do not fit; nothing is scored then.
    """
    need = ("label", folds.column) if folds else ("label",)
    faces = labelled(read_faces(data, need), console)
    backbone = open_backbone(cfg)
    entry, artifact = chosen(cfg, name, reference, folds)
    reader = Reader(cfg, backbone, faces)
    fitted = artifact and artifact.card.get("data", {}).get("anonymizer")
    if fitted and fitted != reader.anonymizer:
        console.print(f"note: fitted on crops made safe by {fitted}, not {reader.anonymizer}")
    with (
        interruption("nothing was written; the same command starts again"),
        StepProgress(console, f"evaluating {entry.name}") as progress,
    ):
        if folds:
            read = by_folds(cfg, entry, reader, folds, progress.step)
        else:
            read = whole(built(cfg, entry, backbone, artifact), entry, reader, progress.step)
        probabilities = read(lambda crops, first: crops)
        labels = faces.labels
        assert labels is not None
        metrics = summarise(probabilities, labels, LABELS, faces.groups)
        if robustness:
            metrics["robustness"] = under_disturbance(read, labels, progress.say)
    metrics |= facts(entry, reader, artifact, folds)
    files = write(out, metrics, probabilities, labels)
    trial = Trial(
        name=f"evaluate {entry.name}",
        params={key: metrics[key] for key in ("method", "backbone", "anonymizer", "data_sha256")},
        metrics={key: value for key, value in metrics.items() if isinstance(value, int | float)},
        files=files,
    )
    if warning := log_trial(cfg.tracking, trial):
        console.print(f"note: {warning}")
    return metrics


Read = Callable[[Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]], NDArray[np.float32]]


def labelled(faces: FacesFile, console: Console) -> FacesFile:
    """The faces that have a label."""
    assert faces.labels is not None
    rows = np.flatnonzero(faces.labels >= 0)
    if len(rows) < len(faces):
        console.print(f"note: {len(faces) - len(rows)} faces without a label are left out")
    return faces.take(rows)


def chosen(
    cfg: Config, name: str | None, reference: str | None, folds: Folds | None
) -> tuple[MethodEntry, Artifact | None]:
    """The method, and its artifact where it is not fitted here."""
    spec = MethodSpec.parse(name or "")
    if spec.artifact and reference:
        raise ConfigurationError("an artifact is given twice: by --method and by --artifact")
    reference = reference or spec.artifact
    if folds and reference:
        raise ConfigurationError("--folds fits by itself: leave the artifact out")
    if not reference and not spec.name:
        raise ConfigurationError("what is to be evaluated? --method NAME or --artifact PATH")
    try:
        artifact = open_artifact(reference, cfg) if reference else None
        found = spec.name or (artifact_method(artifact) if artifact else "")
        fits = reference or ("fitted here" if folds and fittable_here(found) else None)
        return method(MethodSpec(found, fits)), artifact
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def fittable_here(name: str) -> bool:
    """Whether folds fit this method, or take it as it is."""
    return any(entry.name == name and entry.fit is not None for entry in methods())


def built(cfg: Config, entry: MethodEntry, backbone: Backbone, artifact: Artifact | None) -> Method:
    """The method, ready; `ConfigurationError` where the artifact is of something else."""
    try:
        return entry.build(cfg.score, backbone, artifact)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def whole(scorer: Method, entry: MethodEntry, reader: Reader, progress: Progress) -> Read:
    """How to score all faces, disturbed in some way, with one method."""

    def read(disturb: Any) -> NDArray[np.float32]:
        return scorer.score(reader.read(entry.reads, disturb, progress))[:, : len(LABELS)]

    return read


def by_folds(
    cfg: Config, entry: MethodEntry, reader: Reader, folds: Folds, progress: Progress
) -> Read:
    """How to score every face with a method that never saw its person."""
    faces = reader.faces
    names = faces.names(folds.column) or []
    if len(set(names)) < folds.count:
        raise ConfigurationError(
            f"--folds {folds.column}:{folds.count}: the data has {len(set(names))} values of it"
        )
    splitter = GroupKFold(folds.count, shuffle=True, random_state=cfg.fit.seed)
    undisturbed = reader.read(entry.reads, progress=progress) if entry.fit else None
    parts: list[tuple[NDArray[np.int64], Method]] = []
    for train, test in splitter.split(names, groups=names):
        artifact = None
        if undisturbed is not None:
            part, seen = Reader(cfg, reader.backbone, faces.take(train)), undisturbed[train]

            def read_part(seen: NDArray = seen) -> NDArray:
                return seen

            artifact = fit_faces(cfg, entry, part, read_part, progress, Checkpoint())
        parts.append((test, built(cfg, entry, reader.backbone, artifact)))

    def read(disturb: Any) -> NDArray[np.float32]:
        seen = reader.read(entry.reads, disturb, progress)
        out = np.empty((len(faces), len(LABELS)), np.float32)
        for rows, scorer in parts:
            out[rows] = scorer.score(seen[rows])[:, : len(LABELS)]
        return out

    return read


def under_disturbance(
    read: Read, labels: NDArray[np.int64], say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """One row a disturbance and strength: accuracy and UAR."""
    rows = []
    for entry in corruptions():
        for strength in entry.strengths:
            say(f"{entry.name} {strength:g}")

            def disturb(
                crops: NDArray, first: int, name: str = entry.name, strength: float = strength
            ) -> NDArray:
                return corrupt(crops, name, strength, first)

            found = summarise(read(disturb), labels, LABELS)
            rows.append(
                {
                    "corruption": entry.name,
                    "unit": entry.unit,
                    "strength": strength,
                    "accuracy": found["accuracy"],
                    "uar": found["uar"],
                }
            )
    return rows


def facts(
    entry: MethodEntry, reader: Reader, artifact: Artifact | None, folds: Folds | None
) -> dict[str, Any]:
    """What the figures rest on."""
    return {
        "method": entry.name,
        "artifact_sha256": artifact.sha256 if artifact else None,
        "backbone": reader.backbone.name,
        "backbone_sha256": reader.backbone.sha256,
        "anonymizer": "{name} {strength:g}".format(**reader.anonymizer),
        "data_sha256": reader.faces.sha256,
        "folds": f"{folds.column}:{folds.count}" if folds else None,
    }


def write(
    out: Path, metrics: dict[str, Any], probabilities: NDArray, labels: NDArray[np.int64]
) -> list[Path]:
    """`metrics.json`, `confusion.png`, `reliability.png`, and `robustness.png` if measured."""
    out.mkdir(parents=True, exist_ok=True)
    contents = {
        "metrics.json": (json.dumps(metrics, indent=2) + "\n").encode(),
        "confusion.png": confusion_png(metrics["confusion"], metrics["labels"]),
        "reliability.png": reliability_png(probabilities, labels, metrics["ece"]),
    }
    if "robustness" in metrics:
        contents["robustness.png"] = robustness_png(metrics["robustness"], metrics["accuracy"])
    for name, data in contents.items():
        partial = out / f".{name}.new"
        partial.write_bytes(data)
        partial.replace(out / name)
    return [out / name for name in contents]


def print_metrics(metrics: dict[str, Any], console: Console) -> None:
    """The headline and the table a label."""
    low, high = metrics["ci95"]["accuracy"]
    console.print(
        f"{metrics['method']} on {metrics['n']} faces: accuracy {metrics['accuracy']:.1%} "
        f"(95 % interval {low:.1%} to {high:.1%}), UAR {metrics['uar']:.1%}, "
        f"F1 {metrics['f1_macro']:.1%}, ECE {metrics['ece']:.3f}, "
        f"surest 80 % {metrics['accuracy_surest_80_percent']:.1%}",
        soft_wrap=True,
    )
    table = Table("label", "faces", "recall", "precision", "F1")
    for row in metrics["per_class"]:
        shares = ("" if row[key] is None else f"{row[key]:.1%}" for key in _SHARES)
        table.add_row(row["label"], str(row["n"]), *shares)
    console.print(table)
    worst: dict[str, float] = {}
    for row in metrics.get("robustness", []):
        worst[row["corruption"]] = min(row["accuracy"], worst.get(row["corruption"], 1.0))
    if worst:
        text = ", ".join(f"{name} {value:.1%}" for name, value in worst.items())
        console.print(f"accuracy at the worst strength: {text}", soft_wrap=True)


_SHARES = ("recall", "precision", "f1")
