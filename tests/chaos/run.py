"""A whole chaos run: a cluster, a bucket, an archive, and rounds until enough was killed."""

import math
import os
import random
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np

from schemas.config import Config
from tests.chaos.monkey import Monkey, Tally
from tests.chaos.nodes import three_nodes
from tests.chaos.noted import BEGUN
from tests.infra.places import KEY
from tests.pipelines.jobs import job
from tests.s3 import S3Server, s3_server
from tests.videos import Image, portraits, write_video

FRAMES_PER_SECOND = 8
VIDEO_SECONDS = 40
VIDEOS, SHORT_VIDEOS = 8, 2
EXTRACT_ACTORS = 3  # with the others they fit on two nodes
NO_PROGRESS_SECONDS = 90.0
#: What is killed, and how often of a hundred kills.
SHARES = {"child": 30, "worker": 30, "driver": 14, "raylet": 7, "node": 7, "s3": 12}


def chaos(
    folder: Path,
    rng: random.Random,
    say: Callable[[str], None],
    kinds: list[str],
    videos: int,
    backbone: str,
    starve: bool,
) -> Tally:
    """Kill children, workers, drivers, raylets and nodes, and stop the S3 server, as `kinds` says.

    After each round the published tables must equal those of a run that was left alone. `starve`
    adds a round that loses every node but the head.
    """
    (folder / "s3").mkdir()
    with s3_server(folder / "s3") as s3:
        inherited = {**s3.environment, "MIEN_KEY": KEY, BEGUN: str(folder / "begun")}
        with mock.patch.dict(os.environ, inherited), three_nodes(folder, rng) as nodes:
            source = upload(s3, folder / "archive", videos)
            monkey = Monkey(nodes, s3, folder, kinds, rng, say)

            def fresh() -> Config:
                return _job(source, s3.url(), backbone, nodes.address)

            expected = monkey.undisturbed(fresh())
            say(f"undisturbed: {sum(expected['faces'].values())} face rows")
            while not monkey.through:
                monkey.round(fresh(), expected)
            if starve:
                monkey.starve(fresh(), expected)
            return monkey.tally


def in_shares(kills: int, rng: random.Random) -> list[str]:
    """So many kinds, in their shares, in a seeded order."""
    kinds = [kind for kind, share in SHARES.items() for _ in range(math.ceil(share * kills / 100))]
    rng.shuffle(kinds)
    return kinds[:kills]


def _job(source: str, store: str, backbone: str, address: str) -> Config:
    return job(
        source,
        store,
        backbone,
        cluster={"address": address},
        extract={"actors": EXTRACT_ACTORS},
        run={"no_progress_seconds": NO_PROGRESS_SECONDS, "max_quarantined": 1.0},
    )


def upload(s3: S3Server, folder: Path, videos: int) -> str:
    """An archive in the bucket: a portrait that wanders, another in each video's background."""
    folder.mkdir()
    for number in range(videos):
        write_video(folder / f"{number}.mp4", _frames(number), fps=FRAMES_PER_SECOND)
    url = s3.url()
    s3.client().put(str(folder), url, recursive=True)
    return url


def _frames(number: int) -> list[Image]:
    face = portraits()[number % 2][:200:2, :200:2]
    height, width = face.shape[:2]
    frames = []
    for index in range(VIDEO_SECONDS * FRAMES_PER_SECOND):
        frame = np.full((144, 256, 3), 60 + 10 * number, np.uint8)
        left = round(70 + 60 * math.sin(index / 25 + number))
        frame[20 : 20 + height, left : left + width] = face
        frames.append(frame)
    return frames
