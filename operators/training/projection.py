"""Learn one linear map from image features to a teacher's vectors.

Exp-CLIP (arXiv 2405.19100), section 3: symmetric contrastive loss between projected features and
teacher vectors at the frozen model's logit scale.
"""

import hashlib
import json
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from operators.methods.registry import Progress
from operators.training.checkpoint import Checkpoint
from schemas.config import FitExpClip

RIDGE = 0.1  # of the features' mean variance


def contrastive_loss(one: torch.Tensor, other: torch.Tensor, scale: float) -> torch.Tensor:
    """Symmetric InfoNCE of `(N, D)` pairs: row i of one belongs to row i of the other."""
    logits = scale * nn.functional.normalize(one, dim=-1) @ nn.functional.normalize(other, dim=-1).T
    rows = torch.arange(len(logits))
    cross_entropy = nn.functional.cross_entropy
    return (cross_entropy(logits, rows) + cross_entropy(logits.T, rows)) / 2


def regression(features: NDArray[np.float32], teacher: NDArray[np.float32]) -> NDArray[np.float32]:
    """The map `(Dt, D)` that predicts teacher vectors from features, by ridge regression.

    Both sides are centred: what all faces share says nothing of a face, and a young backbone's
    features have little else. Columns have length 1 in the root mean square.
    """
    x = features.astype(np.float64) - features.mean(axis=0)
    e = teacher.astype(np.float64) - teacher.mean(axis=0)
    gram = x.T @ x
    gram += RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    found = np.linalg.solve(gram, x.T @ e).T
    length = math.sqrt(np.square(found).sum(axis=0).mean())
    return (found / max(length, 1e-12)).astype(np.float32)


def train_projection(
    features: NDArray[np.float32],
    teacher: NDArray[np.float32],
    cfg: FitExpClip,
    scale: float,
    seed: int,
    progress: Progress,
    checkpoint: Checkpoint,
) -> tuple[NDArray[np.float32], list[float]]:
    """The projection `W (Dt, D) float32` and the mean loss of each epoch.

    features: (N, D), teacher: (N, Dt), row by row of the same faces. Only W has a gradient.
    Interrupted, the next call with the same data and settings goes on after the last epoch.

    Raises:
        ValueError: fewer than two faces, or a checkpoint of another training.
    """
    if len(features) < 2:
        raise ValueError("a projection is learnt from at least two faces")
    x, e = torch.from_numpy(features), torch.from_numpy(teacher)
    fingerprint = _fingerprint(features, teacher, cfg, scale, seed)
    rng = torch.Generator().manual_seed(seed)
    weight = nn.Parameter(_initial(features, teacher, cfg, rng))
    optimizer = torch.optim.SGD(
        [weight], cfg.learning_rate, momentum=cfg.momentum, weight_decay=cfg.weight_decay
    )
    losses: list[float] = []
    if state := checkpoint.load(fingerprint):
        with torch.no_grad():
            weight.copy_(state["weight"])
        optimizer.load_state_dict(state["optimizer"])
        rng.set_state(state["rng"])
        losses = list(state["losses"])
    size = min(cfg.batch_size, len(x))
    while len(losses) < cfg.epochs:
        order = torch.randperm(len(x), generator=rng)
        batches = order[: len(x) // size * size].split(size)  # the last, smaller one is left out
        total = 0.0
        for rows in batches:
            loss = contrastive_loss(x[rows] @ weight.T, e[rows], scale)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += float(loss.detach())
        losses.append(total / len(batches))
        if not math.isfinite(losses[-1]):
            raise ValueError("the loss is not finite: lower fit.exp_clip.learning_rate")
        checkpoint.save(
            {
                "weight": weight.detach(),
                "optimizer": optimizer.state_dict(),
                "rng": rng.get_state(),
                "losses": losses,
            },
            fingerprint,
        )
        progress(len(losses), cfg.epochs, f"loss {losses[-1]:.3f}")
    return weight.detach().numpy(), losses


def triangular(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """The factor R `(min(Dt, D), D)` of W = QR: cosines through R equal those through W."""
    return np.asarray(np.linalg.qr(weight.astype(np.float64), mode="r"), np.float32)


def retrieval(
    features: NDArray[np.float32], teacher: NDArray[np.float32], weight: NDArray[np.float32]
) -> float:
    """Share of faces whose own teacher vector, or one equal to it, is the nearest."""
    one = features @ weight.T
    one /= np.maximum(np.linalg.norm(one, axis=1, keepdims=True), 1e-12)
    other = teacher / np.maximum(np.linalg.norm(teacher, axis=1, keepdims=True), 1e-12)
    cosines = one @ other.T
    return float((np.diagonal(cosines) >= cosines.max(axis=1) - 1e-6).mean())


def _initial(
    features: NDArray[np.float32], teacher: NDArray[np.float32], cfg: FitExpClip, rng: Any
) -> torch.Tensor:
    if cfg.init == "regression":
        return torch.from_numpy(regression(features, teacher))
    reach = 1 / math.sqrt(features.shape[1])  # torch's own start of a linear layer
    shape = (teacher.shape[1], features.shape[1])
    return (2 * torch.rand(shape, generator=rng) - 1) * reach


def _fingerprint(
    features: NDArray, teacher: NDArray, cfg: FitExpClip, scale: float, seed: int
) -> str:
    text = json.dumps([cfg.model_dump(mode="json"), scale, seed])
    digest = hashlib.sha256(text.encode())
    for array in (features, teacher):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
