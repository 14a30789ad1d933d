"""What a cluster is short of is said before anything waits for it."""

import socket
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray
import ray.data
from pydantic import ValidationError
from rich.console import Console

from infra import cluster
from infra.cluster import free_cpus, require_free
from infra.errors import ConfigurationError
from pipelines import pools, steps
from pipelines.pools import LIGHT, Resources, size_pools
from pipelines.score import score
from schemas.config import Config
from tests.pipelines.jobs import job


def test_a_metrics_port_that_is_taken_is_named_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        run = {"metrics_port": listener.getsockname()[1]}
        cfg = job(str(tmp_path / "archive"), str(tmp_path / "store"), "mien-lite", run=run)
        with pytest.raises(ConfigurationError, match=r"run\.metrics_port") as caught:
            score(cfg, Console(quiet=True))
    assert caught.value.exit_code == 2
    assert not (tmp_path / "store").exists()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_too_few_cpus_are_named_within_ten_seconds() -> None:
    cfg = Config.model_validate({"extract": {"actors": 64}, "embed": {"actors": 8}})
    begin = time.monotonic()
    with pytest.raises(ConfigurationError, match=r"has 4 CPUs; 64 extract and 8 embed actors"):
        size_pools(cfg, rows=100)
    assert time.monotonic() - begin < 10


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_memory_bounds_what_is_sized_and_too_little_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pools, "free_memory_gib", lambda: 4.4)
    assert size_pools(Config(), rows=100).extract == 2  # of 4 that have a CPU
    three = Config.model_validate({"extract": {"actors": 3}})
    with pytest.raises(ConfigurationError, match=r"4\.4 GiB of memory.*3 extract.*about 4\.5"):
        size_pools(three, rows=100)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_cpus_that_other_work_holds_are_named_and_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @ray.remote
    class Holder:
        def ready(self) -> bool:
            return True

    require_free(free_cpus(), 0)  # whatever ran before has let go
    holder = Holder.options(num_cpus=free_cpus()).remote()
    ray.get(holder.ready.remote())
    monkeypatch.setattr(cluster, "PATIENCE_SECONDS", 1.0)
    joined = Config.model_validate({"cluster": {"address": "auto"}})
    with pytest.raises(ConfigurationError, match="of which 0 are free: other work holds"):
        size_pools(joined, rows=1)
    monkeypatch.undo()
    ray.kill(holder)
    assert size_pools(joined, rows=1).extract == 1


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_what_is_published_beside_a_wave_is_no_other_work() -> None:
    """On a joined cluster the next wave begins while the one before still holds its share."""

    @ray.remote(num_cpus=LIGHT)
    class Publishing:
        def ready(self) -> bool:
            return True

    require_free(free_cpus(), 0)  # whatever ran before has let go
    held = Publishing.remote()
    assert ray.get(held.ready.remote())
    joined = Config.model_validate({"cluster": {"address": "auto"}})
    begin = time.monotonic()
    assert size_pools(joined, rows=100, spare_cpus=LIGHT).extract > 1
    assert time.monotonic() - begin < 2
    ray.kill(held)


def test_two_encoders_share_a_gpu_and_decoding_takes_what_it_asks_for() -> None:
    stages = {"embed": {"gpus": 0.5}, "extract": {"cpus": 2}}
    cfg = Config.model_validate({"cluster": {"resources": stages}})
    found = size_pools(cfg, rows=100, elsewhere=Resources(cpus=8, gpus=2))
    assert (found.embed, found.embed_gpus) == (4, 0.5)
    assert (found.extract, found.extract_cpus) == (3, 2)  # the encoders take a CPU of eight
    too_many = {"embed": {"actors": 5}, "cluster": {"resources": stages}}
    with pytest.raises(ConfigurationError, match=r"2 GPUs hold 4 embed actors of 0\.5, and 5"):
        size_pools(Config.model_validate(too_many), rows=1, elsewhere=Resources(cpus=8, gpus=2))


