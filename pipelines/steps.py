"""The arrows of the diagram. The only place that calls `map_batches`."""

import warnings
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import ray.data
from ray.data import ActorPoolStrategy, Dataset

from infra import window
from infra.child import Isolated, Limits
from infra.cluster import (
    free_cpus,
    free_gpus,
    free_memory_gib,
    require_free,
    smallest_node_cpus,
)
from infra.served import parent_file
from infra.sources import open_source
from infra.storage import Root
from infra.wire import LONGEST_ANSWER_BYTES
from operators.anonymize import Anonymize
from operators.core.operator import Step, empty_values
from operators.embed import Embed
from operators.extract import Extract
from operators.probe import Probe
from operators.protect import Protect
from operators.redact import Means, Redact
from operators.score import Score
from pipelines.actors import Built, RedactAndPut, Write, never
from pipelines.pools import LIGHT, Pools, size_pools
from pipelines.settings import Settings
from schemas.config import Config
from schemas.flow import PLANNED, SOURCE_FILES
from schemas.redaction import TO_REDACT

#: Memory of an actor that redacts, with its child and a copy of a few minutes.
REDACT_GIB = 1.5
#: How often a copy may stand in its child's memory while it is handed over.
COPIES_IN_CHILD = 6
#: Ray's own defaults try for ever. Actors come back always; what they died of is tried again so
#: often. A try on a node that is gone, and not known to be, fails after a second, and Ray takes up
#: to 25 seconds to know: with few tries all that is sent there is lost meanwhile. Ray 2.60 has no
#: other way to say it than the one that it deprecates.
BOUNDED: dict[str, Any] = {"max_restarts": -1, "max_task_retries": 30}
#: A try at a copy is a whole video. A node that is gone costs its videos; the next run makes them.
FEW_TRIES: dict[str, Any] = {**BOUNDED, "max_task_retries": 2}
warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
SEGMENTS_A_BATCH = 4  # the tower's batch is filled across segments
#: So many segments for each extract actor may be begun and not staged: what a killed driver costs.
SEGMENTS_UNDER_WAY = 4


def cropping_steps(settings: Settings) -> tuple[Step, ...]:
    """From a file to safe crops."""
    return (
        Step(Extract, (settings.cfg.extract, settings.crop_px, parent_file)),
        Step(Anonymize, (settings.cfg.privacy, settings.crop_px)),
    )


def isolated_steps(settings: Settings) -> tuple[Step, ...]:
    """What runs in the child: up to where the crops are safe, or not kept."""
    steps = cropping_steps(settings)
    return steps if _crops_may_leave(settings) else (*steps, *_scoring_steps(settings))


def open_steps(settings: Settings) -> tuple[Step, ...]:
    """What runs in the actors that embed, on safe crops: they have loaded the encoder."""
    return _scoring_steps(settings) if _crops_may_leave(settings) else ()


def flow_stages(settings: Settings) -> tuple[str, ...]:
    """The stages that segments wait in front of, in order; what runs in the child is one."""
    return ("extract", *(step.name.lower() for step in open_steps(settings)[:1]), "write")


def _crops_may_leave(settings: Settings) -> bool:
    return settings.cfg.privacy.anonymizer.name != "none"


def _scoring_steps(settings: Settings) -> tuple[Step, ...]:
    cfg, device = settings.cfg, _device()
    return (
        Step(Embed, (cfg.embed, device)),
        Step(Protect, (cfg.embed, settings.projection, settings.embed_hash)),
        Step(Score, (cfg.score, cfg.embed.backbone, settings.chosen)),
    )


def _device() -> str:
    return "cuda" if ray.is_initialized() and free_gpus() else "cpu"


def one_block_each(rows: pa.Table) -> Dataset:
    """A Dataset with one block a row: the unit that is lost, retried and resumed."""
    return ray.data.from_items(rows.to_pylist(), override_num_blocks=max(1, len(rows)))


def probe_all(sources: pa.Table, cfg: Config) -> Dataset:
    """SOURCE_FILES rows in, with the PROBED columns out; many files are read at once."""
    steps = (Step(Probe, (parent_file,)),)
    pools = size_pools(cfg, len(sources))
    return isolate(one_block_each(sources), steps, SOURCE_FILES, cfg, pools)


