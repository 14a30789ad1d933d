"""A copy without faces: looked through, of the same form, and with nothing that names anybody."""

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
import pyarrow as pa
import pytest

from operators import redact as module
from operators.core.detect import FaceDetector
from operators.core.frames import rgb
from operators.core.media import probe
from operators.core.source import FrameSource
from operators.probe import Probe
from operators.redact import Means, Redact
from schemas.config import Redact as RedactConfig
from schemas.redaction import FACE_LEFT, REDACTED
from tests.videos import paste, portraits, write_video

pytestmark = pytest.mark.slow  # seconds each, or many of them

FRAMES = 24
FACE_FROM = 8


def scene() -> list[np.ndarray]:
    """A portrait that enters from the left, on a patterned wall."""
    rng = np.random.default_rng(1)
    wall = rng.integers(60, 120, (14, 24, 3), np.uint8).repeat(16, axis=0).repeat(16, axis=1)
    face = portraits()[0]
    frames = []
    for i in range(FRAMES):
        left = -170 + 14.0 * (i - FACE_FROM)
        frames.append(paste(wall, face, left, 12, 200) if i >= FACE_FROM else wall)
    return frames


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """VFR, turned, with sound and a title."""
    path = tmp_path_factory.mktemp("redact") / "holiday.mp4"
    turned = [np.rot90(frame, -1) for frame in scene()]
    pts = [40 * i + (15 if i % 3 == 1 else 0) for i in range(FRAMES)]
    write_video(path, turned, pts=pts, rotation=90, audio=True)
    with av.open(str(path)) as source, av.open(str(path.with_name("titled.mp4")), "w") as out:
        out.metadata["title"] = "Eileen at home"
        out.metadata["location"] = "+35.6+139.7/"
        streams = {s.index: out.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    return path.with_name("titled.mp4")


def redacted(path: Path, **options: Any) -> dict[str, Any]:
    def opener(row: dict[str, Any]) -> BinaryIO:
        return path.open("rb")

    size = path.stat().st_size
    table = Probe(opener)(pa.table({"size_bytes": [size], "changed": [""]}))
    assert table["reason"].to_pylist() == [None]
    cfg = RedactConfig.model_validate(options)
    out = Redact(cfg, Means(), opener)(table.drop_columns(["reason"]))
    assert out.column_names == ["fingerprint", *REDACTED.names]
    return out.to_pylist()[0]


@pytest.fixture(scope="module")
def row(video: Path) -> dict[str, Any]:
    return redacted(video)


def pictures(file: BinaryIO) -> tuple[list[Fraction], list[np.ndarray]]:
    info = probe(file)
    times, images = [], []
    for ticks, frame in FrameSource(file, info).frames(0):
        times.append(ticks * info.time_base)
        images.append(rgb(frame, info.rotation_degrees))
    return times, images


def faces(images: list[np.ndarray]) -> list[int]:
    """How many are seen on each picture: a detection that is black all over is a mask."""
    detector = FaceDetector("cpu", 384, precision="f32")
    counts = []
    for image, found in zip(images, detector(images, 0.3), strict=True):
        parts = [
            image[top:bottom, left:right] for left, top, right, bottom in found.xyxy_px.astype(int)
        ]
        counts.append(sum(bool((part > 24).mean() > 0.25) for part in parts))
    return counts


def test_no_face_is_left_and_the_rest_is_the_same(video: Path, row: dict[str, Any]) -> None:
    assert (row["status"], row["residual"], row["second_in_copy"]) == ("ok", 0, 0)
    with video.open("rb") as file:
        before, source = pictures(file)
    after, copy = pictures(io.BytesIO(row["copy"]))
    assert sum(faces(source)) >= 8
    assert faces(copy) == [0] * FRAMES
    assert after == before
    unmasked = np.abs(source[0].astype(int) - copy[0])
    assert unmasked.mean() < 4


def test_size_rotation_and_sound_stay_and_metadata_goes(video: Path, row: dict[str, Any]) -> None:
    copy = io.BytesIO(row["copy"])
    with video.open("rb") as file:
        before, after = probe(file), probe(copy)
    assert (after.width_px, after.height_px) == (before.width_px, before.height_px)
    assert after.rotation_degrees == before.rotation_degrees == 90
    assert after.has_audio
    assert b"Eileen" not in row["copy"]
    assert b"+35.6" not in row["copy"]
    with av.open(str(video), "r") as source, av.open(io.BytesIO(row["copy"]), "r") as out:
        heard = [
            [(float((p.pts or 0) * p.time_base), bytes(p)) for p in c.demux(audio=0) if p.size]
            for c in (source, out)
        ]
        assert "title" not in out.metadata
    assert [data for _, data in heard[0]] == [data for _, data in heard[1]]
    begins = [[begin for begin, _ in packets] for packets in heard]
    np.testing.assert_allclose(begins[0], begins[1], atol=1e-3)


def test_sound_is_dropped_or_only_as_loud(video: Path) -> None:
    assert not probe(io.BytesIO(redacted(video, audio="drop")["copy"])).has_audio
    masked = redacted(video, audio="mask")["copy"]
    with av.open(io.BytesIO(masked), "r") as out:
        sound = np.concatenate([f.to_ndarray()[0] for f in out.decode(audio=0)])
    assert len(sound) / 16_000 == pytest.approx(1.0, abs=0.2)
    assert np.abs(sound).max() < 1e-3  # the source is silent, so is this


def test_a_face_that_the_first_pass_missed_is_found_in_the_copy_and_redone(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first pass sees nothing; what the copy shows is covered then."""
    blind(monkeypatch)
    row = redacted(video, threshold=0.5)
    assert (row["status"], row["residual"]) == ("ok", 0)
    assert row["rounds"] >= 2
    assert row["redone"] >= 8
    assert faces(pictures(io.BytesIO(row["copy"]))[1]) == [0] * FRAMES


def test_a_copy_in_which_a_face_stays_is_thrown_away(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blind(monkeypatch)
    row = redacted(video, threshold=0.5, rounds=1)
    assert row["status"] == FACE_LEFT
    assert row["residual"] >= 8
    assert row["copy"] is None


@pytest.mark.parametrize(
    ("steps_px", "looked"),
    [
        (0, [0, 8, 16, 20]),  # the last one has no other after it to compare with
        (16, [0, 4, 8, 12, 16, 20]),
    ],
)
def test_the_first_pass_looks_less_often_where_a_face_stays(
    steps_px: int, looked: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall = np.full((224, 480, 3), 90, np.uint8)
    images = [paste(wall, portraits()[0], 10 + steps_px * i, 12, 160) for i in range(FRAMES)]
    write_video(tmp_path / "one.mp4", images, pts=[40 * i for i in range(FRAMES)])
    seen: list[int] = []
    look: Callable[..., Any] = module.Lookout.__call__

    def noted(self: Any, images: Any, threshold: float) -> Any:
        for key, found in look(self, images, threshold):
            if threshold == 0.5:
                seen.append(key)
            yield key, found

    monkeypatch.setattr(module.Lookout, "__call__", noted)
    row = redacted(tmp_path / "one.mp4", threshold=0.5)
    assert sorted(seen) == looked
    assert (row["status"], row["residual"]) == ("ok", 0)


def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first pass, at a threshold of 0.5, finds nothing."""
    look: Callable[..., Any] = module.Lookout.__call__

    def some(self: Any, images: Any, threshold: float) -> Any:
        return look(self, images, 0.999 if threshold == 0.5 else threshold)

    monkeypatch.setattr(module.Lookout, "__call__", some)
