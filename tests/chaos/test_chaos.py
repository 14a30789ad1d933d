"""The short version of `make chaos`."""

import random
import sys
from pathlib import Path

import pytest
import s3fs

from tests.chaos.run import chaos


@pytest.mark.ray
@pytest.mark.slow
def test_nothing_is_lost_or_doubled_whatever_is_killed(
    tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # everything here is on loopback
    kinds = ["driver", "worker", "s3", "node", "child"]
    tally = chaos(
        tmp_path,
        random.Random(1),
        sys.stderr.write,
        kinds,
        videos=2,
        backbone=str(tiny_backbone),
        starve=False,
    )
    s3fs.S3FileSystem.clear_instance_cache()  # its server is gone
    assert tally.trouble == []
    assert sorted(tally.kills) == sorted(kinds)
    assert (tally.lost, tally.doubled) == (0, 0)