def score_segments(
    segments: pa.Table,
    settings: Settings,
    store: Root,
    run_id: str,
    stopping: Callable[[], bool],
) -> Dataset:
    """PLANNED rows in, WRITTEN rows out: the flow of the diagram.

    Once `stopping()`, segments that were not begun come out deferred.
    """
    # the wave before is published beside it
    pools = size_pools(settings.cfg, len(segments), spare_cpus=LIGHT)
    return write(scored_rows(segments, settings, pools, stopping), store, run_id, pools)


def scored_rows(
    segments: pa.Table, settings: Settings, pools: Pools, stopping: Callable[[], bool]
) -> Dataset:
    """PLANNED rows in, rows as Write takes them out: no crop and no embedding among it."""
    steps = isolated_steps(settings)
    found = isolate(one_block_each(segments), steps, PLANNED, settings.cfg, pools, stopping)
    steps = open_steps(settings)
    return in_actors(found, steps, pools) if steps else found


def crop_segments(segments: pa.Table, settings: Settings) -> Dataset:
    """PLANNED rows in, what Extract and Anonymize add out: the safe crops among it."""
    pools = size_pools(settings.cfg, len(segments))
    steps = cropping_steps(settings)
    return isolate(one_block_each(segments), steps, PLANNED, settings.cfg, pools)


def redact_videos(
    videos: pa.Table, cfg: Config, out: Root, redact_hash: str, stopping: Callable[[], bool]
) -> Dataset:
    """TO_REDACT rows with a `copy_name` in; a record of each out, its copy put in `out`.

    A CPU that no video is left for helps with another one's detection.
    """
    nodes, wanted = cfg.cluster.resources.extract.nodes, cfg.extract.actors
    cpus = free_cpus(nodes)
    most = max(1, int(min(cpus, free_memory_gib() / REDACT_GIB))) if wanted == "auto" else wanted
    actors = min(most, len(videos))
    threads = max(1, int(min(cpus / actors, smallest_node_cpus())))
    share = min(float(threads), cpus / actors)
    if cfg.cluster.address != "local":
        require_free(actors * share, 0)
    memory_gib = cfg.run.child_memory_gib
    largest = min(int(memory_gib * 2**30 / COPIES_IN_CHILD), LONGEST_ANSWER_BYTES - (1 << 20))
    how = Means(cfg.extract.device, threads, largest)
    longest = max(videos["duration_seconds"].to_pylist(), default=0.0)
    segments = max(1.0, longest / cfg.plan.segment_seconds)
    limits = Limits(cfg.run.segment_timeout_seconds * segments * threads, memory_gib)
    steps = (Step(Redact, (cfg.redact, how, parent_file)),)
    rows = one_block_each(videos)
    return rows.map_batches(
        RedactAndPut,
        fn_constructor_args=(
            (steps, TO_REDACT, open_source, empty_values, limits, stopping),
            out.patient(),
            redact_hash,
        ),
        batch_size=1,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=actors),
        num_cpus=share,
        num_gpus=min(1.0, free_gpus() / actors) if cfg.extract.device == "cuda" else None,
        label_selector=nodes or None,
        **FEW_TRIES,
    )


def isolate(
    rows: Dataset,
    steps: tuple[Step, ...],
    schema: pa.Schema,
    cfg: Config,
    pools: Pools,
    stopping: Callable[[], bool] = never,
) -> Dataset:
    limits = Limits(cfg.run.segment_timeout_seconds, cfg.run.child_memory_gib)
    window.bound(rows, SEGMENTS_UNDER_WAY * pools.extract)
    return rows.map_batches(
        Isolated,
        fn_constructor_args=(steps, schema, open_source, empty_values, limits, stopping),
        batch_size=1,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=pools.extract),
        num_cpus=pools.extract_cpus,
        num_gpus=cfg.cluster.resources.extract.gpus or None,
        label_selector=cfg.cluster.resources.extract.nodes or None,
        **BOUNDED,
    )


def in_actors(rows: Dataset, steps: tuple[Step, ...], pools: Pools) -> Dataset:
    return rows.map_batches(
        Built,
        fn_constructor_args=(steps,),
        batch_size=min(SEGMENTS_A_BATCH, pools.extract),
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=pools.embed),
        num_cpus=pools.embed_cpus,
        num_gpus=pools.embed_gpus or None,
        label_selector=pools.embed_nodes or None,
        **BOUNDED,
    )


def write(rows: Dataset, store: Root, run_id: str, pools: Pools) -> Dataset:
    return rows.map_batches(
        Write,
        fn_constructor_args=(store, run_id),
        batch_size=None,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=pools.write),
        num_cpus=LIGHT,
        **BOUNDED,
    )
