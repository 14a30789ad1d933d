"""Vectors are kept where a run is told to and says on what ground, and gone when it is not told."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from infra.errors import Refused
from operators.backbone import load_backbone
from operators.methods.artifact import Artifact, make_card
from operators.methods.identity_projection import IDENTITY_PROJECTION
from operators.methods.projections import project
from pipelines.cli import main
from pipelines.configuration import load_config
from pipelines.fit import fit
from pipelines.publish import part_rows
from pipelines.query import open_store
from pipelines.score import score
from pipelines.settings import resolve_settings
from schemas.config import Config
from tests.pipelines.jobs import frames, job, tables
from tests.pipelines.test_privacy import file as faces_file
from tests.videos import write_video

QUIET = Console(quiet=True)
GROUND = {"special_category_basis": "GDPR Art. 9(2)(a)"}


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_vectors_are_kept_through_a_projection_and_then_gone(
    tiny_backbone: Path, tmp_path: Path
) -> None:
    (tmp_path / "archive").mkdir()
    write_video(tmp_path / "archive" / "a.mp4", frames(24, 1), fps=8)
    store, backbone = tmp_path / "store", load_backbone(str(tiny_backbone))
    card = make_card(IDENTITY_PROJECTION.name, backbone)
    narrow = np.random.default_rng(0).standard_normal((4, 16)).astype(np.float32)
    Artifact(card, {"projection": narrow}).save(tmp_path / "projection")

    def scored(**embed: Any) -> dict[str, pa.Table]:
        source = str(tmp_path / "archive")
        cfg = job(source, str(store), str(tiny_backbone), governance=GROUND, embed=embed)
        assert score(cfg, QUIET).exit_code == 0
        return tables(store)

    kept = scored(protection="projected", projection=str(tmp_path / "projection"))
    faces = kept["faces"]["face_id"].to_pylist()
    assert kept["embeddings"]["face_id"].to_pylist() == faces != []
    query = "SELECT DISTINCT protection, embed_hash <> '', len(embedding) FROM embeddings"
    assert open_store(str(store)).sql(query).fetchall() == [("projected", True, 4)]

    gone = scored()
    assert len(gone["embeddings"]) == 0
    assert gone["faces"].equals(kept["faces"])


def test_a_projection_is_fitted_on_people_and_says_what_it_does_for_others(
    tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    data, out = faces_file(tmp_path / "faces.parquet", 8, 4), tmp_path / "projection"
    given = [f"embed.backbone={tiny_backbone}", "tracking.enabled=false", "fit.held_out=0.3"]
    command = ["mien", "fit", "identity_projection", "--data", data, "--out", str(out), *given]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    said = " ".join(capsys.readouterr().err.split())
    assert f"embed.protection=projected embed.projection={out}; of 2 people" in said
    assert Artifact.load(out).card["removed"] == 5
    use = ["embed.protection=projected", f"embed.projection={out}", given[0]]
    projection = resolve_settings(load_config(None, use)).projection
    assert projection is not None
    assert projection.sha256 == Artifact.load(out).sha256


def test_a_registered_projection_is_found_by_name_and_served(
    tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    name, reference = "identity_projection", "models:/mien-identity_projection@newest"
    given = [f"embed.backbone={tiny_backbone}", f"tracking.uri={uri}", "fit.held_out=0.3"]
    data = faces_file(tmp_path / "faces.parquet", 8, 4)
    made = fit(load_config(None, given), name, data, tmp_path / "projection", QUIET)
    use = ["embed.protection=projected", f"embed.projection={reference}"]
    found = resolve_settings(load_config(None, [*given, *use])).projection
    assert found is not None
    assert found.sha256 == made.sha256

    mlflow.set_tracking_uri(uri)
    faces = np.random.default_rng(0).standard_normal((3, 16)).astype(np.float32)
    served = mlflow.pyfunc.load_model(reference).predict(faces)
    expected = project(faces, made.tensors["projection"].astype(np.float64))
    np.testing.assert_allclose(served, expected, atol=1e-6)


def test_parts_are_smaller_where_vectors_are_kept() -> None:
    for protection, most in (("drop", 1_000_000), ("raw", 125_000)):
        cfg = Config.model_validate({"embed": {"protection": protection}})
        assert part_rows(cfg) == most


def test_without_a_ground_nothing_begins(tiny_backbone: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    cfg = job(str(tmp_path), str(store), str(tiny_backbone), embed={"protection": "raw"})
    with pytest.raises(Refused, match="special_category_basis not stated"):
        score(cfg, QUIET)
    assert not store.exists()
