"""Where Ray may put crops: a place counts by the type of its file system, on every node."""

import os
from pathlib import Path

import pytest

from infra import ramdisk
from infra.cluster import require_strict
from infra.errors import ConfigurationError
from infra.ramdisk import (
    RAM_DISK,
    SPILL,
    Place,
    file_system,
    own_places,
    require_nodes_in_memory,
    require_ram_disk,
    spill_directory,
)
from schemas.config import Config


def test_a_place_is_of_the_nearest_file_system_above_it(tmp_path: Path) -> None:
    assert file_system("/proc/self/status") == "proc"
    assert file_system(RAM_DISK / "not" / "there") == file_system(RAM_DISK) == "tmpfs"
    assert file_system(f"{RAM_DISK}-of-another-name") == file_system("/dev")
    (tmp_path / "link").symlink_to(RAM_DISK)
    assert file_system(tmp_path / "link" / "x") == "tmpfs"


def test_too_little_shared_memory_is_named_before_ray_starts() -> None:
    with pytest.raises(ConfigurationError, match=r"/dev/shm has \d+ MiB free.*--shm-size"):
        require_ram_disk(1 << 40)
    require_ram_disk(1)


def test_shared_memory_that_is_a_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ramdisk, "RAM_DISK", tmp_path)
    monkeypatch.setattr(ramdisk, "file_system", lambda path: "overlay")
    with pytest.raises(ConfigurationError, match=r"is of type overlay.*mount a tmpfs") as caught:
        require_ram_disk(1)
    assert caught.value.exit_code == 2
    monkeypatch.setattr(ramdisk, "RAM_DISK", tmp_path / "none")
    with pytest.raises(ConfigurationError, match="is not there"):
        require_ram_disk(1)


def test_what_a_killed_process_spilled_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ramdisk, "RAM_DISK", tmp_path)
    (tmp_path / f"{SPILL}-{1 << 30}-x").mkdir()  # beyond any pid
    others = {f"{SPILL}-{os.getpid()}-y", f"{SPILL}-bench-z"}
    for name in others:
        (tmp_path / name).mkdir()
    made = Path(str(spill_directory()))
    assert {made.name, *others} == {path.name for path in tmp_path.iterdir()}
    assert made.stat().st_mode & 0o777 == 0o700


def test_where_no_raylet_is_nothing_can_be_told() -> None:
    assert own_places() == [Place("a place that it does not name", "unknown")]


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_joined_cluster_is_asked_node_by_node(monkeypatch: pytest.MonkeyPatch) -> None:
    require_nodes_in_memory()
    monkeypatch.setattr(ramdisk, "IN_MEMORY", ("ramfs",))
    with pytest.raises(ConfigurationError, match=r"put crops into /dev/shm, of type tmpfs"):
        require_nodes_in_memory()
    joined = {"cluster": {"address": "auto"}}
    with pytest.raises(ConfigurationError, match=r"--object-spilling-directory in memory"):
        require_strict(Config.model_validate(joined))
    require_strict(Config.model_validate({**joined, "privacy": {"strict": False}}))
