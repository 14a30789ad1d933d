"""The faces file: what it must hold, and that it is read exactly as a run reads crops."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.errors import ConfigurationError
from operators.anonymize import Anonymize
from operators.backbone import load_backbone
from operators.core.crops import crops_to_array
from operators.embed import Embed
from operators.methods.registry import Reads
from pipelines import faces as module
from pipelines.faces import ANONYMIZER_KEY, Reader, read_faces
from schemas.config import Config
from schemas.flow import crops
from schemas.tables import LABELS


def png(seed: int, size: int = 48) -> bytes:
    image = np.random.default_rng(seed).integers(0, 256, (size, size, 3)).astype(np.uint8)
    return cv2.imencode(".png", image)[1].tobytes()


def faces_file(folder: Path, **columns: Any) -> str:
    count = len(next(iter(columns.values()))) if columns else 3
    table = {"image": [png(row) for row in range(count)], **columns}
    pq.write_table(pa.table(table), folder / "faces.parquet")
    return str(folder / "faces.parquet")


@pytest.mark.parametrize(
    ("columns", "need", "says"),
    [
        ({}, ("label",), "no column label"),
        ({"label": ["anger", "bliss"]}, ("label",), "unknown labels bliss; known: anger"),
        ({"label": pa.array([None, None], pa.string())}, ("label",), "label is empty"),
        ({"subject": ["a", None]}, ("subject",), "`subject` is empty in 1 rows"),
        ({"caption": ["a", None]}, (), "`caption` is empty in 1 rows"),
        ({"teacher": [[1.0, 2.0], [1.0]]}, (), "2 wide in row 0 and 1 in row 1"),
        ({"teacher": [[1.0], [float("nan")]]}, (), "NaN or infinite values in 1 rows.*row 1"),
        ({"teacher": [[1.0], None]}, (), "`teacher` has 1 empty rows"),
        ({"teacher": ["a", "b"]}, (), "holds string, not vectors"),
        ({"image": ["a", "b"]}, (), "holds string, not encoded bytes"),
        ({"image": pa.array([], pa.binary())}, (), "holds no face"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_name(
    columns: dict[str, Any], need: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    path = faces_file(tmp_path, **columns)
    with pytest.raises(ConfigurationError, match=says) as caught:
        read_faces(path, need)
    assert "faces.parquet" in str(caught.value)


def test_no_file_and_no_parquet_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        read_faces(str(tmp_path / "nowhere.parquet"))
    (tmp_path / "text.parquet").write_text("not a table")
    with pytest.raises(ConfigurationError, match="not a Parquet file"):
        read_faces(str(tmp_path / "text.parquet"))


def test_an_image_that_does_not_decode_is_named(tmp_path: Path) -> None:
    faces = read_faces(faces_file(tmp_path, image=[png(0), b"no image", png(1)]))
    with pytest.raises(ConfigurationError, match="image in row 1 does not decode"):
        list(faces.crops(48))


def test_taken_rows_keep_their_columns(tmp_path: Path) -> None:
    path = faces_file(
        tmp_path,
        label=["anger", None, "fear"],
        subject=["p", "q", "r"],
        teacher=[[0.0], [1.0], [2.0]],
    )
    part = read_faces(path).take(np.array([2, 0]))
    assert part.labels is not None
    assert part.teacher is not None
    assert part.labels.tolist() == [LABELS.index("fear"), LABELS.index("anger")]
    assert part.names("subject") == ["r", "p"]
    assert part.teacher.tolist() == [[2.0], [0.0]]
    whole = next(read_faces(path).crops(48))[1]
    assert np.array_equal(next(part.crops(48))[1], whole[[2, 0]])


@pytest.mark.parametrize("anonymizer", ["downsample", "pixelate"])
def test_faces_are_read_to_the_bit_as_a_run_reads_crops(
    anonymizer: str, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anonymize and Embed on the same crops, in another batch and another thread."""
    cfg = Config.model_validate(
        {
            "privacy": {"anonymizer": anonymizer},
            "embed": {"backbone": str(tiny_backbone), "batch_crops": 4},
        }
    )
    file = read_faces(faces_file(tmp_path, label=["anger"] * 11))
    monkeypatch.setattr(module, "CHUNK", 4)  # several chunks, for both threads
    found = Reader(cfg, load_backbone(str(tiny_backbone)), file, 2).read(Reads.EMBEDDINGS)
    raw = np.concatenate([part for _, part in file.crops(48)])
    column = crops("crops_raw", 48)
    values = crops_to_array(raw, column.type.value_type)
    rows = pa.ListArray.from_arrays([0, 3, 11], values, type=column.type)
    batch = Embed(cfg.embed, "cpu")(Anonymize(cfg.privacy, 48)(pa.table({"crops_raw": rows})))
    expected = np.asarray(batch["embeddings"].combine_chunks().flatten().to_pylist())
    assert np.array_equal(found, expected.astype(np.float32))


def test_crops_that_were_made_safe_stay_as_they_are(tiny_backbone: Path, tmp_path: Path) -> None:
    """Blurred once is what a run sees; another anonymizer than the file's is refused."""
    path = faces_file(tmp_path, label=["anger"] * 3)
    note = json.dumps({"name": "blur", "strength": 6}).encode()
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({ANONYMIZER_KEY: note}), path)
    file, backbone = read_faces(path), load_backbone(str(tiny_backbone))
    cfg = Config.model_validate({"privacy": {"anonymizer": "blur"}})
    ((_, stored),) = file.crops(48)
    (seen,) = Reader(cfg, backbone, file).crops()
    assert np.array_equal(seen, stored)
    with pytest.raises(ConfigurationError, match=r"made safe by.*blur.*downsample"):
        Reader(Config(), backbone, file)


def test_a_face_that_is_not_square_is_squeezed(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (112, 48, 3)).astype(np.uint8)
    wide = np.ascontiguousarray(image.transpose(1, 0, 2))
    images = [cv2.imencode(".png", each)[1].tobytes() for each in (image, wide)]
    ((_, crops),) = read_faces(faces_file(tmp_path, image=images)).crops(48)
    assert crops.shape == (2, 48, 48, 3)


def test_a_face_of_whom_nothing_is_said_is_of_somebody_else(tmp_path: Path) -> None:
    path = faces_file(tmp_path, clip_id=["c", "c", "d"], subject=["p", None, None])
    groups = read_faces(path).groups
    assert groups is not None
    assert groups[0] == "p"
    assert len(set(groups)) == 3
