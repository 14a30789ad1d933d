"""Attackers: given faces of known people, who is on other faces?

Two kinds. The naive one knows clean faces and meets anonymized ones. The trained ones anonymize
what they know in the same way first, and learn from that: the parrot attack of Newton, Sweeney and
Malin 2005 (Preserving privacy by de-identifying face images, IEEE TKDE 17(2)).
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import nn

#: The side to which attackers that read pixels bring every face.
SIDE_PX = 48
PCA_DIMENSIONS = 100
#: Variance, as a share of the largest, that is none.
ROUNDING = 1e-12
CNN_PX = 32
CNN_STEPS = 100
CNN_BATCH = 50


@dataclass(frozen=True)
class Seen:
    """What an attacker sees of N faces: `pixels (N, 48, 48) uint8` grey, `features (N, D) float32`.

    Features are the backbone's, of unit length.
    """

    pixels: NDArray[np.uint8]
    features: NDArray[np.float32]

    @classmethod
    def of(cls, crops: NDArray[np.uint8], features: NDArray[np.float32]) -> "Seen":
        """`crops (N, P, P, 3) uint8 RGB`, any P: brought to one size, as an attacker would."""
        pixels = np.empty((len(crops), SIDE_PX, SIDE_PX), np.uint8)
        for index, crop in enumerate(crops):
            grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
            way = cv2.INTER_AREA if grey.shape[0] > SIDE_PX else cv2.INTER_LINEAR
            pixels[index] = cv2.resize(grey, (SIDE_PX, SIDE_PX), interpolation=way)
        return cls(pixels, features)

    def __getitem__(self, rows: NDArray) -> "Seen":
        return Seen(self.pixels[rows], self.features[rows])


#: (known faces, who they are (N,) int, probes, people, seed) -> one score a person: (M, people).
Attack = Callable[[Seen, NDArray[np.int64], Seen, int, int], NDArray[np.float64]]


@dataclass(frozen=True)
class Attacker:
    """A registered attacker; a `trained` one knows its faces as the anonymizer leaves them."""

    name: str
    summary: str
    trained: bool
    reads: str
    attack: Attack


_registry: dict[str, Attacker] = {}


def register(attacker: Attacker) -> Attacker:
    """Add an attacker; a name that is taken raises `ValueError`."""
    if attacker.name in _registry:
        raise ValueError(f"attacker {attacker.name!r} is registered already")
    _registry[attacker.name] = attacker
    return attacker


def attackers(reads: str | None = None) -> tuple[Attacker, ...]:
    """All attackers, or those that need nothing but `pixels` or `features`."""
    return tuple(a for a in _registry.values() if reads in (None, a.reads))


def _unit(vectors: NDArray) -> NDArray[np.float64]:
    wide = vectors.reshape(len(vectors), -1).astype(np.float64)
    return wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)


def _nearest(known: NDArray, who: NDArray[np.int64], probes: NDArray, people: int) -> NDArray:
    """Each person's nearest known face, by cosine."""
    similar = _unit(probes) @ _unit(known).T
    scores = np.full((len(probes), people), -np.inf)
    for person in range(people):
        scores[:, person] = similar[:, who == person].max(axis=1)
    return scores


def _discriminant(known: NDArray, who: NDArray[np.int64], probes: NDArray, people: int) -> NDArray:
    """Linear discriminants with Ledoit and Wolf's shrinkage; log posteriors."""
    if np.ptp(known, axis=0).max() < 1e-9:  # every face is the same: nothing to learn
        return np.zeros((len(probes), people))
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    found = model.fit(known, who).predict_log_proba(probes)
    scores = np.full((len(probes), people), -np.inf)
    scores[:, model.classes_] = found
    return scores


def _nearest_pixels(
    known: Seen, who: NDArray[np.int64], probes: Seen, people: int, seed: int
) -> NDArray:
    def centred(seen: Seen) -> NDArray:
        pixels = seen.pixels.astype(np.float64)
        return pixels - pixels.mean(axis=(1, 2), keepdims=True)

    return _nearest(centred(known), who, centred(probes), people)


def _nearest_features(
    known: Seen, who: NDArray[np.int64], probes: Seen, people: int, seed: int
) -> NDArray:
    return _nearest(known.features, who, probes.features, people)


def _pixels_lda(
    known: Seen, who: NDArray[np.int64], probes: Seen, people: int, seed: int
) -> NDArray:
    """Fisherfaces (Belhumeur et al. 1997): principal components, then discriminants."""
    flat, asked = (s.pixels.reshape(len(s.pixels), -1).astype(np.float64) for s in (known, probes))
    if np.ptp(flat, axis=0).max() > 0:
        count = min(PCA_DIMENSIONS, len(flat) - 1)
        components = PCA(count, svd_solver="full").fit(flat)
        spread = components.explained_variance_
        real = spread > ROUNDING * spread[0]  # what only rounding fills, LDA would take for news
        flat, asked = (components.transform(faces)[:, real] for faces in (flat, asked))
    return _discriminant(flat, who, asked, people)


def _features_lda(
    known: Seen, who: NDArray[np.int64], probes: Seen, people: int, seed: int
) -> NDArray:
    return _discriminant(known.features, who, probes.features, people)


class _SmallCnn(nn.Module):
    """Three convolutions on 32 px; `(N, 1, 32, 32) float32` to `(N, people)` logits."""

    def __init__(self, people: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((1, 16), (16, 32), (32, 64)):
            layers += [
                nn.Conv2d(before, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), nn.Linear(1024, people))

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return self.body(faces)


def _cnn(known: Seen, who: NDArray[np.int64], probes: Seen, people: int, seed: int) -> NDArray:
    """Trained from nothing, with shifts of up to 2 px; mean of the unshifted logits."""
    with torch.random.fork_rng(devices=[]), _one_thread():
        torch.manual_seed(seed)
        rng = torch.Generator().manual_seed(seed)
        model = _SmallCnn(people)
        optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=1e-2)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=CNN_STEPS)
        faces, labels = _small(known), torch.from_numpy(who)
        model.train()
        rounds = math.ceil(CNN_STEPS * CNN_BATCH / len(faces))
        order = torch.cat([torch.randperm(len(faces), generator=rng) for _ in range(rounds)])
        for step in range(CNN_STEPS):
            rows = order[step * CNN_BATCH : (step + 1) * CNN_BATCH]
            shift = torch.randint(-2, 3, (2,), generator=rng).tolist()
            moved = torch.roll(faces[rows], shift, dims=(2, 3))
            loss = nn.functional.cross_entropy(model(moved), labels[rows], label_smoothing=0.1)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            rate.step()
        model.eval()
        with torch.inference_mode():
            return model(_small(probes)).double().numpy()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Steps this small wait for each other longer than they compute, if cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _small(seen: Seen) -> torch.Tensor:
    faces = torch.from_numpy(seen.pixels).float().unsqueeze(1) / 127.5 - 1
    return nn.functional.interpolate(faces, size=(CNN_PX, CNN_PX), mode="area")


register(
    Attacker("nearest pixels", "nearest clean face, by pixels", False, "pixels", _nearest_pixels)
)
register(
    Attacker(
        "nearest features", "nearest clean face, by features", False, "features", _nearest_features
    )
)
register(Attacker("pixels + LDA", "parrot: Fisherfaces", True, "pixels", _pixels_lda))
register(
    Attacker("features + LDA", "parrot: backbone, discriminants", True, "features", _features_lda)
)
register(Attacker("small CNN", "parrot: three convolutions", True, "pixels", _cnn))
