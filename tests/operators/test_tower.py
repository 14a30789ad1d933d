"""The image tower: an embedding depends on its own crop, and on nothing else."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from operators.backbone import CONFIG_FILE, Backbone, load_backbone
from operators.core.tower import ImageTower, resize_crops

TINY = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
        "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
    },
    "preprocess_cfg": {"size": 32, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]},
}


@pytest.fixture(scope="module", params=["mien-lite", "transformer"])
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """The embedded backbone, and a random vision transformer of another input size."""
    if request.param == "mien-lite":
        return load_backbone("mien-lite")
    import open_clip

    folder = tmp_path_factory.mktemp("transformer")
    (folder / CONFIG_FILE).write_text(json.dumps(TINY))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}")
    save_file(dict(model.state_dict()), str(folder / "open_clip_model.safetensors"))
    return load_backbone(str(folder))


@pytest.fixture(scope="module")
def tower(backbone: Backbone) -> ImageTower:
    return ImageTower(backbone, batch_shape=16)


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (37, 48, 48, 3)).astype(np.uint8)


def test_embeddings_equal_to_the_bit_in_any_order(tower: ImageTower, crops: np.ndarray) -> None:
    order = np.random.default_rng(1).permutation(len(crops))
    np.testing.assert_array_equal(tower(crops[order]), tower(crops)[order])


@pytest.mark.parametrize("sizes", [(1,) * 37, (36, 1), (16, 21), (5, 0, 32)])
def test_embeddings_equal_to_the_bit_in_any_split(
    tower: ImageTower, crops: np.ndarray, sizes: tuple[int, ...]
) -> None:
    parts = np.split(crops, np.cumsum(sizes)[:-1])
    np.testing.assert_array_equal(np.concatenate([tower(part) for part in parts]), tower(crops))


def test_embeddings_have_unit_length_and_differ(tower: ImageTower, crops: np.ndarray) -> None:
    embeddings = tower(crops)
    assert embeddings.shape == (37, tower.embedding_dim)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)
    assert len(np.unique(embeddings, axis=0)) == 37


def test_compiled_tower_agrees_with_torch(
    backbone: Backbone, tower: ImageTower, crops: np.ndarray
) -> None:
    images = resize_crops(crops, backbone.image_size_px).astype(np.float32) / 255
    images = (images - np.asarray(backbone.mean)) / np.asarray(backbone.std)
    with torch.inference_mode():
        tensor = torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2)
        expected = backbone.model.encode_image(tensor, normalize=True)  # type: ignore[operator]
    cosine = (tower(crops) * expected.numpy()).sum(axis=1)
    assert cosine.min() > 0.995  # bf16 keeps 8 bits of each product


def test_read_only_crops_of_any_size_are_resized(tower: ImageTower, crops: np.ndarray) -> None:
    large = crops.repeat(2, axis=1).repeat(2, axis=2)
    large.setflags(write=False)
    assert (tower(large) * tower(crops)).sum(axis=1).min() > 0.8


def test_no_crop_is_zero_rows(tower: ImageTower) -> None:
    assert tower(np.zeros((0, 48, 48, 3), np.uint8)).shape == (0, tower.embedding_dim)


def test_other_arrays_are_refused(tower: ImageTower) -> None:
    with pytest.raises(ValueError, match="uint8"):
        tower(np.zeros((1, 48, 48, 3), np.float32))
    with pytest.raises(ValueError, match="square"):
        tower(np.zeros((1, 48, 40, 3), np.uint8))


def test_resizing_keeps_a_flat_crop_flat() -> None:
    assert np.all(resize_crops(np.full((2, 112, 112, 3), 77, np.uint8), 48) == 77)
