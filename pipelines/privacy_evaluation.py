"""Privacy evaluation: who is still recognised behind each anonymizer, and what it costs."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from infra.errors import ConfigurationError, interruption
from infra.experiments import Trial, log_trial
from operators.core.anonymizers import anonymizer, anonymizers, reference_swap
from operators.core.tower import ImageTower
from operators.evaluation.attackers import Seen
from operators.evaluation.attacks import SHOTS, Protocol, attack
from operators.evaluation.reidentification import numbered, splits
from operators.methods.identity_projection import removed_dimensions
from operators.methods.projections import project
from operators.methods.registry import Method, Progress, Reads
from operators.training.identity import identity_projection
from pipelines.evaluate import built, chosen, labelled
from pipelines.faces import FacesFile, Reader, read_faces
from pipelines.fit import open_backbone
from pipelines.privacy_table import Rows, strongest, write
from pipelines.progress import StepProgress
from schemas.config import Config
from schemas.tables import LABELS

#: What is measured unless `--anonymizer` names something.
MEASURED = (
    "none", "downsample:48", "downsample:16", "downsample:8", "pixelate:12", "pixelate:6",
    "pixelate:3", "blur:6", "blur:12", "noise:5", "noise:1", "solid", "k-same:1", "k-same:2",
    "k-same:4",
)  # fmt: skip
#: Of tracks and of stored vectors: measured when everything is.
SWAP, EMBEDDINGS, PROBABILITIES = "reference-swap", "embeddings", "probabilities"
#: Half of the people: a projection is fitted on the others.
HALF, PROJECTED = "embeddings of half", "projected embeddings of half"
#: Vectors leave nothing else to read.
VECTOR_NOTE = {
    EMBEDDINGS: "stored vectors: raw embeddings",
    PROBABILITIES: "stored vectors: the published probabilities of seven labels",
    HALF: "stored vectors: raw embeddings of half of the people",
    PROJECTED: "stored vectors: of the same half, through a projection fitted on the other",
    SWAP: "needs tracks: not offered in a run",
}


def evaluate_privacy(
    cfg: Config,
    identity: str,
    expression: str,
    out: Path,
    console: Console,
    chosen_settings: Iterable[str] = (),
    count: int = 5,
) -> dict[str, Any]:
    """Attack each anonymizer; write `privacy.json`, `privacy.csv`, `privacy.png`; return the first.

    `identity` needs `subject`, `expression` needs `label`; both are raw crops.

    Raises:
        ConfigurationError: an unknown anonymizer, data that do not fit, a person with one image;
            nothing is measured then.
    """
    settings = [parse_setting(text) for text in chosen_settings or MEASURED]
    people = read_faces(identity, ("subject",))
    faces = labelled(read_faces(expression, ("label",)), console)
    protocol = _protocol(people, count, cfg.fit.seed)
    backbone = open_backbone(cfg)
    name = cfg.score.methods[0]
    entry, artifact = chosen(cfg, name, None, None)
    if entry.reads is not Reads.EMBEDDINGS:
        raise ConfigurationError(f"score.methods: {name} reads {entry.reads}, not embeddings")
    scorer = built(cfg, entry, backbone, artifact)
    raw = _under(cfg, ("none", 1.0))
    readers = Reader(raw, backbone, people), Reader(raw, backbone, faces)
    rows: Rows = []
    with (
        interruption("nothing was written; the same command starts again"),
        StepProgress(console, "privacy") as progress,
    ):
        clean, known = _seen(readers[0]), _accuracy(readers[1], scorer)
        total = len(settings) + (0 if chosen_settings else len(VECTOR_NOTE))
        for place, setting in enumerate(settings):
            progress.step(place, total, "settings")
            under = _under(cfg, setting)
            seen = _seen(readers[0].under(under))
            measured = attack(protocol, clean, lambda _, seen=seen: seen)
            rows += _named(setting, measured, _accuracy(readers[1].under(under), scorer), known)
        if not chosen_settings:
            rows += _further(protocol, readers, clean, scorer, known, progress.step, total)
    result = {
        "chance_top1": 1 / protocol.people,
        "people": protocol.people,
        "shots": SHOTS,
        "splits": count,
        "expression_faces": len(faces),
        "method": entry.name,
        "backbone": backbone.name,
        "backbone_sha256": backbone.sha256,
        "identity_sha256": people.sha256,
        "expression_sha256": faces.sha256,
        "date": date.today().isoformat(),
        "rows": rows,
        "strongest": strongest(rows),
    }
    files = write(out, result)
    metrics = {
        f"{row['name']}_{row['strength']:g}/{key}": float(row[key])
        for row in result["strongest"]
        for key in ("top1", "accuracy")
        if row[key] is not None
    }
    params = {key: value for key, value in result.items() if not isinstance(value, list)}
    if warning := log_trial(cfg.tracking, Trial("privacy evaluate", params, metrics, files=files)):
        console.print(f"note: {warning}")
    return result


def parse_setting(text: str) -> tuple[str, float]:
    """`name` or `name:strength`. Raises `ConfigurationError` for another, or an unknown name."""
    name, colon, number = text.partition(":")
    try:
        entry = anonymizer(name)
        strength = float(number) if colon else entry.default_strength
        if not 0 < strength < float("inf"):
            raise ValueError
    except ValueError as error:
        known = ", ".join(entry.name for entry in anonymizers())
        raise ConfigurationError(
            str(error)
            if "unknown" in str(error)
            else f"--anonymizer {text}: write name:strength, a number above 0; known: {known}"
        ) from None
    return name, strength


def _protocol(people: FacesFile, count: int, seed: int) -> Protocol:
    who = numbered(people.names("subject") or [])
    try:
        next(splits(who, 1, SHOTS, seed))
    except ValueError as error:
        raise ConfigurationError(f"{people.path}: {error}") from None
    return Protocol(who, count, seed)


def _under(cfg: Config, setting: tuple[str, float]) -> Config:
    chosen = cfg.privacy.anonymizer.model_copy(update={"name": setting[0], "strength": setting[1]})
    return cfg.model_copy(update={"privacy": cfg.privacy.model_copy(update={"anonymizer": chosen})})


def _seen(reader: Reader) -> Seen:
    return Seen.of(reader.read(Reads.CROPS), reader.read(Reads.EMBEDDINGS))


def _accuracy(reader: Reader, scorer: Method) -> tuple[float, float]:
    """Share of right labels: by the method, and by a head refitted on equally safe faces."""
    return _accuracies(reader.read(Reads.EMBEDDINGS), reader.faces, scorer)


def _accuracies(vectors: NDArray, faces: FacesFile, scorer: Method) -> tuple[float, float]:
    labels = faces.labels
    assert labels is not None
    read = scorer.score(vectors)[:, : len(LABELS)].argmax(axis=1)
    if np.ptp(vectors, axis=0).max() < 1e-6 or np.unique_counts(labels).counts.min() < 5:
        refit = float("nan")
    else:
        head = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        folds = StratifiedKFold(5, shuffle=True, random_state=0)
        refit = float(np.mean(cross_val_predict(head, vectors, labels, cv=folds) == labels))
    return float(np.mean(read == labels)), refit


def _further(
    protocol: Protocol,
    readers: tuple[Reader, Reader],
    clean: Seen,
    scorer: Method,
    known: tuple[float, float],
    progress: Progress,
    total: int,
) -> Rows:
    """Reference-swap, and what the vectors say that could be stored."""
    progress(total - len(VECTOR_NOTE), total, "settings")
    crops = readers[0].read(Reads.CROPS)
    population = np.mean([c.mean(axis=0) for c in readers[1].crops()], axis=0)
    tower = ImageTower(readers[0].backbone, "cpu", 64)

    def swapped(mask: NDArray[np.bool_]) -> Seen:
        # what is known and what is looked for are two tracks
        safe = reference_swap(crops, protocol.who * 2 + mask, population)
        return Seen.of(safe, tower(safe))

    rows = _named((SWAP, 1.0), attack(protocol, clean, swapped), None, known)
    progress(total - 4, total, "settings")
    measured = attack(protocol, clean, lambda _: clean, "features")
    rows += _named((EMBEDDINGS, 1.0), measured, known, known)
    rows += _projected(protocol, readers[1], clean, scorer, known)
    progress(total - 1, total, "settings")
    read = np.log(scorer.score(clean.features)[:, : len(LABELS)] + 1e-6)
    scores = Seen(clean.pixels, read.astype(np.float32))
    measured = attack(protocol, scores, lambda _: scores, "features")
    return rows + _named((PROBABILITIES, 1.0), measured, known, known)


def _projected(
    protocol: Protocol, reader: Reader, clean: Seen, scorer: Method, known: tuple[float, float]
) -> Rows:
    """What a projection fitted on half of the people does for the other half."""
    if protocol.people < 4:  # two to tell apart, on both sides
        return []
    order = np.random.default_rng(protocol.seed).permutation(protocol.people)
    fitted = np.isin(protocol.who, order[: protocol.people // 2])
    own, others = (numbered(protocol.who[rows]) for rows in (fitted, ~fitted))
    removed = removed_dimensions("auto", int(own.max()) + 1, clean.features.shape[1])
    matrix = identity_projection(clean.features[fitted], own, removed).astype(np.float64)
    half, raw = replace(protocol, who=others), clean[~fitted]
    seen = Seen(raw.pixels, project(raw.features, matrix).astype(np.float32))
    faces = project(reader.read(Reads.EMBEDDINGS), matrix).astype(np.float32)
    kept = _accuracies(faces, reader.faces, scorer)
    return [
        *_named((HALF, 1.0), attack(half, raw, lambda _: raw, "features"), known, known),
        # whoever compares vectors of the table has projected ones on both sides
        *_named((PROJECTED, 1.0), attack(half, seen, lambda _: seen, "features"), kept, known),
    ]


def _named(
    setting: tuple[str, float],
    measured: Rows,
    accuracy: tuple[float, float] | None,
    raw: tuple[float, float],
) -> Rows:
    name, strength = setting
    unit = VECTOR_NOTE[name] if name in VECTOR_NOTE else anonymizer(name).unit
    kept = {
        "accuracy": accuracy and round(accuracy[0], 4),
        "accuracy_kept": accuracy and round(accuracy[0] / raw[0], 4),
        "accuracy_refit": accuracy and (round(accuracy[1], 4) if accuracy[1] > 0 else None),
    }
    return [{"name": name, "strength": strength, "unit": unit, **row, **kept} for row in measured]
