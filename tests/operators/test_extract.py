"""Extract on files that are no longer what Probe saw."""

import io
from pathlib import Path

import pyarrow as pa
import pytest

from operators.extract import Extract
from operators.probe import Probe
from pipelines.planned import cut, planned_table
from schemas.config import Extract as ExtractConfig
from tests.videos import counting, write_video


@pytest.mark.parametrize(
    ("now", "reason"), [(b"minutes of the meeting\n" * 90, "no_video"), (b"", "empty")]
)
def test_a_file_that_is_no_video_any_more_is_quarantined_not_an_error(
    tmp_path: Path, now: bytes, reason: str
) -> None:
    """It was one when it was probed: a retry of the child would find the same."""
    data = write_video(tmp_path / "x.mp4", counting(12)).read_bytes()
    listed = pa.table(
        {"size_bytes": [len(data)], "changed": ["1"], "uri": ["x"], "video_id": ["v"]}
    )
    probed = Probe(lambda row: io.BytesIO(data))(listed)
    segments = planned_table(cut(probed.to_pylist()[0], 60)).drop_columns(["uri"])
    cfg = ExtractConfig(detector_px=128)
    found = Extract(cfg, 32, lambda row: io.BytesIO(now))(segments).to_pylist()[0]
    assert (found["status"], found["reason"]) == ("quarantined", reason)
    assert (found["seconds_read"], found["faces"]) == (0, [])
