"""Plan: from a source to the segments that no published row covers yet."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from infra import tombstones
from infra.errors import Resumable
from infra.identity import Identity
from infra.store import Store
from infra.tables import read_small_table, table_rows, write_small_table
from infra.tombstones import Tombstones
from infra.traces import PROBES
from pipelines.planned import AT_ONCE, FULL, PLANNED_VIDEO, SCORES_ONLY, Plan, Video
from pipelines.settings import Settings
from pipelines.steps import probe_all
from schemas.config import Config
from schemas.flow import PROBED, SOURCE_FILES
from schemas.reasons import LASTING, Deferral, Reason

#: How often a file or a segment is tried before it counts as lost: Ray drops one whose workers die.
PASSES = 2

#: Why a video is skipped that is listed.
ERASED, EXPIRED = "erased", "expired"

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

    `retry` plans again what earlier runs quarantined. What was erased is skipped, and so is what
    expired, unless `erase.rescore_expired`.
    """
    erased, skips = tombstones.load(store.root), Counter(skipped)
    probed = probe_sources(sources, cfg, store, erased, skips)
    published = {
        row["video_id"]: row for row in table_rows(store.root, store.latest(), "videos").to_pylist()
    }
    videos, covered = [], set()
    for row in probed:
        if erased.expired(row["video_id"]) and not cfg.erase.rescore_expired:
            skips[EXPIRED] += 1
        elif video := plan_video(row, settings, published.get(row["video_id"]), retry):
            videos.append(video)
        else:
            covered.add(row["video_id"])
    return Plan(videos, frozenset(covered), +skips)


def probe_sources(
    sources: pa.Table, cfg: Config, store: Store, erased: Tombstones, skips: Counter[str]
) -> Iterator[dict[str, Any]]:
    """Yield SOURCE rows with PROBED columns and ids, in order; only new or changed files are read.

    A file counts as seen when its place, size and mtime (or etag) are those of the last look. One
    that was erased is counted in `skips`: by its place unread, under another name by its content.
    """
    ids = [store.identity.source_id(uri) for uri in sources["uri"].to_pylist()]
    sources = sources.append_column(SOURCE_FILES.field(0), pa.array(ids, pa.string()))
    stay = [not erased.holds_source(source_id) for source_id in ids]
    sources = sources.filter(pa.array(stay, pa.bool_()))
    skips[ERASED] += len(ids) - len(sources)
    ids = sources["source_id"].to_pylist()
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
        found = [cached[look] for look in sorted(set(looks) & set(cached))]
        _keep(store, [row for row in found if not erased.holds(_with_content(row, store.identity))])
    for batch in sources.to_batches(max_chunksize=AT_ONCE):
        for row in batch.to_pylist():
            known = _identified(row, cached.pop(_look(row), None), store.identity)
            if erased.holds(known):
                skips[ERASED] += 1
            else:
                yield known


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
    video_id = identity.video_id(row["uri"], row["size_bytes"], known["fingerprint"] or "")
    return _with_content({**row, **known, "video_id": video_id}, identity)


def _with_content(row: dict[str, Any], identity: Identity) -> dict[str, Any]:
    content_id = identity.content_id(row["size_bytes"], row["fingerprint"] or "")
    return {**row, "content_id": content_id}


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
