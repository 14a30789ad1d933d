"""Do the pipeline's own crops look like what mien-lite was trained on?

    python -m benchmarks.recovery --faces FACES.PARQUET

Each face is enlarged to 144 px and put somewhere on a plain ground; the frames are coded as video
and go through Extract, Anonymize, Embed and Score, as in a run. Reported: how many are found, and
their accuracy against that of the same faces scored as they are.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.machine import RESULTS, described
from infra.offline import disable_telemetry
from operators.anonymize import Anonymize
from operators.backbone import load_backbone
from operators.core.operator import flatten
from operators.embed import Embed
from operators.extract import Extract
from operators.methods.registry import MethodSpec, Reads
from operators.methods.zero_shot import ZeroShot
from operators.probe import Probe
from operators.score import Chosen, Score
from pipelines.faces import Reader, read_faces
from pipelines.footage import FRAMES_PER_SECOND, Clip, write_clip
from pipelines.footage_scenes import FRAME_HW
from schemas.config import Config
from schemas.flow import PLANNED
from schemas.tables import LABELS

FACE_PX = 144
GROUND = 110
FINE = (("crf", "12"), ("preset", "superfast"), ("x264-params", "threads=1:keyint=1"))


def placed(crop: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
    """The crop, enlarged, at a place in the frame that its number decides."""
    height, width = FRAME_HW
    rng = np.random.default_rng(index)
    top = int(rng.integers(0, height - FACE_PX + 1))
    left = int(rng.integers(0, width - FACE_PX + 1))
    frame = np.full((height, width, 3), GROUND, np.uint8)
    large = cv2.resize(crop, (FACE_PX, FACE_PX), interpolation=cv2.INTER_CUBIC)
    frame[top : top + FACE_PX, left : left + FACE_PX] = large
    return frame


def score_video(path: Path, cfg: Config) -> pa.Table:
    """The segment's row after Extract, Anonymize, Embed and Score."""

    def opener(row: dict[str, Any]) -> BinaryIO:
        return path.open("rb")

    size = path.stat().st_size
    probed = Probe(opener)(pa.table({"size_bytes": [size]})).to_pylist()[0]
    row = {**probed, "segment_id": "s", "video_id": "v", "uri": "", "start_seconds": 0.0}
    row |= {"end_seconds": probed["duration_seconds"], "size_bytes": size}
    batch = pa.Table.from_pylist([row], PLANNED).drop_columns(["uri"])
    crop_px = load_backbone(cfg.embed.backbone).image_size_px
    chosen = (Chosen(MethodSpec("zero_shot"), "-"),)
    for operator in (
        Extract(cfg.extract, crop_px, opener),
        Anonymize(cfg.privacy, crop_px),
        Embed(cfg.embed, "cpu"),
        Score(cfg.score, cfg.embed.backbone, chosen),
    ):
        batch = operator(batch)
    return batch


def measure(path: str, cfg: Config) -> dict[str, Any]:
    """Faces found, and accuracy before and after, on those found."""
    faces = read_faces(path, ("label",))
    labels = faces.labels
    assert labels is not None
    backbone = load_backbone(cfg.embed.backbone)
    crops = np.concatenate([part for _, part in faces.crops(backbone.image_size_px)])
    plain = ZeroShot(cfg.score, backbone).score(Reader(cfg, backbone, faces).read(Reads.EMBEDDINGS))
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:  # faces stay off the disk
        clip = Clip(
            "faces.mp4",
            lambda seconds: placed(crops[round(seconds * FRAMES_PER_SECOND)], _at(seconds)),
            len(crops) / FRAMES_PER_SECOND,
            codec_options=FINE,
        )
        row = score_video(write_clip(Path(folder), clip), cfg)
    _, found = flatten(row["faces"])
    _, scores = flatten(row["scores"])
    frame = np.rint(found.field("pts_seconds").to_numpy() * FRAMES_PER_SECOND).astype(int)
    detection = found.field("detection_score").to_numpy()
    top = scores.field("top_label").to_pylist()
    best: dict[int, int] = {}
    for face, at in enumerate(frame.tolist()):
        if at not in best or detection[face] > detection[best[at]]:
            best[at] = face
    rows = np.array(sorted(best))
    said = np.array([LABELS.index(top[best[at]]) for at in rows.tolist()])
    as_they_are = (plain.argmax(axis=1) == labels)[rows].mean()
    after = (said == labels[rows]).mean()
    return {
        "faces": len(crops),
        "found": round(len(rows) / len(crops), 4),
        "boxes_beyond_one_a_frame": int(len(frame) - len(rows)),
        "accuracy_of_found_as_they_are": round(float(as_they_are), 4),
        "accuracy_of_found_through_video": round(float(after), 4),
        "points_lost": round(100 * float(as_they_are - after), 2),
        "accuracy_of_all_as_they_are": round(float((plain.argmax(axis=1) == labels).mean()), 4),
        "backbone_sha256": backbone.sha256,
    }


def _at(seconds: float) -> int:
    return round(seconds * FRAMES_PER_SECOND)


def main() -> None:
    disable_telemetry()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recovery")
    parser.add_argument("--faces", required=True, help="Parquet with image and label")
    parser.add_argument("--out", type=Path, default=RESULTS / "recovery.json")
    args = parser.parse_args()
    cfg = Config.model_validate({"extract": {"frames_per_second": "all"}})
    result = {"machine": described(), **measure(args.faces, cfg)}
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
