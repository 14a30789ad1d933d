"""Fit: faces with what is known of them in, a method's artifact out."""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from infra.errors import ConfigurationError, interruption
from infra.experiments import Model, Trial, log_trial
from operators.backbone import Backbone, BackboneError, load_backbone
from operators.methods.artifact import Artifact
from operators.methods.identity_projection import IDENTITY_PROJECTION
from operators.methods.registry import FitData, Fittable, Progress, Reads, methods
from operators.training.checkpoint import Checkpoint
from pipelines.faces import Reader, read_faces
from pipelines.progress import StepProgress
from schemas.config import Config
from schemas.tables import LABELS

CHECKPOINT = "checkpoint.pt"
PACKAGES = ("mien", "torch", "open_clip_torch", "numpy")


def fit(cfg: Config, name: str, data: str, out: Path, console: Console) -> Artifact:
    """Fit `name` on the faces in `data`, write its artifact to `out`, log the run to MLflow.

    Interrupted, the same call goes on from the last checkpoint in `out`.

    Raises:
        ConfigurationError: unknown method, one without a fit, or data it cannot learn from;
            nothing is trained then.
    """
    entry = fittable(name)
    faces = read_faces(data)
    backbone = open_backbone(cfg)
    console.print(f"fitting {name} on {len(faces)} faces, backbone {backbone.name}")
    checkpoint = Checkpoint(out / CHECKPOINT)
    reader = Reader(cfg, backbone, faces)
    with (
        interruption("the same command goes on from its last checkpoint"),
        StepProgress(console, f"fitting {name}") as progress,
    ):

        def read() -> NDArray:
            return reader.read(entry.reads, progress=progress.step)

        artifact = fit_faces(cfg, entry, reader, read, progress.step, checkpoint)
    artifact.save(out)
    checkpoint.discard()
    trial = Trial(
        name=f"fit {name}",
        params={
            "method": name,
            "fit": cfg.fit.model_dump(mode="json", include={"seed", "held_out", name}),
            "backbone": backbone.name,
            "data_sha256": faces.sha256,
            "artifact_sha256": artifact.sha256,
        },
        metrics=_numbers(artifact.card.get("held_out", {})),
        curves={"loss": artifact.card.get("loss_curve", [])},
        files=[out / "card.json"],
        model=Model(out, f"mien-{name}", *_input(entry, backbone), _outputs(entry, backbone)),
    )
    if warning := log_trial(cfg.tracking, trial):
        console.print(f"note: {warning}")
    return artifact


def fittable(name: str) -> Fittable:
    """What is to be fitted; `ConfigurationError` if it is unknown or has nothing to fit."""
    known: dict[str, Fittable] = {entry.name: entry for entry in methods()}
    known[IDENTITY_PROJECTION.name] = IDENTITY_PROJECTION
    if name not in known:
        raise ConfigurationError(f"unknown method {name!r}; known: {', '.join(known)}")
    if known[name].fit is None:
        raise ConfigurationError(f"{name} has nothing to fit: score or evaluate with it as it is")
    return known[name]


def open_backbone(cfg: Config) -> Backbone:
    """The configured backbone; `ConfigurationError` if it cannot be used."""
    try:
        return load_backbone(cfg.embed.backbone)
    except BackboneError as error:
        raise ConfigurationError(str(error)) from None


def fit_faces(
    cfg: Config,
    entry: Fittable,
    reader: Reader,
    read: Callable[[], NDArray],
    progress: Progress,
    checkpoint: Checkpoint,
) -> Artifact:
    """Fit one method on a reader's faces, and say on its card what they were.

    `read` gives what the method reads of them.
    """
    assert entry.fit is not None
    faces, backbone = reader.faces, reader.backbone
    data = FitData(
        count=len(faces),
        fingerprint=reader.fingerprint,
        faces=read,
        crops=reader.crops,
        labels=faces.labels,
        groups=faces.groups,
        captions=faces.names("caption"),
        teacher=faces.teacher,
        people=faces.names("subject"),
    )
    try:
        artifact = entry.fit(cfg.fit, backbone, data, progress, checkpoint)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    facts = {
        "data": {
            "sha256": faces.sha256,
            "faces": len(faces),
            "columns": ["image", *faces.columns],
            "anonymizer": reader.anonymizer,
            "terms": "those of the data: this artifact claims none of its own",
        },
        "versions": {package: version(package) for package in PACKAGES},
    }
    return Artifact({**artifact.card, **facts}, artifact.tensors)


def _input(entry: Fittable, backbone: Backbone) -> tuple[str, tuple[int, ...]]:
    if entry.reads is Reads.CROPS:
        return "uint8", (backbone.image_size_px, backbone.image_size_px, 3)
    return "float32", (backbone.embedding_dim,)


def _outputs(entry: Fittable, backbone: Backbone) -> int:
    return backbone.embedding_dim if entry is IDENTITY_PROJECTION else len(LABELS)


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a nested dictionary, as `outer.inner`."""
    found: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= {f"{key}.{name}": number for name, number in _numbers(value).items()}
        elif isinstance(value, int | float | np.number):
            found[key] = float(value)
    return found