@pytest.mark.parametrize(
    ("stages", "actors", "gpus", "fits"),
    [
        ({"embed": {"gpus": 0.6}}, "auto", 2, (2, 0.6)),  # one on each, not three on two
        ({}, 3, 2, (3, 0.5)),  # two thirds of one would let two in
        ({}, 7, 1, (7, 0.1428)),  # Ray rounds up: seven of 0.1429 are more than one
        ({"embed": {"gpus": 2}}, "auto", 5, (2, 2)),
        ({}, 1, 4, (1, 1)),
        ({}, "auto", 0, (1, 0)),
    ],
)
def test_as_many_encoders_as_gpus_can_hold(
    stages: Any, actors: Any, gpus: float, fits: tuple[int, float]
) -> None:
    values = {"embed": {"actors": actors}, "cluster": {"resources": stages}}
    found = size_pools(Config.model_validate(values), 100, elsewhere=Resources(8, gpus))
    assert (found.embed, found.embed_gpus) == fits


@pytest.mark.parametrize("gpus", [0, 1.5])
def test_a_share_of_gpus_that_ray_has_not_is_refused(gpus: float) -> None:
    with pytest.raises(ValidationError, match="gpus"):
        Config.model_validate({"cluster": {"resources": {"embed": {"gpus": gpus}}}})


def test_pools_that_would_wait_for_ever_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {
        "a": {"CPU": 3.0, "role": "decode"},
        "b": {"CPU": 3.0, "role": "decode"},
        "c": {"CPU": 2.0, "GPU": 1.0, "role": "embed"},
    }

    def with_role(labels: dict[str, str]) -> Any:
        role = labels.get("role")
        return {name: node for name, node in there.items() if role in (None, node["role"])}

    def sized(**stages: Any) -> pools.Pools:
        return size_pools(Config.model_validate({"cluster": {"resources": stages}}), rows=100)

    monkeypatch.setattr(pools, "nodes_with", with_role)
    monkeypatch.setattr(pools, "free_gpus", lambda: 1.0)
    monkeypatch.setattr(pools, "free_memory_gib", lambda: 100.0)
    decode, embed = {"nodes": {"role": "decode"}}, {"nodes": {"role": "embed"}}
    assert sized(extract={**decode, "cpus": 2}, embed=embed).extract == 2  # of six CPUs: one a node
    assert sized(extract=decode, embed=embed).extract == 6
    with pytest.raises(ConfigurationError, match="decoding would fill them"):
        sized(embed=embed)
    with pytest.raises(ConfigurationError, match="these nodes have no GPU, and others have"):
        sized(extract=embed, embed=decode)
    with pytest.raises(ConfigurationError, match="0 GPUs hold 0 embed actors"):
        sized(extract=embed, embed={**decode, "gpus": 0.5})
    there.clear()
    with pytest.raises(ConfigurationError, match="the cluster has 0 CPUs"):
        sized()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_stages_go_to_the_nodes_with_their_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"ray.io/node-id": ray.nodes()[0]["NodeID"]}  # a label that every node has
    stages = {"extract": {"nodes": here}, "embed": {"nodes": here, "cpus": 0.5}}
    cfg = Config.model_validate({"cluster": {"resources": stages}})
    sized = size_pools(cfg, rows=2)
    asked = []

    def note(rows: ray.data.Dataset, *_: object, **options: object) -> ray.data.Dataset:
        asked.append((options["label_selector"], options["num_cpus"]))
        return rows

    monkeypatch.setattr(ray.data.Dataset, "map_batches", note)
    rows = ray.data.from_items([{"item": 0}])
    steps.in_actors(steps.isolate(rows, (), pa.schema([]), cfg, sized), (), sized)
    assert asked == [(here, sized.extract_cpus), (here, 0.5)]
    stages["embed"]["nodes"] = {"role": "embed"}
    nowhere = Config.model_validate({"cluster": {"resources": stages}})
    with pytest.raises(ConfigurationError, match=r"embed\.nodes.*--labels role=embed"):
        size_pools(nowhere, rows=2)
