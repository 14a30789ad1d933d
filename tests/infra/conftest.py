"""The places that a store can lie in."""

from pathlib import Path

import pytest

from infra.storage import Root
from tests.infra.places import places


@pytest.fixture(params=["folder", "bucket", pytest.param("s3", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The url of a new, empty place: a folder, a bucket in memory, one on a real S3 server."""
    if request.param == "s3":
        return request.getfixturevalue("s3").url()
    return places(tmp_path)[request.param]


@pytest.fixture
def root(place: str) -> Root:
    return Root(place)
