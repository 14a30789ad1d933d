"""Load a frozen image-text encoder: the embedded `mien-lite`, an open_clip name, or a folder.

Everything goes through open_clip's own factory. Weights are safetensors only: a pickle can run
code when it is loaded, so a folder that carries one is refused, whatever else lies in it.
"""

import difflib
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # half a gigabyte and two seconds: only where a backbone is built
    import torch
    from torch import nn

MIEN_LITE = "mien-lite"
MIEN_LITE_DIR = Path(__file__).parent / "backbones" / "mien_lite"
CONFIG_FILE = "open_clip_config.json"
CARD_FILE = "card.json"
LOCAL_DIR_PREFIX = "local-dir:"
PICKLE_SUFFIXES = (".bin", ".pth", ".pt", ".pkl", ".ckpt")


class BackboneError(ValueError):
    """A backbone that is unknown, incomplete, or not safe to load."""


@dataclass(frozen=True)
class BackboneInfo:
    """What can be known of a backbone without building it."""

    name: str
    sha256: str
    image_size_px: int
    embedding_dim: int
    card: dict[str, Any] | None


@dataclass(frozen=True)
class Backbone:
    """A frozen image-text encoder and what its users must know of it."""

    name: str
    sha256: str
    image_size_px: int
    embedding_dim: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    model: "nn.Module"
    tokenizer: "Callable[[list[str]], torch.Tensor]"
    card: dict[str, Any] | None

    @cached_property
    def logit_scale(self) -> float:
        """What cosines are multiplied by before the softmax."""
        scale: Any = self.model.logit_scale
        return float(scale.detach().exp().float().reshape(-1)[0])

    @property
    def zero_shot_temperature(self) -> float:
        """What the scaled cosines are divided by: the card's calibration, 1.0 without one."""
        return float((self.card or {}).get("zero_shot_temperature", 1.0))

    def encode_text(self, texts: list[str]) -> np.ndarray:
        """Embed texts: (N, D) float32, each row of unit length."""
        if not texts:
            return np.zeros((0, self.embedding_dim), np.float32)
        import torch

        encode: Callable[..., torch.Tensor] = self.model.encode_text  # type: ignore[assignment]
        device = next(self.model.parameters()).device
        with torch.inference_mode():
            features = encode(self.tokenizer(texts).to(device)).float()
            return torch.nn.functional.normalize(features, dim=-1).cpu().numpy()


def backbone_info(name: str) -> BackboneInfo:
    """Hash the weights and read the sizes, without building the model.

    An open_clip name fetches its weights if they are not in the local cache.

    Raises:
        BackboneError: unknown, incomplete or unsafe.
    """
    folder = _folder_of(name)
    if folder is not None:
        weights = _weights_in(folder)
        model_cfg = _read_json(folder / CONFIG_FILE)["model_cfg"]
        card_path = folder / CARD_FILE
        card = _read_json(card_path) if card_path.is_file() else None
    else:
        model_cfg, weights = _open_clip_parts(*_split_name(name))
        card = None
    return BackboneInfo(
        name=name,
        sha256=_sha256(weights),
        image_size_px=_square(name, model_cfg["vision_cfg"].get("image_size", 224)),
        embedding_dim=int(model_cfg["embed_dim"]),
        card=card,
    )


def load_backbone(name: str) -> Backbone:
    """Build a backbone from `mien-lite`, `model/pretrained`, or the path of an open_clip folder.

    Raises:
        BackboneError: unknown, incomplete or unsafe.
    """
    info = backbone_info(name)
    import open_clip

    import operators.core.mien_lite_trunk  # noqa: F401  (registers the trunk that configs name)

    folder = _folder_of(name)
    model_name, tag = (f"{LOCAL_DIR_PREFIX}{folder}", None) if folder else _split_name(name)
    model: Any = open_clip.create_model(model_name, pretrained=tag, require_pretrained=True)
    model.eval().requires_grad_(False)
    preprocess = model.visual.preprocess_cfg
    return Backbone(
        name=name,
        sha256=info.sha256,
        image_size_px=_square(name, model.visual.image_size),
        embedding_dim=info.embedding_dim,
        mean=_three(preprocess["mean"]),
        std=_three(preprocess["std"]),
        model=model,
        tokenizer=open_clip.get_tokenizer(model_name),
        card=info.card,
    )


