"""The deployment files say what their APIs understand, and keep what mien promises."""

import copy
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from pipelines.cli import app
from tests.infra.manifest_fields import VERSIONS, field_problems

INFRA = Path(__file__).parents[2] / "infra"
MANIFESTS = sorted((INFRA / "kuberay").glob("*.yaml"))
_SECRET = re.compile(r"KEY|SECRET|TOKEN|PASSWORD")
_UNITS = {"Gi": 2**30, "Mi": 2**20, "": 1}


def loaded(name: str) -> dict[str, Any]:
    return yaml.safe_load((INFRA / "kuberay" / name).read_text())


def dicts(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, dict | list):
            yield from dicts(item)


def size_bytes(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(\w*)", quantity).groups()
    return int(number) * _UNITS[unit]


def problems(document: dict[str, Any]) -> list[str]:
    """All that is wrong with a manifest."""
    kind = document.get("kind", "")
    if kind not in VERSIONS:
        return [f"{kind}: an unknown kind"]
    found = field_problems(document, kind, kind)
    if document["apiVersion"] != VERSIONS[kind]:
        found.append(f"{document['apiVersion']}: {kind} is of {VERSIONS[kind]}")
    for value in document.get("stringData", {}).values():
        if not re.fullmatch(r"<.+>", value):
            found.append("Secret: a value that is no placeholder")
    for part in dicts(document):
        if "headGroupSpec" in part and part.get("authOptions") != {"mode": "token"}:
            found.append("cluster: without token authentication")
        if "rayStartParams" in part:
            found += ray_pod_problems(part["rayStartParams"], part["template"]["spec"])
        if "containers" in part:
            found += pod_problems(part)
    return found


def pod_problems(pod: dict[str, Any]) -> list[str]:
    found = []
    if not pod.get("securityContext", {}).get("runAsNonRoot"):
        found.append("pod: may run as root")
    for container in pod["containers"]:
        resources = container.get("resources", {})
        for side in ("requests", "limits"):
            missing = {"cpu", "memory"} - resources.get(side, {}).keys()
            found += [f"{container['name']}: no {name} in {side}" for name in missing]
        found += [
            f"{item['name']}: a secret as a plain value"
            for item in container.get("env", [])
            if _SECRET.search(item["name"]) and "secretKeyRef" not in item.get("valueFrom", {})
        ]
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
        found += [f"volume {name} is mounted and not there" for name in mounts - volumes]
    return found


def ray_pod_problems(params: dict[str, str], pod: dict[str, Any]) -> list[str]:
    """Whether crops stay in memory, and whether that memory is there."""
    in_memory = {
        volume["name"]: size_bytes(volume["emptyDir"].get("sizeLimit", "0"))
        for volume in pod.get("volumes", [])
        if volume.get("emptyDir", {}).get("medium") == "Memory"
    }
    found = []
    [container] = pod["containers"]
    mounted = {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", [])}
    for path in ("/dev/shm", params.get("object-spilling-directory", "no spill directory")):
        if mounted.get(path) not in in_memory:
            found.append(f"{path}: is not in memory")
    store = int(params.get("object-store-memory", 0))
    if not 0 < store < in_memory.get(mounted.get("/dev/shm", ""), 0):
        found.append("object-store-memory: does not fit into /dev/shm")
    limit = size_bytes(container.get("resources", {}).get("limits", {}).get("memory", "0"))
    if sum(in_memory.values()) + int(params.get("memory", 0)) > limit:
        found.append("memory: the volumes leave too little of the limit")
    return found


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_is_sound(path: Path) -> None:
    assert problems(yaml.safe_load(path.read_text())) == []


def head(document: dict[str, Any]) -> dict[str, Any]:
    return document["spec"]["headGroupSpec"]["template"]["spec"]


def spoiled_unknown(document: dict[str, Any]) -> None:
    document["spec"]["headGroupSpec"]["replicas"] = 1


def spoiled_missing(document: dict[str, Any]) -> None:
    del document["spec"]["workerGroupSpecs"][0]["minReplicas"]


def spoiled_type(document: dict[str, Any]) -> None:
    document["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0


def spoiled_version(document: dict[str, Any]) -> None:
    document["apiVersion"] = "ray.io/v1alpha1"


def spoiled_shm(document: dict[str, Any]) -> None:
    del head(document)["volumes"][0]["emptyDir"]["medium"]


def spoiled_spill(document: dict[str, Any]) -> None:
    document["spec"]["headGroupSpec"]["rayStartParams"]["object-spilling-directory"] = "/tmp"


def spoiled_store(document: dict[str, Any]) -> None:
    document["spec"]["headGroupSpec"]["rayStartParams"]["object-store-memory"] = str(2**32)


def spoiled_secret(document: dict[str, Any]) -> None:
    head(document)["containers"][0]["env"][0] = {"name": "MIEN_KEY", "value": "0123"}


def spoiled_limits(document: dict[str, Any]) -> None:
    del head(document)["containers"][0]["resources"]["limits"]["memory"]


def spoiled_auth(document: dict[str, Any]) -> None:
    document["spec"]["authOptions"] = {"mode": "disabled"}


def spoiled_user(document: dict[str, Any]) -> None:
    del head(document)["securityContext"]["runAsNonRoot"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoiled_unknown, "no field replicas"),
        (spoiled_missing, "minReplicas is missing"),
        (spoiled_type, "wrong type"),
        (spoiled_version, "RayCluster is of ray.io/v1"),
        (spoiled_shm, "/dev/shm: is not in memory"),
        (spoiled_spill, "/tmp: is not in memory"),
        (spoiled_store, "does not fit into /dev/shm"),
        (spoiled_secret, "a secret as a plain value"),
        (spoiled_limits, "no memory in limits"),
        (spoiled_auth, "without token authentication"),
        (spoiled_user, "may run as root"),
    ],
)
def test_a_spoiled_manifest_is_refused(
    spoil: Callable[[dict[str, Any]], None], message: str
) -> None:
    document = copy.deepcopy(loaded("raycluster.yaml"))  # YAML's aliases are one object
    spoil(document)
    assert any(message in problem for problem in problems(document))


def test_the_three_clusters_are_one() -> None:
    cluster = loaded("raycluster.yaml")["spec"]
    job = loaded("rayjob.yaml")["spec"]
    assert loaded("raycronjob.yaml")["spec"]["jobTemplate"] == job
    own = job["rayClusterSpec"]
    pod = own["headGroupSpec"]["template"]["spec"]
    assert pod["volumes"].pop()["name"] == pod["containers"][0]["volumeMounts"].pop()["name"]
    assert own == cluster


def test_cpu_pods_decode_and_gpu_pods_embed() -> None:
    groups = {
        group["groupName"]: group for group in loaded("raycluster.yaml")["spec"]["workerGroupSpecs"]
    }
    limits = {
        name: group["template"]["spec"]["containers"][0]["resources"]["limits"]
        for name, group in groups.items()
    }
    assert "nvidia.com/gpu" not in limits["decode"]
    assert limits["embed"]["nvidia.com/gpu"] == "1"
    assert int(groups["embed"]["rayStartParams"]["num-cpus"]) < int(limits["decode"]["cpu"])


def test_the_clusters_ray_is_the_locks() -> None:
    lock = (INFRA.parent / "requirements.lock").read_text()
    [locked] = re.findall(r"^ray==([\d.]+)", lock, re.MULTILINE)
    assert loaded("raycluster.yaml")["spec"]["rayVersion"] == locked


def test_every_secret_that_is_read_is_in_the_example() -> None:
    kept = loaded("secret.example.yaml")
    wanted = {
        part["secretKeyRef"]["key"]
        for part in dicts(loaded("rayjob.yaml"))
        if part.get("secretKeyRef", {}).get("name") == kept["metadata"]["name"]
    }
    assert wanted == kept["stringData"].keys()


def test_the_nightly_command_is_one_that_mien_understands() -> None:
    pod = loaded("cronjob.yaml")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    mien, name, *options = pod["containers"][0]["command"]
    command = typer.main.get_command(app).commands[name]
    known = {option for parameter in command.params for option in parameter.opts}
    assert mien == "mien"
    assert {option.split("=")[0] for option in options} <= known
    assert f"http://{loaded('raycluster.yaml')['metadata']['name']}-head-svc:8265" in str(options)


def test_the_launchers_file_is_what_ray_takes() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    text = (INFRA / "ray" / "cluster.yaml").read_text()
    validate_config(prepare_config(yaml.safe_load(text)))
    assert text.count("--object-spilling-directory=/dev/shm/") == 2
    assert text.count("RAY_AUTH_MODE=token") == 2


def test_the_image_installs_the_lock_as_nobody_and_names_no_index() -> None:
    text = (INFRA / "docker" / "Dockerfile").read_text()
    assert "-r /src/requirements.lock" in text
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == ["1000:1000"]
    assert not re.search(r"https?://(?!127\.0\.0\.1)|index-url|find-links", text)
    for copied in re.findall(r"^COPY ((?!--)\S+)", text, re.MULTILINE):
        assert (INFRA.parent / copied).exists()
