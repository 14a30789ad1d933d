"""How many actors each stage has, what each takes of a node, and on which nodes it may run."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from infra.cluster import (
    free_cpus,
    free_gpus,
    free_memory_gib,
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
    another cluster than the one in reach.
    """
    asked = cfg.cluster.resources
    on = elsewhere or Resources(free_cpus(), free_gpus(), free_memory_gib())
    cpus, gpus, memory = on.cpus, on.gpus, on.memory_gib
    decoding = cpus if elsewhere else _cpus_of("extract", asked.extract.nodes, cpus)
    if cfg.embed.actors == "auto":
        embed = max(1, int(gpus / (asked.embed.gpus or 1)))
    else:
        embed = cfg.embed.actors
    embed_cpus = asked.embed.cpus or EMBED_CPUS
    if asked.embed.gpus is None:
        embed_gpus = min(1.0, gpus / embed) if gpus else 0
    else:
        embed_gpus = asked.embed.gpus
    apart = bool(asked.embed.nodes) and asked.embed.nodes != asked.extract.nodes
    if apart and not elsewhere:
        embedding = _cpus_of("embed", asked.embed.nodes, cpus)
        if embed * embed_cpus > embedding:
            raise ConfigurationError(
                f"the nodes of cluster.resources.embed have {embedding:g} CPUs; {embed} embed "
                f"actors need {embed * embed_cpus:g}: lower embed.actors"
            )
    each = asked.extract.cpus
    if cfg.extract.actors == "auto":
        beside = spare_cpus + LIGHT + (0 if apart else embed * embed_cpus) if each else 0
        extract = max(1, int((decoding - beside) / (each or 1)))
    else:
        extract = cfg.extract.actors
    extract = min(extract, rows)
    if cfg.extract.actors == "auto":
        left_gib = memory - _gib(extract, embed) + extract * EXTRACT_GIB
        extract = max(1, int(min(extract, left_gib / EXTRACT_GIB)))
    write = _writers(extract)
    reserved = write * LIGHT + (0 if apart else embed * embed_cpus)
    share = each or min(1.0, (decoding - spare_cpus - reserved) / extract)
    if share < LIGHT or spare_cpus + reserved + extract * share > decoding + 1e-6:
        least = spare_cpus + reserved + extract * (each or LIGHT)
        raise ConfigurationError(
            f"the cluster has {decoding:g} CPUs; {extract} extract and {embed} embed actors need "
            f"at least {least:g}: lower extract.actors or embed.actors"
        )
    wanted_gpus = embed * embed_gpus + extract * (asked.extract.gpus or 0)
    if wanted_gpus > gpus + 1e-6:
        raise ConfigurationError(
            f"the cluster has {gpus:g} GPUs; {extract} extract and {embed} embed actors need "
            f"{wanted_gpus:g}: lower cluster.resources.extract.gpus or .embed.gpus, or the actors"
        )
    if _gib(extract, embed) > memory:
        raise ConfigurationError(
            f"the cluster has {memory:.1f} GiB of memory for work; {extract} extract and {embed} "
            f"embed actors need about {_gib(extract, embed):.1f}: lower extract.actors or "
            "embed.actors, or give its nodes more"
        )
    if cfg.cluster.address != "local" and elsewhere is None:  # local is nobody else's
        everything = reserved + extract * share + (embed * embed_cpus if apart else 0)
        require_free(everything, wanted_gpus)
        require_strict(cfg)  # again for every wave: nodes come and go
    return Pools(extract, share, embed, embed_gpus, write, embed_cpus, asked.embed.nodes)


def _cpus_of(stage: str, nodes: Mapping[str, str], whole: float) -> float:
    """CPUs of the nodes with these labels, of the whole cluster where there are none.

    Raises `ConfigurationError` where no node has them: Ray would wait for one for ever.
    """
    if not nodes:
        return whole
    found = free_cpus(nodes)
    if not found:
        labels = ",".join(f"{name}={value}" for name, value in nodes.items())
        raise ConfigurationError(
            f"cluster.resources.{stage}.nodes: no node of the cluster has these labels and a CPU: "
            f"start one with `ray start --labels {labels}`"
        )
    return found


def _writers(extract: int) -> int:
    return math.ceil(extract / EXTRACT_A_WRITER)


def _gib(extract: int, embed: int) -> float:
    """The memory that so many actors take, with those that write."""
    return extract * EXTRACT_GIB + (embed + _writers(extract)) * ACTOR_GIB