def known_backbones() -> list[dict[str, Any]]:
    """Describe what can be named: the embedded backbone's card, and open_clip's own registry."""
    from open_clip import list_pretrained

    embedded = {"name": MIEN_LITE, "kind": "embedded", "card": None}
    if (MIEN_LITE_DIR / CARD_FILE).is_file():
        embedded["card"] = _read_json(MIEN_LITE_DIR / CARD_FILE)
    return [
        embedded,
        {
            "name": "model/pretrained",
            "kind": "open_clip",
            "count": len(list_pretrained()),
            "note": "any pair of open_clip.list_pretrained(); weights are fetched at first use",
        },
        {
            "name": "path",
            "kind": "folder",
            "note": f"a folder with {CONFIG_FILE} and one .safetensors file",
        },
    ]


def _folder_of(name: str) -> Path | None:
    """The folder that a name stands for; None for a name of open_clip's registry."""
    if name == MIEN_LITE:
        return MIEN_LITE_DIR
    explicit = name.startswith((LOCAL_DIR_PREFIX, "/", "./", "../", "~"))
    folder = Path(name.removeprefix(LOCAL_DIR_PREFIX)).expanduser()
    if folder.is_dir():
        return folder
    if explicit:
        raise BackboneError(f"backbone {name!r}: no such folder")
    return None


def _weights_in(folder: Path) -> Path:
    """The one safetensors file of an open_clip folder."""
    if not (folder / CONFIG_FILE).is_file():
        raise BackboneError(f"backbone folder {folder.name!r} has no {CONFIG_FILE}")
    pickles = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in PICKLE_SUFFIXES)
    if pickles:
        raise BackboneError(
            f"backbone folder {folder.name!r} carries {', '.join(pickles)}: pickled weights can "
            "run code; keep one .safetensors file and remove them"
        )
    weights = sorted(folder.glob("*.safetensors"))
    if len(weights) != 1:
        raise BackboneError(
            f"backbone folder {folder.name!r} holds {len(weights)} .safetensors files, not one"
        )
    return weights[0]


def _split_name(name: str) -> tuple[str, str]:
    """Split `model/pretrained`, and refuse what open_clip does not know."""
    from open_clip import list_models, list_pretrained

    pairs = [f"{model}/{tag}" for model, tag in list_pretrained()]
    if name in pairs:
        model, _, tag = name.rpartition("/")
        return model, tag
    if name in list_models():
        tags = [pair for pair in pairs if pair.rpartition("/")[0] == name]
        fix = f"name them, one of: {', '.join(tags)}" if tags else "save them to a folder"
        raise BackboneError(f"backbone {name!r} has no weights without a pretrained tag; {fix}")
    close = difflib.get_close_matches(name, [MIEN_LITE, *pairs], n=5, cutoff=0.4)
    raise BackboneError(
        f"unknown backbone {name!r}; known: {MIEN_LITE}, the path of an open_clip folder, or one "
        f"of the {len(pairs)} model/pretrained names of open_clip.list_pretrained()"
        + (f"; close: {', '.join(close)}" if close else "")
    )


def _open_clip_parts(model: str, tag: str) -> tuple[dict[str, Any], Path]:
    """Config and weight file of a registered name."""
    from open_clip import get_model_config
    from open_clip.pretrained import download_pretrained, get_pretrained_cfg

    config = get_model_config(model)
    if config is None:
        raise BackboneError(f"open_clip has no configuration of {model!r}")
    try:
        weights = Path(download_pretrained(get_pretrained_cfg(model, tag)))
    except (OSError, RuntimeError) as error:
        raise BackboneError(
            f"the weights of {model}/{tag} are not in the local cache and cannot be fetched; "
            "fetch them where there is a network, or use the path of a folder"
        ) from error
    if weights.suffix != ".safetensors":
        raise BackboneError(
            f"the weights of {model}/{tag} come as {weights.suffix}: pickled weights can run "
            "code; convert them to an open_clip folder with safetensors"
        )
    return config, weights


def _square(name: str, image_size: Any) -> int:
    sides = {image_size} if isinstance(image_size, int) else {int(side) for side in image_size}
    if len(sides) != 1:
        raise BackboneError(f"backbone {name!r} reads {sorted(sides)} px; only squares are used")
    return sides.pop()


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BackboneError(f"{path.parent.name}/{path.name} is not readable JSON") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
