"""The places that a store can lie in."""

from pathlib import Path

import pytest

from infra.store import Store
from tests.infra.places import KEY


@pytest.fixture(params=["folder", "s3"])
def store_url(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The url of a store to be: a folder, or a prefix on a real S3 server."""
    monkeypatch.setenv("MIEN_KEY", KEY)
    if request.param == "s3":
        return request.getfixturevalue("s3").url()
    return str(tmp_path / "store")


@pytest.fixture
def erasable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store of two nights, in a folder."""
    from tests.pipelines.erasable import two_nights  # here, for what else needs none of it

    monkeypatch.setenv("MIEN_KEY", KEY)
    return two_nights(tmp_path / "store")
