"""How many actors each stage has, what each takes of a node, and on which nodes it may run."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from infra.cluster import (
    free_gpus,
    free_memory_gib,
    nodes_with,
    require_free,
    require_strict,
)
from infra.errors import ConfigurationError
from schemas.config import Config

#: Shares of a CPU: the light stages wait most of the time, decoding never does.
LIGHT = 0.125
EMBED_CPUS = 0.25
EXTRACT_A_WRITER = 16
#: Memory of an extract actor with its child, up to 4K video, and of any other actor, as measured.
EXTRACT_GIB = 1.0
ACTOR_GIB = 0.75

#: What each node has, by its id: {"CPU": 4, "GPU": 1, ...}.
Nodes = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Pools:
    """How many actors each stage has, and what each takes of a node."""

    extract: int
    extract_cpus: float
    embed: int
    embed_gpus: float
    write: int
    embed_cpus: float = EMBED_CPUS
    embed_nodes: dict[str, str] = field(default_factory=dict)  # labels that a node must have


@dataclass(frozen=True)
class Resources:
    """What a cluster has for work."""

    cpus: float
    gpus: float
    memory_gib: float = math.inf


def size_pools(
    cfg: Config, rows: int, spare_cpus: float = 0, elsewhere: Resources | None = None
) -> Pools:
    """Fill the cluster, with no more actors than rows; `ConfigurationError` where it is too small.

    Every pool fits at once: Ray Data would wait for ever for one that does not. `spare_cpus` are
    left to other work of the run, which may hold them already; `elsewhere` sizes the pools for
    another cluster than the one in reach, whose labels are not known.
    """
    asked = cfg.cluster.resources
    memory = elsewhere.memory_gib if elsewhere else free_memory_gib()
    decode, encode = _nodes(cfg, elsewhere)
    embed, embed_gpus = _encoders(cfg, encode)
    embed_cpus = asked.embed.cpus or EMBED_CPUS
    apart = bool(decode) and not decode.keys() & encode.keys()
    if apart and embed * embed_cpus > _total(encode, "CPU"):
        raise ConfigurationError(
            f"the nodes of cluster.resources.embed have {_total(encode, 'CPU'):g} CPUs; {embed} "
            f"embed actors need {embed * embed_cpus:g}: lower embed.actors"
        )
    beside = 0 if apart else embed * embed_cpus  # of the nodes that decode
    extract = _decoders(cfg, decode, spare_cpus + beside)
    extract = min(extract, rows)
    if cfg.extract.actors == "auto":
        left_gib = memory - _gib(extract, embed) + extract * EXTRACT_GIB
        extract = max(1, int(min(extract, left_gib / EXTRACT_GIB)))
    write = _writers(extract)
    reserved, cpus = write * LIGHT + beside, _total(decode, "CPU")
    share = asked.extract.cpus or min(1.0, (cpus - spare_cpus - reserved) / extract)
    if share < LIGHT or spare_cpus + reserved + extract * share > cpus + 1e-6:
        least = spare_cpus + reserved + extract * (asked.extract.cpus or LIGHT)
        raise ConfigurationError(
            f"the cluster has {cpus:g} CPUs; {extract} extract and {embed} embed actors need "
            f"at least {least:g}: lower extract.actors or embed.actors"
        )
    extract_gpus = extract * (asked.extract.gpus or 0)
    wanted_gpus = extract_gpus + (0 if apart else embed * embed_gpus)
    if extract_gpus and wanted_gpus > _total(decode, "GPU") + 1e-6:
        raise ConfigurationError(
            f"the nodes that decode have {_total(decode, 'GPU'):g} GPUs; {extract} extract and "
            f"{embed} embed actors need {wanted_gpus:g}: lower cluster.resources.extract.gpus or "
            "the actors"
        )
    if _gib(extract, embed) > memory:
        raise ConfigurationError(
            f"the cluster has {memory:.1f} GiB of memory for work; {extract} extract and {embed} "
            f"embed actors need about {_gib(extract, embed):.1f}: lower extract.actors or "
            "embed.actors, or give its nodes more"
        )
    if cfg.cluster.address != "local" and elsewhere is None:  # local is nobody else's
        cpus = write * LIGHT + extract * share + embed * embed_cpus
        require_free(cpus, extract_gpus + embed * embed_gpus)
        require_strict(cfg)  # again for every wave: nodes come and go
    return Pools(extract, share, embed, embed_gpus, write, embed_cpus, asked.embed.nodes)


def _nodes(cfg: Config, elsewhere: Resources | None) -> tuple[Nodes, Nodes]:
    """The nodes that decode and those that embed.

    Raises `ConfigurationError` where no node has the labels, or where decoding could fill the nodes
    that the encoders must have: Ray would wait for one for ever.
    """
    if elsewhere:
        whole = {"": {"CPU": elsewhere.cpus, "GPU": elsewhere.gpus}}
        return whole, whole
    asked, found = cfg.cluster.resources, []
    for stage, labels in (("extract", asked.extract.nodes), ("embed", asked.embed.nodes)):
        nodes = nodes_with(labels)
        if labels and not nodes:
            text = ",".join(f"{name}={value}" for name, value in labels.items())
            raise ConfigurationError(
                f"cluster.resources.{stage}.nodes: no node of the cluster has these labels and a "
                f"CPU: start one with `ray start --labels {text}`"
            )
        found.append(nodes)
    decode, encode = found
    if asked.embed.nodes and decode.keys() & encode.keys() and decode.keys() != encode.keys():
        raise ConfigurationError(
            "cluster.resources: some nodes of embed decode as well, and decoding would fill them: "
            "give extract.nodes labels of other nodes, or of the same ones"
        )
    return decode, encode


def _encoders(cfg: Config, nodes: Nodes) -> tuple[int, float]:
    """How many actors embed, and the share of a GPU that each takes."""
    wanted, each = cfg.embed.actors, cfg.cluster.resources.embed.gpus
    gpus = int(_total(nodes, "GPU"))
    if each is None:
        if not gpus and cfg.cluster.resources.embed.nodes and free_gpus():
            raise ConfigurationError(
                "cluster.resources.embed.nodes: these nodes have no GPU, and others have: encoders "
                "of a cluster with GPUs run on them"
            )
        embed = max(1, gpus) if wanted == "auto" else wanted
        # so that as many as there may be on one GPU fit on each; Ray counts ten-thousandths
        share = math.floor(10_000 / math.ceil(embed / gpus)) / 10_000 if gpus else 0.0
        return embed, share
    room = sum(
        int(node.get("GPU", 0)) * int(1 / each + 1e-6) if each <= 1 else node.get("GPU", 0) // each
        for node in nodes.values()
    )
    embed = max(1, int(room)) if wanted == "auto" else wanted
    if embed > room:
        raise ConfigurationError(
            f"{gpus} GPUs hold {room:g} embed actors of {each:g}, and {embed} are asked for: lower "
            "cluster.resources.embed.gpus or embed.actors"
        )
    return embed, each


def _decoders(cfg: Config, nodes: Nodes, taken_cpus: float) -> int:
    """How many actors decode: as many as asked for, or as the nodes hold beside `taken_cpus`."""
    if cfg.extract.actors != "auto":
        return cfg.extract.actors
    each = cfg.cluster.resources.extract.cpus
    if each is None:  # they share what there is
        return max(1, int(_total(nodes, "CPU")))
    room = sum(int(node["CPU"] / each + 1e-6) for node in nodes.values())
    left = _total(nodes, "CPU") - taken_cpus
    for count in range(room, 1, -1):
        if count * each + _writers(count) * LIGHT <= left + 1e-6:
            return count
    return 1


def _total(nodes: Nodes, name: str) -> float:
    return sum(node.get(name, 0) for node in nodes.values())


def _writers(extract: int) -> int:
    return math.ceil(extract / EXTRACT_A_WRITER)


def _gib(extract: int, embed: int) -> float:
    """The memory that so many actors take, with those that write."""
    return extract * EXTRACT_GIB + (embed + _writers(extract)) * ACTOR_GIB
