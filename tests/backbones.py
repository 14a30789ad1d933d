"""A random open_clip backbone: right in shape and in format, and quick to make."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from operators.backbone import CONFIG_FILE

_TEXT = {"context_length": 32, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1}
TINY: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 48, "layers": 2, "width": 64, "patch_size": 8},
        "text_cfg": _TEXT,
    },
    "preprocess_cfg": {"size": 48, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]},
}
#: CLIP's residual network, with attention pooling and QuickGELU: another family altogether.
TINY_RESNET: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 24,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8},
        "text_cfg": _TEXT,
    },
    "preprocess_cfg": {"size": 64},
}


def write_backbone(folder: Path, seed: int = 0, config: dict[str, Any] = TINY) -> Path:
    """Write a local-dir with random weights; the same ones for a seed."""
    import open_clip

    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    torch.manual_seed(seed)
    model = open_clip.create_model(f"local-dir:{folder}")
    save_file(dict(model.state_dict()), str(folder / "open_clip_model.safetensors"))
    return folder
