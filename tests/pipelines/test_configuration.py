"""Configuration: one plain line for every mistake, and the exit code that the docs name."""

import io
from pathlib import Path

import numpy as np
import pytest
import yaml

from infra.errors import ConfigurationError, Refused
from operators.backbone import load_backbone
from operators.core import k_same
from operators.methods.artifact import Artifact, make_card
from operators.methods.identity_projection import IDENTITY_PROJECTION
from pipelines.configuration import load_config, to_yaml
from pipelines.gate import require_governance
from pipelines.settings import resolve_settings
from schemas.config import Config

ROOT = Path(__file__).parents[2]


def test_the_sample_job_is_valid_and_complete() -> None:
    cfg = load_config(ROOT / "job.yaml")
    assert require_governance(cfg).retention_days == 90
    resolve_settings(cfg)


def test_what_config_prints_is_a_configuration_that_changes_nothing() -> None:
    cfg = load_config(
        ROOT / "job.yaml", ["extract.frames_per_second=all", "privacy.anonymizer=blur"]
    )
    assert Config.model_validate(yaml.safe_load(to_yaml(cfg))) == cfg


def test_a_dash_is_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("plan: {segment_seconds: 7}"))
    assert load_config(Path("-"), ["source=here"]).plan.segment_seconds == 7


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("extract.frames_per_secnd=2", "did you mean frames_per_second"),
        ("exract.crop_px=2", "did you mean extract"),
        ("extract.frames_per_second=fast", "extract.frames_per_second"),
        ("plan.segment_seconds=0", "plan.segment_seconds"),
        ("privacy.anonymizer.strenght=3", "did you mean strength"),
        ("source", "written key.sub=value"),
        ("source.deep=1", None),
        ("run.stop_at=25:00", "run.stop_at"),
    ],
)
def test_a_bad_key_or_value_is_named(override: str, says: str | None) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        load_config(ROOT / "job.yaml", [override])
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "override",
    ["governance.purpose=curiosity", "governance.retention_days=0", "governance.overseer="],
)
def test_bad_governance_is_refused(override: str) -> None:
    with pytest.raises(Refused, match=override.split("=")[0]) as caught:
        load_config(ROOT / "job.yaml", [override])
    assert caught.value.exit_code == 5


def test_no_governance_is_refused_and_says_what_to_state() -> None:
    with pytest.raises(Refused, match="controller, operator, purpose"):
        require_governance(Config())


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("privacy.anonymizer=hat", "unknown anonymizer 'hat'; known: blur, downsample"),
        ("score.methods=[zero_shoot]", "unknown method 'zero_shoot'; known:.*zero_shot"),
        ("score.methods=[zero_shot@here]", "takes no artifact"),
        ("score.methods=[]", "empty"),
        ("score.methods=[zero_shot,zero_shot]", "twice"),
        ("embed.backbone=mien-light", "mien-lite"),
    ],
)
def test_an_unknown_name_lists_the_known(override: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        resolve_settings(load_config(ROOT / "job.yaml", [override]))


def test_the_anonymizer_shorthand_takes_a_strength() -> None:
    cfg = load_config(ROOT / "job.yaml", ["privacy.anonymizer.strength=32"])
    assert cfg.privacy.anonymizer.name == "downsample"
    assert cfg.privacy.anonymizer.strength == 32


def hashes(*overrides: str) -> tuple[str, str]:
    settings = resolve_settings(load_config(ROOT / "job.yaml", list(overrides)))
    return settings.extract_hash, settings.chosen[0].score_hash


@pytest.mark.parametrize(
    "override",
    [
        "embed.actors=3",
        "extract.actors=3",
        "source=elsewhere",
        "store=elsewhere",
        "run.max_quarantined=1",
        "cluster.num_cpus=7",
        "governance.overseer=me",
        "plan.exclude=['*.avi']",
        "tracking.enabled=false",
    ],
)
def test_how_a_run_is_done_is_not_what_it_does(override: str) -> None:
    assert hashes(override) == hashes()


@pytest.mark.parametrize(
    "override",
    [
        "extract.frames_per_second=2",
        "plan.segment_seconds=30",
        "privacy.anonymizer=blur",
        "privacy.anonymizer.strength=24",
        "extract.crop_px=96",
        "extract.detector_threshold=0.6",
    ],
)
def test_other_faces_are_another_extract_and_another_score(override: str) -> None:
    extract, score = hashes(override)
    assert extract != hashes()[0]
    assert score != hashes()[1]


def test_kept_vectors_are_another_scoring_and_so_is_another_encoder_of_them(
    tiny_backbone: Path,
) -> None:
    kept, other = "embed.protection=raw", f"embed.backbone={tiny_backbone}"
    same_size = "extract.crop_px=48"  # an encoder alone is another score of the same faces
    extract = [hashes(same_size, *more)[0] for more in ((), (other,), (kept,), (kept, other))]
    assert extract[0] == extract[1]
    assert len(set(extract)) == 3


@pytest.mark.parametrize("override", ["embed.protection=projected", "embed.projection=somewhere"])
def test_a_projection_and_its_use_go_together(override: str) -> None:
    with pytest.raises(ConfigurationError, match="go together: `mien fit identity_projection`"):
        load_config(ROOT / "job.yaml", [override])


def test_a_projection_is_that_of_this_encoder(tiny_backbone: Path, tmp_path: Path) -> None:
    card = make_card(IDENTITY_PROJECTION.name, load_backbone(str(tiny_backbone)))
    Artifact(card, {"projection": np.eye(16, dtype=np.float32)}).save(tmp_path / "projection")
    given = ["embed.protection=projected", f"embed.projection={tmp_path / 'projection'}"]
    mine = [*given, f"embed.backbone={tiny_backbone}"]
    assert resolve_settings(load_config(ROOT / "job.yaml", mine)).projection is not None
    with pytest.raises(ConfigurationError, match="fitted on backbone"):
        resolve_settings(load_config(ROOT / "job.yaml", given))
    Artifact({**card, "method": "exp_clip"}, {}).save(tmp_path / "projection")
    with pytest.raises(ConfigurationError, match="is of exp_clip, not of identity_projection"):
        resolve_settings(load_config(ROOT / "job.yaml", mine))


def test_the_files_of_an_anonymizer_are_part_of_what_it_makes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = hashes("privacy.anonymizer=k-same")
    other = tmp_path / "k_same.safetensors"
    other.write_bytes(b"other averages")
    monkeypatch.setattr(k_same, "REFERENCES_FILE", other)
    extract, score = hashes("privacy.anonymizer=k-same")
    assert extract != before[0]
    assert score != before[1]


def test_another_method_section_is_another_score_on_the_same_faces() -> None:
    extract, score = hashes("score.zero_shot.temperature=2")
    assert extract == hashes()[0]
    assert score != hashes()[1]


def test_a_crop_size_chosen_by_hand_equals_the_same_size_chosen_by_the_backbone() -> None:
    px = resolve_settings(load_config(ROOT / "job.yaml")).crop_px
    assert hashes(f"extract.crop_px={px}") == hashes()
