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

from infra.errors import ConfigurationError
from infra.experiments import Trial, log_trial
from operators.anonymize import resolved
from operators.backbone import Backbone
from operators.evaluation.corruptions import corrupt, corruptions
from operators.evaluation.metrics import summarise
from operators.methods.artifact import Artifact
from operators.methods.registry import Method, MethodEntry, MethodSpec, Progress, methods
from operators.training.checkpoint import Checkpoint
from pipelines.artifacts import artifact_method, open_artifact
from pipelines.faces import FacesFile, Reader, read_faces
from pipelines.figures_evaluation import confusion_png, reliability_png, robustness_png
from pipelines.fit import fit_faces, open_backbone
from pipelines.progress import StepProgress
from schemas.config import Config
from schemas.tables import LABELS

#: Who a face is of, in the order of preference: intervals and folds go by people.
GROUP_COLUMNS = ("subject", "session_id", "clip_id")


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
    reader = Reader(cfg, backbone)
    with StepProgress(console, f"evaluating {entry.name}") as progress:
        if folds:
            read = by_folds(cfg, entry, backbone, faces, folds, progress.step)
        else:
            method = built(cfg, entry, backbone, artifact)
            read = whole(method, entry, reader, faces, progress.step)
        probabilities = read(lambda crops, first: crops)
        labels = faces.labels
        assert labels is not None
        metrics = summarise(probabilities, labels, LABELS, groups(faces))
        if robustness:
            metrics["robustness"] = under_disturbance(read, labels, progress.say)
    metrics |= facts(cfg, entry, backbone, artifact, faces, folds)
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
    if name and "@" in name:
        spec = MethodSpec.parse(name)
        name, reference = spec.name, spec.artifact
    try:
        artifact = open_artifact(reference, cfg) if reference else None
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    name = name or (artifact_method(artifact) if artifact else None)
    known = {entry.name: entry for entry in methods()}
    if name not in known:
        asked = f"unknown method {name!r}" if name else "name --method or --artifact"
        raise ConfigurationError(f"{asked}; known methods: {', '.join(known)}")
    entry = known[name]
    if folds and artifact:
        raise ConfigurationError("--folds fits by itself: leave --artifact out")
    if entry.needs_artifact and not artifact and not folds:
        raise ConfigurationError(
            f"{name} needs an artifact: --artifact PATH, made by `mien fit {name}`, or --folds"
        )
    return entry, artifact


def built(cfg: Config, entry: MethodEntry, backbone: Backbone, artifact: Artifact | None) -> Method:
    """The method, ready; `ConfigurationError` where the artifact is of something else."""
    try:
        return entry.build(cfg.score, backbone, artifact)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def whole(
    method: Method, entry: MethodEntry, reader: Reader, faces: FacesFile, progress: Progress
) -> Read:
    """How to score all faces, disturbed in some way, with one method."""

    def read(disturb: Any) -> NDArray[np.float32]:
        return method.score(reader.read(faces, entry.reads, disturb, progress))[:, : len(LABELS)]

    return read


def by_folds(
    cfg: Config,
    entry: MethodEntry,
    backbone: Backbone,
    faces: FacesFile,
    folds: Folds,
    progress: Progress,
) -> Read:
    """How to score every face with a method that never saw its person."""
    names = faces.names(folds.column) or []
    if len(set(names)) < folds.count:
        raise ConfigurationError(
            f"--folds {folds.column}:{folds.count}: the data has {len(set(names))} values of it"
        )
    reader = Reader(cfg, backbone)
    splitter = GroupKFold(folds.count, shuffle=True, random_state=cfg.fit.seed)
    parts: list[tuple[NDArray[np.int64], Method]] = []
    for train, test in splitter.split(names, groups=names):
        artifact = None
        if entry.fit is not None:
            part = faces.take(train)
            artifact = fit_faces(cfg, entry, backbone, part, progress, Checkpoint())
        parts.append((test, built(cfg, entry, backbone, artifact)))

    def read(disturb: Any) -> NDArray[np.float32]:
        seen = reader.read(faces, entry.reads, disturb, progress)
        out = np.empty((len(faces), len(LABELS)), np.float32)
        for rows, method in parts:
            out[rows] = method.score(seen[rows])[:, : len(LABELS)]
        return out

    return read


def groups(faces: FacesFile) -> list[str] | None:
    """Who the faces are of, as far as the file says."""
    return next((names for column in GROUP_COLUMNS if (names := faces.names(column))), None)


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
    cfg: Config,
    entry: MethodEntry,
    backbone: Backbone,
    artifact: Artifact | None,
    faces: FacesFile,
    folds: Folds | None,
) -> dict[str, Any]:
    """What the figures rest on."""
    anonymizer, strength = resolved(cfg.privacy)
    return {
        "method": entry.name,
        "artifact_sha256": artifact.sha256 if artifact else None,
        "backbone": backbone.name,
        "backbone_sha256": backbone.sha256,
        "anonymizer": f"{anonymizer.name} {strength:g}",
        "data_sha256": faces.sha256,
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
