"""One contract for all operators: pickles, 0, 1 and 5 rows, writes what it declares, row by row."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pytest

from operators.anonymize import Anonymize
from operators.backbone import load_backbone
from operators.core.operator import Step, extend
from operators.embed import Embed
from operators.extract import Extract
from operators.methods.artifact import Artifact, make_card
from operators.methods.registry import MethodSpec
from operators.probe import Probe
from operators.protect import Protect
from operators.score import Chosen, Score
from schemas.config import Config
from schemas.flow import PLANNED, crops, embeddings
from schemas.tables import COSTS
from tests.videos import write_video

CFG = Config()
CROP_PX = 48
ROWS = 5


@dataclass(frozen=True)
class Local:
    """Opens the file that the row's segment is of; picklable, as an opener must be."""

    folder: Path

    def __call__(self, row: dict[str, Any]) -> BinaryIO:
        return (self.folder / "video.mp4").open("rb")


def portrait_video(folder: Path) -> Path:
    import skimage.data

    face = skimage.data.astronaut()[:256, 96:352]
    frames = []
    for step in range(10):
        frame = np.full((288, 512, 3), 90, np.uint8)
        frame[16:272, 20 + 8 * step : 276 + 8 * step] = face
        frames.append(frame)
    return write_video(folder / "video.mp4", frames, fps=8)


def planned(folder: Path) -> pa.Table:
    """Five spans of one small video with a face."""
    size = portrait_video(folder).stat().st_size
    probed = Probe(Local(folder))(pa.table({"size_bytes": [size]})).to_pylist()[0]
    assert probed["reason"] is None
    rows = [
        {
            **probed,
            "segment_id": f"s{index}",
            "video_id": "v",
            "start_seconds": index * 0.25,
            "end_seconds": (index + 1) * 0.25,
            "uri": "",
        }
        for index in range(ROWS)
    ]
    return pa.Table.from_pylist(rows, PLANNED).drop_columns(["uri"])


def faces(name: str, inner: pa.Field, per_face: Callable[[np.random.Generator], Any]) -> pa.Table:
    """Rows with 0 to 4 faces each."""
    rng = np.random.default_rng(0)
    column = [[per_face(rng) for _ in range(row)] for row in range(ROWS)]
    return pa.table({"id": [f"s{row}" for row in range(ROWS)], name: pa.array(column, inner.type)})


def crop(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, CROP_PX * CROP_PX * 3, np.uint8)


def vector(rng: np.random.Generator) -> np.ndarray:
    values = rng.standard_normal(dim())
    return (values / np.linalg.norm(values)).astype(np.float16)


def dim() -> int:
    return Embed.ports(CFG.embed, "cpu").writes.field("embeddings").type.value_type.list_size


def protection(how: str) -> tuple[Any, ...]:
    """What `Protect` is built from; the projection turns a vector's values round."""
    if how != "projected":
        return CFG.embed.model_copy(update={"protection": how}), None, "hash"
    card = make_card("identity_projection", load_backbone(CFG.embed.backbone))
    matrix = np.eye(dim(), dtype=np.float32)[::-1]
    cfg = CFG.embed.model_copy(update={"protection": how, "projection": "somewhere"})
    return cfg, Artifact(card, {"projection": matrix}), "hash"


def batch_for(operator: type, folder: Path, protect: tuple[Any, ...] = ()) -> tuple[Step, pa.Table]:
    chosen = (Chosen(MethodSpec("zero_shot"), "hash"),)
    if operator is Extract:
        return Step(Extract, (CFG.extract, CROP_PX, Local(folder))), planned(folder)
    if operator is Probe:
        size = portrait_video(folder).stat().st_size
        return Step(Probe, (Local(folder),)), pa.table({"size_bytes": [size] * ROWS})
    if operator is Anonymize:
        return Step(Anonymize, (CFG.privacy, CROP_PX)), faces("crops_raw", crops("", CROP_PX), crop)
    table = faces("crops", crops("", CROP_PX), crop)
    if operator is Embed:
        return Step(Embed, (CFG.embed, "cpu")), table
    vectors = faces("embeddings", embeddings(dim()), vector)
    table = table.append_column("embeddings", vectors["embeddings"])
    if operator is Protect:
        return Step(Protect, protect), table
    return Step(Score, (CFG.score, CFG.embed.backbone, chosen)), table


COST_NAMES = {field.name for field in COSTS}


def without_costs(table: pa.Table) -> pa.Table:
    return table.drop_columns([name for name in table.column_names if name in COST_NAMES])


@pytest.mark.parametrize("operator", [Probe, Extract, Anonymize, Embed, Score])
def test_contract(operator: type, tmp_path: Path) -> None:
    check(*batch_for(operator, tmp_path))


@pytest.mark.parametrize("how", ["drop", "projected", "raw"])
def test_contract_of_protect(how: str) -> None:
    step, batch = batch_for(Protect, Path(), protection(how))
    check(step, batch)
    kept = step.build()(batch)["kept_embeddings"].to_pylist()
    given = batch["embeddings"].to_pylist()
    if how == "drop":
        assert kept == [[]] * ROWS
        return
    assert [len(row) for row in kept] == [len(row) for row in given]
    for row, vectors in zip(kept, given, strict=True):
        for one, vector in zip(row, vectors, strict=True):
            assert (one["protection"], one["embed_hash"]) == (how, "hash")
            expected = vector if how == "raw" else vector[::-1]
            np.testing.assert_allclose(one["embedding"], expected, atol=1e-3)
            assert one["embedding"] == np.array(one["embedding"], np.float16).tolist()


def check(step: Step, batch: pa.Table) -> None:
    step = pickle.loads(pickle.dumps(step))
    built = step.build()
    whole = built(batch)

    # writes exactly what it declares, with the declared types, and drops what it declares
    expected = [name for name in batch.column_names if name not in step.ports.drops]
    assert whole.column_names == [*expected, *step.ports.writes.names]
    for field in step.ports.writes:
        assert whole.schema.field(field.name).equals(field)
        if not field.nullable:
            assert whole[field.name].null_count == 0
    assert set(step.ports.reads) <= set(batch.column_names)

    # 0, 1 and 5 rows; a row never depends on its neighbours
    assert built(batch.slice(0, 0)).schema.equals(whole.schema)
    rows = [built(batch.slice(index, 1)) for index in range(ROWS)]
    assert without_costs(pa.concat_tables(rows)).equals(without_costs(whole))


def test_a_column_that_is_not_declared_cannot_be_written() -> None:
    step, batch = batch_for(Anonymize, Path())
    with pytest.raises(KeyError, match="sneaky"):
        extend(batch, step.ports, {**dict.fromkeys(step.ports.writes.names), "sneaky": [1]})
    with pytest.raises(KeyError, match="anonymizer"):
        extend(batch, step.ports, {"crops": None, COSTS[1].name: None})
