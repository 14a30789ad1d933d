"""The loader: safetensors only, names that are refused say what is known, the embedded card."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from operators.backbone import (
    CONFIG_FILE,
    MIEN_LITE_DIR,
    BackboneError,
    backbone_info,
    known_backbones,
    load_backbone,
)

TINY = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 24, "layers": 1, "width": 64, "patch_size": 8},
        "text_cfg": {
            "context_length": 16,
            "vocab_size": 49408,
            "width": 16,
            "heads": 2,
            "layers": 1,
        },
    },
    "preprocess_cfg": {"size": 24, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]},
}


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An open_clip folder with random weights of a small vision transformer."""
    import open_clip

    folder = tmp_path_factory.mktemp("tiny")
    (folder / CONFIG_FILE).write_text(json.dumps(TINY))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}")
    save_file(dict(model.state_dict()), str(folder / "open_clip_model.safetensors"))
    return folder


def test_folder_loads_frozen_with_its_hash_and_pixel_statistics(tiny_folder: Path) -> None:
    backbone = load_backbone(str(tiny_folder))
    weights = (tiny_folder / "open_clip_model.safetensors").read_bytes()
    assert backbone.sha256 == hashlib.sha256(weights).hexdigest()
    assert (backbone.image_size_px, backbone.embedding_dim) == (24, 16)
    assert (backbone.mean, backbone.std) == ((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    assert backbone.card is None
    assert backbone.zero_shot_temperature == 1.0
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())
    assert not backbone.model.training
    again = load_backbone(f"local-dir:{tiny_folder}")
    texts = ["a happy face", "a sad face"]
    np.testing.assert_array_equal(backbone.encode_text(texts), again.encode_text(texts))


def test_info_agrees_with_the_loaded_backbone(tiny_folder: Path) -> None:
    info, backbone = backbone_info(str(tiny_folder)), load_backbone(str(tiny_folder))
    assert info.sha256 == backbone.sha256
    assert info.image_size_px == backbone.image_size_px
    assert info.embedding_dim == backbone.embedding_dim


@pytest.mark.parametrize("suffix", [".bin", ".pth", ".pt", ".pkl", ".ckpt", ".PT"])
def test_a_folder_with_pickled_weights_is_refused_beside_good_ones(
    tiny_folder: Path, tmp_path: Path, suffix: str
) -> None:
    for path in tiny_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / f"extra{suffix}").write_bytes(b"")
    with pytest.raises(BackboneError, match="pickled"):
        load_backbone(str(tmp_path))


@pytest.mark.parametrize("count", [0, 2])
def test_a_folder_without_exactly_one_weight_file_is_refused(
    tiny_folder: Path, tmp_path: Path, count: int
) -> None:
    (tmp_path / CONFIG_FILE).write_text((tiny_folder / CONFIG_FILE).read_text())
    for index in range(count):
        (tmp_path / f"{index}.safetensors").write_bytes(b"")
    with pytest.raises(BackboneError, match=f"{count} .safetensors"):
        load_backbone(str(tmp_path))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(BackboneError, match=r"mien-lite.*close: .*ViT-B-32/openai"):
        load_backbone("ViT-B-32/opnai")


def test_a_model_without_weights_names_its_tags() -> None:
    with pytest.raises(BackboneError, match=r"pretrained tag.*ViT-B-32/openai"):
        load_backbone("ViT-B-32")


def test_a_path_that_is_no_folder_is_refused() -> None:
    with pytest.raises(BackboneError, match="no such folder"):
        load_backbone("./no/such/folder")


def test_embedded_backbone_is_small_and_its_card_names_its_weights() -> None:
    files = list(MIEN_LITE_DIR.iterdir())
    assert sum(path.stat().st_size for path in files) <= 25e6
    backbone = load_backbone("mien-lite")
    assert backbone.card is not None
    assert backbone.card["sha256"] == backbone.sha256
    assert backbone.zero_shot_temperature == backbone.card["zero_shot_temperature"]
    assert known_backbones()[0]["card"] == backbone.card


def test_texts_have_unit_length_and_words_never_seen_are_harmless() -> None:
    backbone = load_backbone("mien-lite")
    texts = backbone.encode_text(["a happy face", "a quixotic happy face", "an angry face"])
    assert texts.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-6)
    happy, odd, angry = texts
    assert happy @ odd > happy @ angry
    assert backbone.encode_text([]).shape == (0, backbone.embedding_dim)
