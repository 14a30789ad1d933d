"""The registry of scoring methods: one protocol, entry points, plain errors."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import entry_points
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from operators.backbone import Backbone
from operators.methods.artifact import Artifact
from operators.training.checkpoint import Checkpoint
from schemas.config import Fit, Score

GROUP = "mien.methods"


class Reads(StrEnum):
    """What a method reads; it decides where in the flow the method runs."""

    EMBEDDINGS = "embeddings"
    CROPS = "crops"
    CLIP = "clip"  # crops of a span, and its audio
    TRACK = "track"  # embeddings of one person
    SESSION = "session"  # embeddings of several cameras


class Method(Protocol):
    """A fitted, ready method that scores faces one by one."""

    def score(self, faces: NDArray) -> NDArray[np.float32]:
        """Probabilities `(N, 7) or (N, 8) float32` in the order of the labels.

        `faces` are L2-normalised embeddings `(N, D) float32` or crops `(N, P, P, 3) uint8`, by
        what the method reads. A face's row never depends on its neighbours.
        """
        ...


@dataclass(frozen=True)
class FitData:
    """What a fit may learn from; a column that the data lacks is None.

    `faces()` gives what the method reads, as in `Method.score`: it costs a pass over the data, so
    a fit checks its columns before it asks. `crops()` iterates `(n, P, P, 3) uint8 RGB`, made safe
    by the configured anonymizer. `labels` is (N,) int64 in label order, -1 where a face has none;
    `teacher` is (N, Dt) float32, finite. `groups` names the person, or the clip, that a face is
    of: faces of one are alike, so a held-out part takes whole groups; `people` names persons or
    nothing. `fingerprint` names what `faces()` gives.
    """

    count: int
    fingerprint: str
    faces: Callable[[], NDArray]
    crops: Callable[[], Iterator[NDArray[np.uint8]]]
    labels: NDArray[np.int64] | None = None
    groups: list[str] | None = None
    captions: list[str] | None = None
    teacher: NDArray[np.float32] | None = None
    people: list[str] | None = None


#: Called as a fit goes on: steps done, steps in all, and a few words.
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class Fittable:
    """What `mien fit` can fit: what it reads, and where it is published.

    `fit(cfg, backbone, data, progress, checkpoint)` makes its artifact; it raises `ValueError` for
    data that it cannot learn from, before it trains.
    """

    name: str
    summary: str
    source: str
    reads: Reads
    fit: Callable[[Fit, Backbone, FitData, Progress, Checkpoint], Artifact] | None = None


@dataclass(frozen=True, kw_only=True)
class MethodEntry(Fittable):
    """A registered method: how it is built, and fitted where there is something to fit.

    `build(cfg, backbone, artifact)` loads it; `section` names its part of the configuration, which
    is hashed.
    """

    build: Callable[[Score, Backbone, Artifact | None], Method]
    needs_artifact: bool = False
    section: Callable[[Score], Any] = lambda cfg: None


@dataclass(frozen=True)
class MethodSpec:
    """One item of `score.methods`: `name` or `name@artifact`."""

    name: str
    artifact: str | None = None

    @classmethod
    def parse(cls, text: str) -> "MethodSpec":
        name, _, artifact = text.partition("@")
        return cls(name, artifact or None)


_registry: dict[str, MethodEntry] = {}


def register(entry: MethodEntry) -> MethodEntry:
    """Add a method; a name that is taken raises `ValueError`."""
    if entry.name in _registry:
        raise ValueError(f"method {entry.name!r} is registered already")
    _registry[entry.name] = entry
    return entry


def methods() -> tuple[MethodEntry, ...]:
    """Every method: the ones that ship, then those that installed packages name in `mien.methods`.

    Such an entry point loads a `MethodEntry`.
    """
    _load_shipped()
    for point in entry_points(group=GROUP):
        if point.name not in _registry:
            register(point.load())
    return tuple(_registry[name] for name in sorted(_registry))


def method(spec: MethodSpec) -> MethodEntry:
    """Look a method up. Raises `ValueError` on an unknown name or a missing or surplus artifact."""
    known = {entry.name: entry for entry in methods()}
    if spec.name not in known:
        raise ValueError(f"unknown method {spec.name!r}; known: {', '.join(known)}")
    entry = known[spec.name]
    if entry.needs_artifact and spec.artifact is None:
        raise ValueError(
            f"{spec.name} needs an artifact: score.methods=[{spec.name}@PATH], made by "
            f"`mien fit {spec.name}`"
        )
    if not entry.needs_artifact and spec.artifact is not None:
        raise ValueError(f"{spec.name} takes no artifact: write score.methods=[{spec.name}]")
    return entry


def _load_shipped() -> None:
    from operators.methods import exp_clip, zero_shot  # noqa: F401  (they register themselves)
