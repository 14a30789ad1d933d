"""Train `mien-lite` from nothing and write it as an open_clip folder.

    python -m pipelines.pretrain --data train.parquet --val val.parquet \
        --out operators/backbones/mien_lite --docs docs/models/mien-lite.md

With `--teacher FOLDER`, a second generation learns from the labels and from what the model in that
folder says. Interrupted, the same command goes on from the last finished epoch in `--work`.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from infra.errors import ConfigurationError, UserError
from infra.offline import disable_telemetry
from operators.backbone import CARD_FILE, CONFIG_FILE, load_backbone
from operators.core.mien_lite_trunk import IMAGE_SIZE_PX, TRUNK_NAME
from operators.core.tower import ImageTower
from operators.evaluation.metrics import summarise
from operators.methods.prompts import TRAINING_WORDINGS
from operators.methods.zero_shot import ZeroShot
from operators.training.calibration import fit_temperature
from operators.training.card import card_markdown, make_card
from operators.training.checkpoint import Checkpoint
from operators.training.contrastive import ContrastiveTrainer, Recipe, open_clip_config
from operators.training.faces import clean_faces, decode_faces, split_for_calibration
from pipelines.faces import read_faces
from schemas.config import Score
from schemas.tables import LABELS

MEAN_STD = (0.51, 0.25)
CALIBRATION_EVERY = 24
WEIGHTS_FILE = "open_clip_model.safetensors"


def main(argv: list[str] | None = None) -> int:
    """Train, choose the best epoch on `--val`, export. Returns the exit code."""
    args = _arguments(argv)
    disable_telemetry()
    torch.set_num_threads(args.threads)
    work, out = Path(args.work), Path(args.out)
    work.mkdir(parents=True, exist_ok=True)
    recipe = Recipe(epochs=args.epochs, seed=args.seed)
    faces, labels = read_grey(args.data)
    val_faces, val_labels = read_grey(args.val)
    cleaning = clean_faces(faces, labels, val_faces)
    faces, labels = faces[cleaning.keep], labels[cleaning.keep]
    held = split_for_calibration(faces, CALIBRATION_EVERY)
    taught = teach(args.teacher, faces[~held]) if args.teacher else None
    trainer = new_trainer(faces[~held], labels[~held], recipe, work, args.device, taught)
    uri = args.mlflow_uri or f"sqlite:///{work.absolute()}/mlflow.db"
    log, tracker = _Log(work), _tracker(uri, recipe, work)
    fingerprint = _fingerprint(recipe, faces[~held], labels[~held], taught)
    checkpoint = Checkpoint(work / "last.pt")
    best, seconds = _resume(trainer, checkpoint, fingerprint)
    counts = {key: value for key, value in asdict(cleaning).items() if key != "keep"}
    counts |= {"kept_for_calibration": int(held.sum()), "trained_on": int((~held).sum())}
    log.line({"faces": counts, "resumed_at_epoch": trainer.epoch})
    splits = {"held_out": (faces[held], labels[held]), "public_test": (val_faces, val_labels)}
    while trainer.epoch < recipe.epochs:
        begin = time.monotonic()
        loss = trainer.run_epoch(_progress(trainer.epoch, recipe.epochs))
        seconds += time.monotonic() - begin
        if not _measures(trainer.epoch, recipe):
            row = {"epoch": trainer.epoch, "loss": round(loss, 4), "seconds": round(seconds)}
            log.line(row)
            checkpoint.save(_state(trainer, best, seconds), fingerprint)
            tracker(row)
            continue
        candidate = work / "candidate"
        write_folder(candidate, trainer.export(), None)
        temperature, metrics = measure(candidate, splits)
        row = {"epoch": trainer.epoch, "loss": round(loss, 4), "seconds": round(seconds)}
        row |= {key: metrics["public_test"][key] for key in ("accuracy", "uar", "ece")}
        log.line(
            row | {"eta_seconds": round(seconds / trainer.epoch * (recipe.epochs - trainer.epoch))}
        )
        if row["accuracy"] + row["uar"] > best:
            best = row["accuracy"] + row["uar"]
            described = {
                "command": "python -m pipelines.pretrain "
                f"--data train.parquet --val val.parquet --epochs {args.epochs} --seed {args.seed}"
                + (" --teacher TEACHER" if args.teacher else ""),
                "teacher_sha256": args.teacher and _sha256(Path(args.teacher) / WEIGHTS_FILE),
                "trained_seconds": round(seconds),
                "epoch_kept": trainer.epoch,
                "text_wordings": sum(map(len, TRAINING_WORDINGS.values())),
                **asdict(recipe),
            }
            card = make_card(
                sha256=_sha256(candidate / WEIGHTS_FILE),
                image_size_px=IMAGE_SIZE_PX,
                temperature=temperature,
                recipe=described,
                cleaning=counts,
                public_test=metrics["public_test"],
                held_out=metrics["held_out"],
            )
            _replace_folder(candidate, out, card)
            if args.docs:
                _write(Path(args.docs), card_markdown(card))
        checkpoint.save(_state(trainer, best, seconds), fingerprint)
        tracker(row)
    return 0


def _measures(epoch: int, recipe: Recipe) -> bool:
    """Whether to measure after this epoch: every fifth at full size, and the last eighth."""
    full_size = epoch > recipe.small_until * recipe.epochs
    last = epoch > recipe.epochs - max(1, recipe.epochs // 8)
    return last or (full_size and epoch % 5 == 0)


def _state(trainer: ContrastiveTrainer, best: float, seconds: float) -> dict[str, Any]:
    return trainer.state() | {"best": best, "seconds": seconds}


def read_grey(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Labelled faces: `(N, 48, 48) uint8` grey and `(N,) int64` in label order.

    Raises `ConfigurationError` as `pipelines.faces.read_faces` does, and for a face without label
    or an image that does not decode.
    """
    faces = read_faces(path, ("label",))
    labels = faces.labels
    assert labels is not None
    if (labels < 0).any():
        raise ConfigurationError(f"{path}: {int((labels < 0).sum())} faces have no label")
    try:
        return decode_faces(faces.images.to_pylist(), IMAGE_SIZE_PX), labels
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def teach(folder: str, faces: np.ndarray) -> np.ndarray:
    """What the backbone in `folder` says of `(N, S, S) uint8` faces and of their mirror images.

    Returns `(N, L) float32` probabilities, the mean of the two, at the backbone's own temperature.
    """
    backbone = load_backbone(folder)
    tower, method = ImageTower(backbone), ZeroShot(Score(), backbone)
    crops = np.repeat(faces[..., None], 3, axis=3)
    views = (crops, np.ascontiguousarray(crops[:, :, ::-1]))
    said = [method.score(tower(view).astype(np.float16)) for view in views]
    return (said[0] + said[1]) / 2


