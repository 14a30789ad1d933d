"""Several methods in one run, a method added later, and crops to fit one on: on a real cluster."""

import collections
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from infra.errors import ConfigurationError, Refused
from infra.store import Store
from operators.backbone import load_backbone
from operators.methods.artifact import Artifact, make_card
from pipelines import steps
from pipelines.configuration import config_from
from pipelines.crops import write_crops
from pipelines.query import open_store
from pipelines.report_data import pairs
from pipelines.score import score
from schemas.config import Config
from schemas.flow import FACES_FILE
from schemas.tables import LABELS
from tests.backbones import write_backbone
from tests.pipelines.jobs import GOVERNANCE, frames, tables
from tests.videos import write_video

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One video of 5 s with a face."""
    folder = tmp_path_factory.mktemp("archive")
    write_video(folder / "whole.mp4", frames(40, 1), fps=8)
    return folder


@pytest.fixture(scope="module")
def artifact(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A projection that never saw data: what it says means nothing, and differs from zero-shot."""
    backbone = load_backbone(str(tiny_backbone))
    prompts = {label: [f"a {label} face"] for label in LABELS}
    card = make_card("exp_clip", backbone, prompts=prompts, temperature=0.05)
    weights = np.random.default_rng(0).standard_normal((16, 16)).astype(np.float32)
    out = tmp_path_factory.mktemp("artifact")
    Artifact(card, {"projection": weights}).save(out)
    return out


def config(archive: Path, store: Path, backbone: Path, *methods: str, **more: Any) -> Config:
    return config_from(
        {
            "source": str(archive),
            "store": str(store),
            "governance": GOVERNANCE,
            "plan": {"segment_seconds": 2},
            "extract": {"detector_px": 320, "actors": 1},
            "embed": {"backbone": str(backbone)},
            "tracking": {"enabled": False},
            "score": {"methods": list(methods) or ["zero_shot"]},
            **more,
        }
    )


def rows_of(store: Path, method: str) -> Any:
    scores = tables(store)["scores"]
    return scores.filter(pc.equal(scores["method"], method))


def test_two_methods_score_each_face_once_on_one_embedding(
    archive: Path,
    artifact: Path,
    tiny_backbone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Together in one run, or one after the other: equal rows, and the first's are not touched."""
    monkeypatch.setenv("MIEN_KEY", "5e" * 32)  # both stores name faces alike
    both = tmp_path / "both"
    cfg = config(archive, both, tiny_backbone, "zero_shot", f"exp_clip@{artifact}")
    operators = [step.operator.__name__ for step in steps.open_steps(steps_settings(cfg))]
    assert operators == ["Embed", "Protect", "Score"]
    assert score(cfg, QUIET).exit_code == 0
    faces = tables(both)["faces"]["face_id"].to_pylist()
    counted = collections.Counter(tables(both)["scores"]["face_id"].to_pylist())
    assert counted == dict.fromkeys(faces, 2)

    later = tmp_path / "later"
    score(config(archive, later, tiny_backbone, "zero_shot"), QUIET)
    first, before = rows_of(later, "zero_shot"), Store.open(str(later), create=False).latest()
    score(config(archive, later, tiny_backbone, "zero_shot", f"exp_clip@{artifact}"), QUIET)
    after = Store.open(str(later), create=False).latest()
    for name in ("faces", "tracks", "segments"):
        assert after.of(name) == before.of(name)
    assert set(before.of("scores")) <= set(after.of("scores"))
    assert rows_of(later, "zero_shot").equals(first)
    for method in ("zero_shot", "exp_clip"):
        assert rows_of(later, method).equals(rows_of(both, method))

    (pair,), share = pairs(open_store(str(both)), len(counted) * 2)
    assert (pair.first, pair.second, share) == ("exp_clip", "zero_shot", 1)
    assert pair.faces == len(faces)
    assert pair.mean_distance > 0.1


def steps_settings(cfg: Config) -> Any:
    from pipelines.settings import resolve_settings

    return resolve_settings(cfg)


def test_an_artifact_counts_by_its_content(
    artifact: Path, tiny_backbone: Path, tmp_path: Path
) -> None:
    """Copied elsewhere it is the same artifact; with other weights it is another score."""
    made = Artifact.load(artifact)
    made.save(tmp_path / "copy")
    Artifact(made.card, {"projection": 2 * made.tensors["projection"]}).save(tmp_path / "other")

    def hash_of(path: Path) -> str:
        cfg = config(tmp_path, tmp_path, tiny_backbone, f"exp_clip@{path}")
        return steps_settings(cfg).chosen[0].score_hash

    assert hash_of(tmp_path / "copy") == hash_of(artifact) != hash_of(tmp_path / "other")
    elsewhere = write_backbone(tmp_path / "elsewhere", seed=5)
    with pytest.raises(ConfigurationError, match="fitted on backbone"):
        steps_settings(config(tmp_path, tmp_path, elsewhere, f"exp_clip@{artifact}"))


def test_crops_are_safe_faces_by_track_and_a_sample_is_always_the_same(
    archive: Path, tiny_backbone: Path, tmp_path: Path
) -> None:
    cfg = config(archive, tmp_path / "no store", tiny_backbone, privacy={"anonymizer": "solid"})
    assert write_crops(cfg, tmp_path / "all.parquet", None, QUIET) == (20, 0)  # 5 s, 4 a second
    every = pq.read_table(tmp_path / "all.parquet")
    assert every.schema.equals(FACES_FILE)
    assert len(set(every["clip_id"].to_pylist())) == 1  # one track over three segments
    assert every["pts_seconds"].to_pylist() == sorted(set(every["pts_seconds"].to_pylist()))
    assert len(set(every["image"].to_pylist())) == 1  # the anonymizer left one grey
    assert not (tmp_path / "no store").exists()

    drawn = []
    for actors in (1, 2):  # another key and other workers
        cfg = cfg.model_copy(update={"extract": cfg.extract.model_copy(update={"actors": actors})})
        some = tmp_path / f"{actors}.parquet"
        assert write_crops(cfg, some, 7, QUIET) == (7, 0)
        drawn.append(pq.read_table(some)["pts_seconds"].to_pylist())
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) < set(every["pts_seconds"].to_pylist())
    with pytest.raises(ConfigurationError, match="there already, perhaps with labels"):
        write_crops(cfg, tmp_path / "all.parquet", None, QUIET)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"governance": None}, Refused, "no governance section"),
        ({"privacy": {"anonymizer": "none"}}, ConfigurationError, "would hold raw faces"),
        ({"source": None}, ConfigurationError, "no source"),
    ],
)
def test_crops_are_refused_before_any_work(
    changes: dict[str, Any],
    error: type[Exception],
    says: str,
    archive: Path,
    tiny_backbone: Path,
    tmp_path: Path,
) -> None:
    cfg = config(archive, tmp_path / "store", tiny_backbone, **changes)
    with pytest.raises(error, match=says):
        write_crops(cfg, tmp_path / "faces.parquet", None, QUIET)
    assert not list(tmp_path.iterdir())
