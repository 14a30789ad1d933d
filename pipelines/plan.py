"""Plan: from a source to the segments that no published row covers yet."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from infra.errors import Resumable
from infra.identity import Identity
from infra.store import Store
from infra.tables import read_small_table, table_rows, write_small_table
from pipelines.planned import AT_ONCE, FULL, PLANNED_VIDEO, SCORES_ONLY, Plan, Video
from pipelines.settings import Settings
from pipelines.steps import probe_all
from schemas.config import Config
from schemas.reasons import LASTING, Deferral, Reason
from schemas.tables import PROBED, SOURCE_FILES

PROBES = "probes.parquet"
#: How often a file or a segment is tried before it counts as lost: Ray drops one whose workers die.
PASSES = 2

LOOK = ("size_bytes", "changed")  # with its place, whether a file is as it was at the last look

PROBE_CACHE = pa.schema([*(item for item in SOURCE_FILES if item.name != "uri"), *PROBED])


def make_plan(
    cfg: Config,
    settings: Settings,
    store: Store,
    sources: pa.Table,
    skipped: Mapping[str, int],
    retry: bool = False,
) -> Plan:
    """Probe what is new in `sources`, and cut what no published row covers.

    `retry` plans again what earlier runs quarantined.
    """
    probed = probe_sources(sources, cfg, store)
    published = {
        row["video_id"]: row for row in table_rows(store.root, store.latest(), "videos").to_pylist()
    }
    videos, covered = [], set()
    for row in probed:
        if video := plan_video(row, settings, published.get(row["video_id"]), retry):
            videos.append(video)
        else:
            covered.add(row["video_id"])
    return Plan(videos, frozenset(covered), Counter(skipped))


def probe_sources(sources: pa.Table, cfg: Config, store: Store) -> Iterator[dict[str, Any]]:
    """Yield SOURCE rows with PROBED columns and ids, in order; only new or changed files are read.

    A file counts as seen when its place, size and mtime (or etag) are those of the last look.
    """
    ids = [store.identity.source_id(uri) for uri in sources["uri"].to_pylist()]
    sources = sources.append_column(SOURCE_FILES.field(0), pa.array(ids, pa.string()))
    cached = {_look(row): row for row in _read_cache(store)}
    looks = list(zip(ids, *(sources[name].to_pylist() for name in LOOK), strict=True))
    new = [index for index, look in enumerate(looks) if look not in cached]
    if new:
        wanted = sources.take(pa.array(new)).select(SOURCE_FILES.names)
        for _ in range(PASSES):
            cached |= {_look(row): row for row in _batches(probe_all(wanted, cfg))}
            lost = [_look(row) not in cached for row in wanted.to_pylist()]
            wanted = wanted.filter(pa.array(lost, pa.bool_()))
            if not len(wanted):
                break
        _keep(store, [cached[look] for look in sorted(set(looks) & set(cached))])
    for batch in sources.to_batches(max_chunksize=AT_ONCE):
        for row in batch.to_pylist():
            yield _identified(row, cached.pop(_look(row), None), store.identity)


def _keep(store: Store, found: list[dict[str, Any]]) -> None:
    """Remember what files are; not what befell them this once.

    Raises `Resumable` where the storage did not let some be read.
    """
    lasting = [row for row in found if row["reason"] is None or row["reason"] in LASTING]
    write_small_table(store.root, PROBES, pa.Table.from_pylist(lasting, PROBE_CACHE))
    unread = sum(row["reason"] == Deferral.STORAGE for row in found)
    if unread:
        raise Resumable(f"the source did not answer for {unread} files: run again")


def _look(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["source_id"], *(row[name] for name in LOOK)


def _read_cache(store: Store) -> list[dict[str, Any]]:
    table = read_small_table(store.root, PROBES)
    return table.to_pylist() if table is not None and table.schema.equals(PROBE_CACHE) else []


def _batches(rows: Any) -> Iterator[dict[str, Any]]:
    for batch in rows.iter_batches(batch_size=None, batch_format="pyarrow"):
        yield from batch.to_pylist()


def _identified(
    row: dict[str, Any], probed: dict[str, Any] | None, identity: Identity
) -> dict[str, Any]:
    if probed is None:  # its worker was lost
        probed = {"fingerprint": "", "reason": str(Reason.WORKER_LOST)}
    known = {name: probed.get(name) for name in PROBED.names}
    what = row["size_bytes"], known["fingerprint"] or ""
    return {
        **row,
        **known,
        "video_id": identity.video_id(row["uri"], *what),
        "content_id": identity.content_id(*what),
    }


def plan_video(
    row: dict[str, Any], settings: Settings, published: dict[str, Any] | None, retry: bool
) -> Video | None:
    """What is left to do for one video; None when published rows cover it."""
    todo, published_by = FULL, []
    if published and published["extract_hash"] == settings.extract_hash:
        broken = published["status"] != "ok"
        if not (retry and broken):
            todo, published_by = SCORES_ONLY, published["scored_by"]
    missing = [item for item in settings.scored_by if item not in published_by]
    if not missing:
        return None
    video = {
        **{name: row.get(name) for name in PLANNED_VIDEO.names},
        "extract_hash": settings.extract_hash,
        "scored_by": _scored_by(settings, published_by),
    }
    methods = [item.split(":")[0] for item in missing]
    return Video(video, todo, methods, settings.cfg.plan.segment_seconds)


def _scored_by(settings: Settings, published_by: list[str]) -> list[str]:
    """The chosen methods, and the published ones that they do not replace."""
    chosen = {item.spec.name for item in settings.chosen}
    kept = [item for item in published_by if item.split(":")[0] not in chosen]
    return sorted([*settings.scored_by, *kept])