def new_trainer(
    faces: np.ndarray,
    labels: np.ndarray,
    recipe: Recipe,
    work: Path,
    device: str = "cpu",
    taught: np.ndarray | None = None,
) -> ContrastiveTrainer:
    """A trainer with fresh weights, built by open_clip from the configuration in `work`."""
    import open_clip

    folder = work / "config"
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / CONFIG_FILE, json.dumps(open_clip_config(TRUNK_NAME, IMAGE_SIZE_PX, MEAN_STD)))
    torch.manual_seed(recipe.seed)
    model = open_clip.create_model(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    wordings = [TRAINING_WORDINGS[label] for label in LABELS]
    return ContrastiveTrainer(
        model, tokenizer, wordings, faces, labels, MEAN_STD, recipe, device, taught
    )


def measure(
    folder: Path, splits: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> tuple[float, dict[str, dict[str, Any]]]:
    """Score exported weights as `mien score` does: (temperature, metrics of each split).

    The temperature is fitted on the split `held_out`, and applied to all.
    """
    backbone = load_backbone(str(folder))
    tower = ImageTower(backbone)
    plain = Score.model_validate({"zero_shot": {"temperature": 1.0}})
    method = ZeroShot(plain, backbone)
    said = {}
    for name, (faces, labels) in splits.items():
        crops = np.repeat(faces[..., None], 3, axis=3)
        said[name] = (method.score(tower(crops).astype(np.float16)), labels)
    probabilities, labels = said["held_out"]
    temperature = fit_temperature(np.log(np.maximum(probabilities, 1e-30)), labels)
    metrics = {}
    for name, (probabilities, labels) in said.items():
        calibrated = np.maximum(probabilities, 1e-30) ** (1 / temperature)
        calibrated /= calibrated.sum(axis=1, keepdims=True)
        metrics[name] = summarise(calibrated, labels, LABELS)
    return temperature, metrics


def write_folder(
    folder: Path, tensors: dict[str, torch.Tensor], card: dict[str, Any] | None
) -> None:
    """Write an open_clip folder: configuration, safetensors, and the card if there is one."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = open_clip_config(TRUNK_NAME, IMAGE_SIZE_PX, MEAN_STD)
    _write(folder / CONFIG_FILE, json.dumps(config, indent=2) + "\n")
    save_file(tensors, str(folder / WEIGHTS_FILE))
    (folder / WEIGHTS_FILE).chmod(0o644)
    if card is not None:
        _write(folder / CARD_FILE, json.dumps(card, indent=2) + "\n")


def _replace_folder(source: Path, target: Path, card: dict[str, Any]) -> None:
    """Put a copy of `source` with its card in the place of `target`; no half-written file shows."""
    fresh, old = target.with_name(f".{target.name}.new"), target.with_name(f".{target.name}.old")
    for path in (fresh, old):
        shutil.rmtree(path, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, fresh)
    _write(fresh / CARD_FILE, json.dumps(card, indent=2) + "\n")
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _resume(
    trainer: ContrastiveTrainer, checkpoint: Checkpoint, fingerprint: str
) -> tuple[float, float]:
    """Restore the last checkpoint: (best criterion so far, seconds trained)."""
    try:
        state = checkpoint.load(fingerprint)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    if state is None:
        return 0.0, 0.0
    trainer.restore(state)
    return float(state["best"]), float(state["seconds"])


def _fingerprint(
    recipe: Recipe, faces: np.ndarray, labels: np.ndarray, taught: np.ndarray | None = None
) -> str:
    text = json.dumps(
        [asdict(recipe), TRAINING_WORDINGS, open_clip_config(TRUNK_NAME, 48, MEAN_STD)]
    )
    said = b"" if taught is None else taught.tobytes()
    return hashlib.sha256(text.encode() + faces.tobytes() + labels.tobytes() + said).hexdigest()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


class _Log:
    """One JSON line an epoch, on stderr and in the work folder."""

    def __init__(self, work: Path) -> None:
        self._path = work / "metrics.jsonl"

    def line(self, row: dict[str, Any]) -> None:
        text = json.dumps(row)
        sys.stderr.write(text + "\n")
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(text + "\n")


def _progress(epoch: int, epochs: int):
    begin = time.monotonic()

    def show(step: int, steps: int, loss: float) -> None:
        if step % 20 == 0 or step == steps:
            left = (time.monotonic() - begin) / step * (steps * (epochs - epoch) - step)
            text = f"epoch {epoch + 1}/{epochs} step {step}/{steps} loss {loss:.3f}"
            sys.stderr.write(f"{text} ETA {left / 60:.0f} min\n")

    return show


def _tracker(uri: str, recipe: Recipe, work: Path) -> Callable[[dict[str, Any]], None]:
    """A function that logs one epoch's figures to MLflow; a training gone on with keeps its run.

    What MLflow refuses costs a line on stderr: the figures are in the work folder too.
    """
    import mlflow

    kept = work / "mlflow-run"

    def log(row: dict[str, Any]) -> None:
        numbers = {key: float(value) for key, value in row.items() if key != "epoch"}
        try:
            mlflow.set_tracking_uri(uri)
            mlflow.set_experiment("mien-pretrain")
            if not kept.is_file():
                with mlflow.start_run() as run:
                    mlflow.log_params(asdict(recipe))
                kept.write_text(run.info.run_id)
            mlflow.log_metrics(numbers, step=row["epoch"], run_id=kept.read_text())
        except Exception as error:  # noqa: BLE001 - whatever MLflow raises, training goes on
            sys.stderr.write(f"note: MLflow did not take epoch {row['epoch']}: {error}\n")

    return log


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pipelines.pretrain", description=__doc__)
    parser.add_argument("--data", required=True, help="Parquet with columns image and label")
    parser.add_argument("--val", required=True, help="the same columns; for choosing only")
    parser.add_argument("--out", default="operators/backbones/mien_lite")
    parser.add_argument("--teacher", default=None, help="open_clip folder of an earlier generation")
    parser.add_argument("--work", default=".work/pretrain", help="checkpoints and logs")
    parser.add_argument("--docs", default=None, help="where the card's page goes")
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--mlflow-uri", default=None, help="by default mlflow.db in --work")
    return parser.parse_args(argv)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"pretrain: {error}")
