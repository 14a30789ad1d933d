"""The places that a store can lie in."""

from pathlib import Path

import pytest

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
