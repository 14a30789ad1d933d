"""Training: what it may see, what its losses reward, and that an interruption changes nothing."""

import io
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from infra.errors import ConfigurationError
from operators.evaluation.metrics import summarise
from operators.training.calibration import fit_temperature
from operators.training.contrastive import (
    ContrastiveTrainer,
    Recipe,
    image_to_text_loss,
    soft_labels,
    text_to_image_loss,
)
from operators.training.faces import (
    anonymize_some,
    augment,
    clean_faces,
    epoch_order,
    split_for_calibration,
)
from pipelines.pretrain import main, new_trainer, read_grey
from schemas.tables import LABELS


def _faces(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 48, 48)).astype(np.uint8)


def test_cleaning_drops_held_out_repeated_contradicting_and_blank_faces() -> None:
    faces = _faces(8)
    faces[1] = faces[0]  # repeated with the same label
    faces[3] = faces[2]  # repeated with another label
    faces[5] = 9  # blank
    held_out = np.concatenate([faces[7:8], _faces(2, seed=1)])
    cleaning = clean_faces(faces, np.array([0, 0, 1, 2, 3, 3, 4, 5]), held_out)
    assert cleaning.keep.tolist() == [0, 4, 6]
    assert cleaning.held_out_duplicates == 1
    assert cleaning.conflicting_duplicates == 2
    assert (cleaning.repeated, cleaning.blank) == (1, 1)


def test_calibration_split_follows_the_face_not_its_place() -> None:
    faces = _faces(200)
    marks = split_for_calibration(faces, 5)
    assert 0.1 < marks.mean() < 0.3
    np.testing.assert_array_equal(split_for_calibration(faces[::-1], 5), marks[::-1])


def test_an_epoch_shows_every_face_and_rare_labels_more_often() -> None:
    labels = np.array([0] * 90 + [1] * 10 + [2] * 90)
    rows = epoch_order(labels, torch.Generator().manual_seed(0)).numpy()
    assert set(rows.tolist()) == set(range(190))
    shown = np.bincount(labels[rows])
    assert shown.tolist() == [90, 30, 90]


def test_augmentation_varies_within_the_range_of_pixels() -> None:
    faces = torch.from_numpy(_faces(32))
    out = augment(faces, 40, 0.8, torch.Generator().manual_seed(0))
    assert out.shape == (32, 40, 40)
    assert out.min() >= 0
    assert out.max() <= 1
    again = augment(faces, 40, 0.8, torch.Generator().manual_seed(0))
    assert torch.equal(out, again)
    assert not torch.equal(out, augment(faces, 40, 0.8, torch.Generator().manual_seed(1)))


def test_anonymized_faces_come_first_and_every_anonymizer_has_some() -> None:
    faces = torch.from_numpy(_faces(120))
    out = anonymize_some(faces, 0.5, torch.Generator().manual_seed(0))
    changed = (out != faces).flatten(1).any(1)
    assert not changed[60:].any()
    kinds = changed[:60].view(6, 10)  # six anonymizers, ten faces each; k-same reads with a model
    assert kinds.all(1).sum() >= 4  # `none` changes nothing, `downsample` perhaps
    assert out.dtype == torch.uint8


def test_image_loss_is_least_at_the_target() -> None:
    target = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]])
    best = image_to_text_loss(target.log().unsqueeze(1), target)
    assert best == pytest.approx(float(-(target * target.log()).sum(1).mean()), abs=1e-5)
    assert image_to_text_loss(target.flip(1).log().unsqueeze(1), target) > best


def test_soft_labels_are_shares_that_memory_moves() -> None:
    memory = torch.tensor([[1.0, 0.0, 0.0]])
    label = torch.tensor([1])
    plain = soft_labels(label, 0.3, memory, 0.0)
    torch.testing.assert_close(plain, torch.tensor([[0.1, 0.8, 0.1]]))
    moved = soft_labels(label, 0.3, memory, 0.5)
    torch.testing.assert_close(moved, torch.tensor([[0.55, 0.4, 0.05]]))


