"""Extract to resolve on footage of a real person: skipped where that footage is not at hand."""

from pathlib import Path

import pyarrow as pa
import pytest

from operators.core.operator import empty_values
from operators.extract import Extract
from operators.probe import Probe
from operators.resolve import resolve
from schemas.config import Extract as ExtractConfig
from schemas.flow import PLANNED, STAGED


def extracted(path: Path, segment_seconds: float, **options: object) -> dict[str, pa.Table]:
    """All flat tables of one video, cut every `segment_seconds`; nothing is scored."""

    def opener(row: dict) -> object:
        return path.open("rb")

    size = path.stat().st_size
    probed = Probe(opener)(pa.table({"size_bytes": [size]})).to_pylist()[0]
    extract = Extract(ExtractConfig.model_validate(options), 48, opener)
    rows, start, duration = [], 0.0, probed["duration_seconds"]
    while start < duration:
        end = min(start + segment_seconds, duration)
        segment = {"segment_id": f"v-{start:09.3f}", "video_id": "v", "uri": ""}
        segment |= {"start_seconds": start, "end_seconds": end}
        planned = pa.Table.from_pylist([{**probed, **segment}], PLANNED).drop_columns(["uri"])
        found = extract(planned)
        columns = empty_values(STAGED, 1)
        columns |= {name: found[name] for name in found.column_names if name in STAGED.names}
        rows.append(pa.table([columns[name] for name in STAGED.names], schema=STAGED))
        start = end
    staged = pa.concat_tables(rows)
    assert set(staged["status"].to_pylist()) == {"ok"}
    return resolve(staged, None, 0.4)


@pytest.mark.slow
def test_every_frame_has_its_one_face_in_one_track_however_it_is_cut(shared_media: Path) -> None:
    clip = shared_media / "WolfgangLanger_Pexels.mp4"
    whole = extracted(clip, 3600, frames_per_second="all")
    assert len(whole["faces"]) == 472
    assert len(set(whole["faces"]["pts_ticks"].to_pylist())) == 472
    assert whole["tracks"]["faces"].to_pylist() == [472]
    pieces = extracted(clip, 3.7, frames_per_second="all")
    columns = [name for name in whole["faces"].column_names if name != "segment_id"]
    assert pieces["faces"].select(columns).equals(whole["faces"].select(columns))
    assert pieces["tracks"].equals(whole["tracks"])


@pytest.mark.slow
def test_faces_only_where_faces_are(shared_media: Path) -> None:
    assert len(extracted(shared_media / "no_face.mp4", 60)["faces"]) == 0
    faces = extracted(shared_media / "face_noface.mov", 60)["faces"]["pts_seconds"].to_pylist()
    assert faces
    assert max(faces) < 5.0  # 169 frames: a face, then none
    assert len(extracted(shared_media / "single_face.mp4", 60)["tracks"]) == 1
