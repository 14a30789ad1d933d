"""One Ray cluster for the tests that need one; what may be missing on a user's machine."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.offline import disable_telemetry
from infra.ramdisk import spill_directory
from tests.s3 import S3Server, s3_server

disable_telemetry()
os.environ.setdefault("RAY_AUTH_MODE", "disabled")

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the tests that take a minute, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # Whole files are shared out in this order: those that start Ray are the longest.
    ray_files = {item.path for item in items if item.get_closest_marker("ray")}
    items.sort(key=lambda item: item.path not in ray_files)
    for item in items:
        if item.get_closest_marker("long") and not config.getoption("--long"):
            item.add_marker(pytest.mark.skip(reason="takes a minute: make test-long"))


@pytest.fixture(scope="session")
def shared_media() -> Path:
    """Footage of real people that is not part of the project."""
    folder = SHARED / "media"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here: it is not part of the project")
    return folder


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random backbone: for what must hold whatever the weights are."""
    from tests.backbones import write_backbone

    return write_backbone(tmp_path_factory.mktemp("backbone") / "tiny")


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server, which this process and what it starts find by their environment."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(scope="session")
def ray_cluster(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A local cluster with more logical than real CPUs, so that every pool fits.

    Its workers inherit the environment, so the S3 server comes first. Gives Ray's session folder.
    """
    import ray

    spill = spill_directory() or str(tmp_path_factory.mktemp("spill"))
    context = ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        object_store_memory=256 << 20,
        object_spilling_directory=spill,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield Path(context.address_info["session_dir"])
    ray.shutdown()
    shutil.rmtree(spill, ignore_errors=True)
