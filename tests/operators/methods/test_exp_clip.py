"""exp_clip: what must hold of a projection learnt on a frozen backbone, whatever the backbone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from operators.backbone import Backbone, load_backbone
from operators.core.tower import ImageTower
from operators.methods.artifact import Artifact, ArtifactError, make_card
from operators.methods.exp_clip import NAME, ExpClip, fit
from operators.methods.registry import FitData
from operators.methods.zero_shot import ZeroShot
from operators.training.checkpoint import Checkpoint
from operators.training.projection import (
    contrastive_loss,
    regression,
    retrieval,
    train_projection,
    triangular,
)
from schemas.config import Fit, FitExpClip, Score
from schemas.tables import LABELS
from tests.backbones import TINY, TINY_RESNET, write_backbone

pytestmark = pytest.mark.slow  # seconds each, or many of them

PROMPTS = {label: (f"a {label} face", f"a photo of {label}") for label in LABELS}
RNG = np.random.default_rng(0)


def nothing(done: int, total: int, text: str) -> None:
    return None


@pytest.fixture(scope="module")
def backbone(tiny_backbone: Path) -> Backbone:
    return load_backbone(str(tiny_backbone))


def artifact(backbone: Backbone, projection: np.ndarray, prompts: Any = None) -> Artifact:
    chosen = {label: list((prompts or PROMPTS)[label]) for label in LABELS}
    card = make_card(NAME, backbone, prompts=chosen, temperature=1.0)
    return Artifact(card, {"projection": projection.astype(np.float32)})


def unit(*shape: int) -> np.ndarray:
    vectors = np.random.default_rng(1).standard_normal(shape)
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def weight(backbone: Backbone) -> np.ndarray:
    return RNG.standard_normal((40, backbone.embedding_dim)).astype(np.float32)


def scores(backbone: Backbone, projection: np.ndarray, faces: np.ndarray, prompts: Any = None):
    return ExpClip(Score(), backbone, artifact(backbone, projection, prompts)).score(faces)


def test_the_triangular_factor_gives_the_same_cosines(backbone: Backbone, weight: Any) -> None:
    faces = unit(9, backbone.embedding_dim)
    through_w = scores(backbone, weight, faces)
    np.testing.assert_allclose(scores(backbone, triangular(weight), faces), through_w, atol=1e-5)
    assert triangular(weight).shape == (backbone.embedding_dim,) * 2


def test_scaling_the_projection_changes_nothing(backbone: Backbone, weight: Any) -> None:
    faces = unit(9, backbone.embedding_dim)
    expected = scores(backbone, weight, faces)
    np.testing.assert_allclose(scores(backbone, 7.5 * weight, faces), expected, atol=1e-6)


def test_identity_is_plain_zero_shot(backbone: Backbone) -> None:
    faces = unit(9, backbone.embedding_dim)
    single = {label: (f"a {label} face",) for label in LABELS}
    cfg = Score.model_validate({"zero_shot": {"prompts": single, "temperature": 1.0}})
    plain = ZeroShot(cfg, backbone).score(faces)
    eye = np.eye(backbone.embedding_dim)
    np.testing.assert_allclose(scores(backbone, eye, faces, single), plain, atol=1e-6)


def test_faces_do_not_see_each_other(backbone: Backbone, weight: Any) -> None:
    faces = unit(9, backbone.embedding_dim)
    order = RNG.permutation(9)
    expected = scores(backbone, weight, faces)
    assert np.array_equal(scores(backbone, weight, faces[order]), expected[order])
    assert np.array_equal(scores(backbone, weight, faces[3:4]), expected[3:4])


def test_prompts_within_a_label_have_no_order_and_labels_keep_theirs(
    backbone: Backbone, weight: Any
) -> None:
    faces = unit(5, backbone.embedding_dim)
    expected = scores(backbone, weight, faces)
    turned = {label: PROMPTS[label][::-1] for label in LABELS}
    np.testing.assert_allclose(scores(backbone, weight, faces, turned), expected, atol=1e-6)
    moved = dict(zip(LABELS, [PROMPTS[label] for label in (*LABELS[1:], LABELS[0])], strict=True))
    shifted = scores(backbone, weight, faces, moved)
    np.testing.assert_allclose(shifted, np.roll(expected, -1, axis=1), atol=1e-6)


def test_an_ensemble_of_one_prompt_is_that_prompt(backbone: Backbone, weight: Any) -> None:
    faces = unit(5, backbone.embedding_dim)
    once = {label: PROMPTS[label][:1] for label in LABELS}
    twice = {label: PROMPTS[label][:1] * 2 for label in LABELS}
    expected = scores(backbone, weight, faces, once)
    np.testing.assert_allclose(scores(backbone, weight, faces, twice), expected, atol=1e-6)
    assert not np.allclose(scores(backbone, weight, faces), expected, atol=1e-4)


def test_a_clip_of_equal_frames_is_its_still_and_order_and_masks_do_not_show(
    backbone: Backbone, weight: Any
) -> None:
    method = ExpClip(Score(), backbone, artifact(backbone, weight))
    faces = unit(6, backbone.embedding_dim)
    still = method.score(faces[:1])
    np.testing.assert_allclose(method.score_clips(faces[:1].repeat(4, 0)[None]), still, atol=1e-6)
    clip = method.score_clips(faces[None])
    np.testing.assert_allclose(method.score_clips(faces[None, ::-1]), clip, atol=1e-6)
    padded = np.concatenate([faces, np.full((2, faces.shape[1]), np.nan, np.float32)])
    mask = np.array([[True] * 6 + [False] * 2])
    np.testing.assert_allclose(method.score_clips(padded[None], mask), clip, atol=1e-6)
    with pytest.raises(ValueError, match="no frame"):
        method.score_clips(faces[None], np.zeros((1, 6), bool))


def test_the_loss_treats_both_sides_alike() -> None:
    one, other = torch.randn(8, 5), torch.randn(8, 5)
    there, back = contrastive_loss(one, other, 10.0), contrastive_loss(other, one, 10.0)
    torch.testing.assert_close(there, back)
    assert contrastive_loss(one, one, 10.0) < there


def toy() -> tuple[np.ndarray, np.ndarray]:
    """A hidden cause seen by a student (32 wide) and a teacher (80 wide), both nonlinearly."""
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((1024, 12))
    student = np.tanh(hidden @ rng.standard_normal((12, 32)) / 4)
    teacher = np.tanh(hidden @ rng.standard_normal((12, 80)) / 4)
    return student.astype(np.float32), teacher.astype(np.float32)


@pytest.mark.parametrize(("init", "rate"), [("regression", 0.02), ("random", 0.5)])
def test_a_projection_learns_what_student_and_teacher_share(init: str, rate: float) -> None:
    student, teacher = toy()
    cfg = FitExpClip.model_validate(
        {"epochs": 100, "batch_size": 256, "init": init, "learning_rate": rate}
    )
    weight, losses = train_projection(
        student[:896], teacher[:896], cfg, 20.0, 0, nothing, Checkpoint()
    )
    assert losses[-1] < losses[0]
    assert retrieval(student[896:], teacher[896:], weight) > 0.9
    shuffled = teacher[np.random.default_rng(1).permutation(1024)]
    lost, _ = train_projection(student[:896], shuffled[:896], cfg, 20.0, 0, nothing, Checkpoint())
    assert retrieval(student[896:], shuffled[896:], lost) < 0.06  # chance is 1 in 128


def test_regression_starts_from_what_predicts_the_teacher_whatever_all_faces_share() -> None:
    student, teacher = toy()
    start = regression(student, teacher)
    assert retrieval(student, teacher, start) > 0.5
    moved = regression(student + np.float32(3), teacher - np.float32(2))
    np.testing.assert_allclose(moved, start, atol=1e-4)
    assert np.square(start).sum(axis=0).mean() == pytest.approx(1, abs=1e-4)


def test_an_interrupted_fit_ends_equal_to_an_uninterrupted_one(tmp_path: Path) -> None:
    student, teacher = toy()
    cfg = FitExpClip(epochs=6, batch_size=128)
    whole, curve = train_projection(student, teacher, cfg, 20.0, 3, nothing, Checkpoint())

    def stop(done: int, total: int, text: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    checkpoint = Checkpoint(tmp_path / "state.pt")
    with pytest.raises(KeyboardInterrupt):
        train_projection(student, teacher, cfg, 20.0, 3, stop, checkpoint)
    seen: list[int] = []
    resumed, again = train_projection(
        student, teacher, cfg, 20.0, 3, lambda done, *_: seen.append(done), checkpoint
    )
    assert seen == [3, 4, 5, 6]
    assert np.array_equal(resumed, whole)
    assert again == curve
    with pytest.raises(ValueError, match="another recipe"):
        train_projection(student[:-1], teacher[:-1], cfg, 20.0, 3, nothing, checkpoint)


@pytest.mark.parametrize("config", [TINY, TINY_RESNET], ids=["vit", "resnet"])
def test_fit_freezes_the_backbone_and_its_artifact_comes_back_equal(
    config: dict[str, Any], tmp_path: Path
) -> None:
    backbone = load_backbone(str(write_backbone(tmp_path / "b", config=config)))
    before = {name: value.clone() for name, value in backbone.model.state_dict().items()}
    size = backbone.image_size_px
    crops = np.random.default_rng(0).integers(0, 256, (64, size, size, 3)).astype(np.uint8)
    faces = ImageTower(backbone)(crops)
    labels = np.arange(64) % 7
    teacher = np.random.default_rng(1).standard_normal((7, 12))[labels].astype(np.float32)
    data = FitData(64, "-", lambda: faces, lambda: iter([crops]), labels=labels, teacher=teacher)
    cfg = Fit.model_validate({"held_out": 0.3, "exp_clip": {"epochs": 2}})
    made = fit(cfg, backbone, data, nothing, Checkpoint())
    after = backbone.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())
    assert made.card["teacher"] == {
        "kind": "column",
        "name": "column `teacher` of the data",
        "supervised": None,
        "dim": 12,
    }
    assert made.card["calibrated"]
    made.save(tmp_path / "artifact")
    back = Artifact.load(tmp_path / "artifact")
    assert back.sha256 == made.sha256
    expected = ExpClip(Score(), backbone, made).score(faces)
    assert np.array_equal(ExpClip(Score(), backbone, back).score(faces), expected)
    assert expected.shape == (64, 7)

    other = load_backbone(str(write_backbone(tmp_path / "o", seed=1, config=config)))
    with pytest.raises(ArtifactError, match="fitted on backbone"):
        ExpClip(Score(), other, back)


def test_artifacts_of_something_else_are_refused(backbone: Backbone, tmp_path: Path) -> None:
    good = artifact(backbone, np.eye(backbone.embedding_dim))
    turned = Artifact({**good.card, "labels": list(LABELS[::-1])}, good.tensors)
    with pytest.raises(ArtifactError, match="knows the labels neutral"):
        ExpClip(Score(), backbone, turned)
    with pytest.raises(ArtifactError, match="is of other, not of exp_clip"):
        ExpClip(Score(), backbone, Artifact({**good.card, "method": "other"}, good.tensors))
    with pytest.raises(ArtifactError, match="no such folder"):
        Artifact.load(tmp_path / "nowhere")
    good.save(tmp_path / "a")
    other = Artifact(good.card, {"projection": np.zeros((3, backbone.embedding_dim))})
    other.save(tmp_path / "b")
    (tmp_path / "b" / "card.json").write_bytes((tmp_path / "a" / "card.json").read_bytes())
    with pytest.raises(ArtifactError, match="do not belong together"):
        Artifact.load(tmp_path / "b")
    for tensors, says in (
        ({}, "no projection of 16 columns"),
        ({"projection": np.zeros((4, 5))}, "no projection of 16 columns"),
        ({"projection": np.full((4, 16), np.nan)}, "not finite"),
    ):
        with pytest.raises(ArtifactError, match=says):
            ExpClip(Score(), backbone, Artifact(good.card, tensors))
    (tmp_path / "a" / "artifact.safetensors").write_bytes(b"not a tensor")
    with pytest.raises(ArtifactError, match="not readable"):
        Artifact.load(tmp_path / "a")
    (tmp_path / "a" / "artifact.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"artifact\.safetensors is missing"):
        Artifact.load(tmp_path / "a")
    Artifact({**good.card, "format_version": 99}, good.tensors).save(tmp_path / "a")
    with pytest.raises(ArtifactError, match="format 99"):
        Artifact.load(tmp_path / "a")


@pytest.mark.parametrize(
    ("changes", "columns", "text"),
    [
        ({"teacher": "column"}, {}, "no column `teacher`"),
        ({"teacher": "sentence"}, {}, "column `caption`, or `label`"),
        ({}, {"labels": np.array([0, -1])}, "1 faces have none"),
        ({"teacher": "image-to-text"}, {}, "needs fit.exp_clip.teacher_path"),
        ({"prompts": {"anger": ["x"]}}, {"labels": np.array([0, 1])}, "exactly the labels"),
    ],
)
def test_data_that_cannot_teach_is_refused_before_any_pass_over_it(
    changes: dict[str, Any], columns: dict[str, Any], text: str, backbone: Backbone
) -> None:
    def passes() -> Any:
        raise AssertionError("a pass was made")

    cfg = Fit.model_validate({"exp_clip": changes})
    with pytest.raises(ValueError, match=text):
        fit(cfg, backbone, FitData(2, "-", passes, passes, **columns), nothing, Checkpoint())