def test_faces_of_one_label_are_no_negatives_of_its_text() -> None:
    """Two equal faces of one label: the loss is at its least, log 2, not pushed apart."""
    share = torch.tensor([[1.0, 0], [1.0, 0], [0, 1.0]])
    ideal = torch.tensor([[20.0, 0], [20.0, 0], [0, 20.0]]).unsqueeze(1)
    least = (math.log(2) + 0) / 2 / math.log(3)
    assert float(text_to_image_loss(ideal, share)) == pytest.approx(least, abs=1e-5)
    one_only = torch.tensor([[20.0, 0], [0.0, 0], [0, 20.0]]).unsqueeze(1)
    assert text_to_image_loss(one_only, share) > 2 * least


def test_mixing_blends_face_target_and_share_alike(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path)
    eye = torch.eye(7)
    one, other = trainer._mix(eye, eye)
    assert torch.equal(one, other)
    torch.testing.assert_close(one.sum(1), torch.ones(7))
    assert (one.diagonal() >= 0.5).all()  # the first part weighs more


def _trainer(work: Path, epochs: int = 2) -> ContrastiveTrainer:
    recipe = Recipe(
        epochs=epochs,
        batch_size=8,
        small_px=16,
        text_steps=2,
        memory_from=0.5,
        anonymized_share=0.7,
        mixup_share=0.5,
    )
    return new_trainer(_faces(14), np.arange(14) % 7, recipe, work)


@pytest.mark.slow
def test_an_interrupted_training_ends_equal_to_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = _trainer(tmp_path)
    saved = []
    for _ in range(whole.recipe.epochs):
        buffer = io.BytesIO()
        torch.save(whole.state(), buffer)
        saved.append(buffer)
        whole.run_epoch()
    saved[1].seek(0)
    resumed = _trainer(tmp_path)
    resumed.restore(torch.load(saved[1], weights_only=True))
    while resumed.epoch < resumed.recipe.epochs:
        resumed.run_epoch()
    expected, found = whole.export(), resumed.export()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert torch.equal(whole.memory, resumed.memory)


def test_words_never_trained_share_one_row_of_the_exported_table(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path)
    table = trainer.export()["token_embedding.weight"]
    used = set(torch.cat([tokens.flatten() for tokens in trainer.tokens]).tolist())
    free = [token for token in range(49408) if token not in used]
    assert table.shape == (49408, 128)
    assert bool((table[free] == table[free[0]]).all())
    assert not torch.equal(table[free[0]], table[min(used)])


def test_temperature_undoes_overconfidence() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 5)) * 2
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([rng.choice(5, p=share) for share in shares])
    assert fit_temperature(3 * logits, labels) == pytest.approx(3, rel=0.1)


def test_summary_counts_rows_as_true_labels() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    metrics = summarise(probabilities, np.array([0, 1, 1]), ("a", "b"))
    assert metrics["confusion"] == [[1, 0], [1, 1]]
    assert (metrics["accuracy"], metrics["uar"]) == (0.6667, 0.75)
    assert metrics["ece"] == pytest.approx((0.1 + 0.8 + 0.3) / 3, abs=1e-4)


def _parquet(path: Path, labels: list[str]) -> str:
    images = []
    for face in _faces(len(labels)):
        buffer = io.BytesIO()
        Image.fromarray(face).save(buffer, "png")
        images.append(buffer.getvalue())
    pq.write_table(pa.table({"image": images, "label": labels}), path)
    return str(path)


def test_bad_training_data_is_named_before_training(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"unknown labels.*bliss"):
        read_grey(_parquet(tmp_path / "a.parquet", ["anger", "bliss"]))
    pq.write_table(pa.table({"image": [b"no image"], "label": ["anger"]}), tmp_path / "b.parquet")
    with pytest.raises(ConfigurationError, match="row 0 does not decode"):
        read_grey(str(tmp_path / "b.parquet"))
    pq.write_table(pa.table({"image": [b""]}), tmp_path / "c.parquet")
    with pytest.raises(ConfigurationError, match="no column label"):
        read_grey(str(tmp_path / "c.parquet"))


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    data = _parquet(tmp_path / "t.parquet", [*LABELS, *LABELS, *LABELS, *LABELS, *LABELS])
    val = _parquet(tmp_path / "v.parquet", list(LABELS[:2]))
    (tmp_path / "work").mkdir()
    torch.save({"fingerprint": "other"}, tmp_path / "work" / "last.pt")
    with pytest.raises(ConfigurationError, match="another recipe"):
        main(["--data", data, "--val", val, "--work", str(tmp_path / "work"), "--epochs", "1"])
