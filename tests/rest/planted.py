"""Footage whose every decoded byte is known, and a run on it that has hardly any memory for Ray.

`python -m tests.rest.planted CONFIG... [--broken]` scores with one configuration after another.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from infra.offline import disable_telemetry
from operators.core.frames import Pixels
from operators.extract import Extract
from operators.probe import Probe
from pipelines.planned import cut, planned_table
from schemas.config import Config
from tests.videos import SAMPLE_RATE, paste, portraits, write_video

CROP_PX = 512
SECONDS, FPS = 10, 4
HEIGHT, WIDTH = 320, 480
FREE_MIB = 20
_MIB = 1 << 20


def write_planted(path: Path) -> Path:
    """Two portraits under noise, without loss and unmoved; the sound is noise as well."""
    rng = np.random.default_rng(5)
    picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    for portrait, left in zip(portraits(), (10, 250), strict=True):
        picture = paste(picture, portrait, left, 20, 250)
    noisy = picture + rng.normal(0, 9, picture.shape)
    frame = np.clip(noisy, 0, 255).astype(np.uint8)
    sound = rng.uniform(-0.5, 0.5, SECONDS * SAMPLE_RATE).astype(np.float32)
    lossless = {"qp": "0", "preset": "ultrafast"}
    return write_video(path, [frame] * (SECONDS * FPS), FPS, options=lossless, audio=sound)


def planted(path: Path, cfg: Config) -> dict[str, list[bytes]]:
    """What may never be seen outside the child, by kind."""
    crops = raw_crops(path, cfg)
    assert len(crops) == 2
    return {
        "crop": [way.tobytes() for crop in crops for way in (crop, crop[..., ::-1])],
        **{kind: list(found) for kind, found in _decoded(path).items()},
    }


def raw_crops(path: Path, cfg: Config) -> list[NDArray[np.uint8]]:
    """The different crops of the video as Extract hands them to Anonymize, (P, P, 3) uint8 RGB."""
    listed = {"size_bytes": [1], "changed": ["1"], "uri": ["x"], "video_id": ["v"]}
    probed = Probe(lambda row: path.open("rb"))(pa.table(listed))
    segments = planned_table(cut(probed.to_pylist()[0], cfg.plan.segment_seconds))
    extract = Extract(cfg.extract, CROP_PX, lambda row: path.open("rb"))
    crops = extract(segments.drop_columns(["uri"]).slice(0, 1))["crops_raw"].combine_chunks()
    pixels = crops.flatten().flatten().to_numpy().reshape(-1, CROP_PX, CROP_PX, 3)
    return list({crop.tobytes(): crop for crop in pixels}.values())


def _decoded(path: Path) -> dict[str, list[bytes]]:
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert isinstance(frame, av.VideoFrame)
        brightness = bytes(frame.planes[0])
        picture = Pixels().rgb(frame).tobytes()
    with av.open(str(path)) as container:
        sound = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    loud = (sound * 32767).astype(np.int16)
    return {"frame": [picture, brightness], "voice": [sound.tobytes(), loud.tobytes()]}


def fill(free_mib: int) -> Iterator[Any]:
    """Hold all of the object store but so much, so that what a run puts there is spilled."""
    import ray

    capacity = int(ray.cluster_resources()["object_store_memory"])
    for _ in range((capacity // _MIB - free_mib) // 8):
        yield ray.get(ray.put(np.ones(8 * _MIB, np.uint8)))  # what is in use here stays


def main(paths: list[str]) -> None:
    """Run the jobs. With `--broken`, raw crops leave the child: what no option can make them do."""
    disable_telemetry()
    from rich.console import Console

    from infra.cluster import cluster
    from pipelines import steps
    from pipelines.score import score

    jobs = [Config.model_validate_json(Path(p).read_text()) for p in paths if p[0] != "-"]
    if "--broken" in paths:
        steps._crops_may_leave = lambda settings: True
    with cluster(jobs[0]):
        held = list(fill(FREE_MIB))
        for job in jobs:
            score(job, Console(stderr=True))
        assert held


if __name__ == "__main__":
    main(sys.argv[1:])
