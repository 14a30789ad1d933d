"""What a fit leaves behind: a folder with `artifact.safetensors` and `card.json`.

No pickle: tensors are safetensors, all else is JSON. A card names the backbone by hash and the
labels in order, and an artifact refuses to work with any others.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from schemas.tables import LABELS

TENSORS_FILE = "artifact.safetensors"
CARD_FILE = "card.json"
FORMAT_VERSION = 1
TENSORS_HASH = "tensors_sha256"


class ArtifactError(ValueError):
    """An artifact that is missing, broken, or made for something else."""


class Hashed(Protocol):
    """What an artifact must know of a backbone."""

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...


@dataclass(frozen=True)
class Artifact:
    """A fitted method: small enough to travel by value to every worker."""

    card: Mapping[str, Any]
    tensors: Mapping[str, NDArray]

    @property
    def sha256(self) -> str:
        """Hash of tensors and card: what a score depends on."""
        text = json.dumps(self.card, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode() + _packed(self.tensors)).hexdigest()

    def save(self, folder: Path) -> None:
        """Write both files, each whole or not at all; `load` refuses two that do not belong."""
        folder.mkdir(parents=True, exist_ok=True)
        packed = _packed(self.tensors)
        card = {**self.card, TENSORS_HASH: hashlib.sha256(packed).hexdigest()}
        text = json.dumps(card, indent=2) + "\n"
        for name, data in ((TENSORS_FILE, packed), (CARD_FILE, text.encode())):
            partial = folder / f".{name}.new"
            partial.write_bytes(data)
            partial.replace(folder / name)

    @classmethod
    def load(cls, folder: str | Path) -> "Artifact":
        """Read an artifact.

        Raises:
            ArtifactError: no such folder, a file is missing or broken, or a later format.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise ArtifactError(f"artifact {folder}: no such folder")
        try:
            card = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
            packed = (folder / TENSORS_FILE).read_bytes()
            tensors = load(packed)
        except FileNotFoundError as error:
            name = Path(error.filename).name
            raise ArtifactError(f"artifact {folder}: {name} is missing") from None
        except (OSError, ValueError, SafetensorError) as error:
            raise ArtifactError(f"artifact {folder}: not readable: {error}") from None
        version = card.get("format_version") if isinstance(card, dict) else None
        if version != FORMAT_VERSION:
            raise ArtifactError(
                f"artifact {folder}: format {version}, this version reads {FORMAT_VERSION}"
            )
        if missing := sorted({"method", "backbone", "labels"} - set(card)):
            raise ArtifactError(f"artifact {folder}: its card lacks {', '.join(missing)}")
        if card.pop(TENSORS_HASH, None) != hashlib.sha256(packed).hexdigest():
            raise ArtifactError(
                f"artifact {folder}: card and tensors do not belong together: fit again"
            )
        return cls(card, tensors)

    def require(self, method: str, backbone: Hashed) -> None:
        """Raises `ArtifactError` unless it was fitted by `method`, on this backbone, our labels."""
        theirs = self.card["backbone"]
        if self.card["method"] != method:
            raise ArtifactError(f"the artifact is of {self.card['method']}, not of {method}")
        if theirs["sha256"] != backbone.sha256:
            raise ArtifactError(
                f"the artifact was fitted on backbone {theirs['name']} "
                f"({theirs['sha256'][:12]}), and {backbone.name} is {backbone.sha256[:12]}: "
                "use that backbone, or fit again"
            )
        if tuple(self.card["labels"]) != LABELS:
            raise ArtifactError(
                f"the artifact knows the labels {', '.join(self.card['labels'])}; "
                f"here they are {', '.join(LABELS)}"
            )


def make_card(method: str, backbone: Any, **facts: Any) -> dict[str, Any]:
    """The part of a card that all methods share; `facts` are the method's own."""
    return {
        "format_version": FORMAT_VERSION,
        "method": method,
        "backbone": {
            "name": backbone.name,
            "sha256": backbone.sha256,
            "image_size_px": backbone.image_size_px,
            "embedding_dim": backbone.embedding_dim,
            "pixel_mean": list(backbone.mean),
            "pixel_std": list(backbone.std),
        },
        "labels": list(LABELS),
        **facts,
    }


def _packed(tensors: Mapping[str, NDArray]) -> bytes:
    return save({name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)})
