"""Erasing, step by step: each may be repeated, and what was begun is gone on with."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from infra import audit_log, erasures, runs, tombstones, traces, versions
from infra.erasures import Erasure, Remade, Rewrite
from infra.errors import StoreBusy, StoreError
from infra.mlflow_eraser import erase_logged, used_trackers
from infra.snapshots import Snapshot
from infra.store import Store
from infra.tables import narrowed, table_rows
from infra.tracking import without_password
from operators.core.erasure import without
from pipelines.cuts import cuts_of, frame_px
from pipelines.report_text import short_id
from schemas.config import Score
from schemas.tables import TABLES

Say = Callable[[str], None]


@dataclass(frozen=True)
class Left:
    """An erasure that cannot be finished yet, and why."""

    erasure: Erasure
    why: str
    due_at: float | None = None  # Unix time


def finish_pending(store: Store, say: Say) -> list[Left]:
    """Go on with every erasure that is not done, as far as may be now. For the lock's holder.

    What cannot be done is said and left: nothing else in the store waits for it.
    """
    left = []
    for erasure in erasures.pending(store.root):
        try:
            if found := carry_out(store, erasure):
                left.append(found)
        except StoreError as error:
            left.append(Left(erasure, str(error)))
    for one in left:
        say(f"note: an erasure begun {one.erasure.began:%Y-%m-%d %H:%M} is not done: {one.why}")
    return left


def carry_out(store: Store, erasure: Erasure) -> Left | None:
    """Do what is left of an erasure; what cannot be done yet is returned.

    Its order: nothing may come back, no new reader sees the rows, no other trace is left; and when
    those who read before have had their time, no file.
    """
    root = store.root
    tombstones.put(root, erasure.erasure_id, erasure.tombstones)
    if erasure.snapshot_after is None:
        erasure = _invisible(store, erasure)
    if erasure.trackers_left is None:
        erasure = _untraced(store, erasure)
    if erasure.trackers_left:
        erasure = _unlogged(store, erasure)
    left = (erasure.due_at or 0) - time.time()
    if left > 0:
        why = f"files that held the rows stay {left:.0f} s more, for who reads them"
        return Left(erasure, why, erasure.due_at)
    erasure = _unfiled(store, erasure)
    if erasure.trackers_left:
        return Left(erasure, f"MLflow is out of reach: {', '.join(erasure.trackers_left)}")
    audit_log.append(store, f"{erasure.command}_done", proof(erasure))
    erasures.discard(root, erasure)
    return None


def proof(erasure: Erasure) -> dict[str, Any]:
    """What the audit log says of an erasure that is done. No name, no uri."""
    return {
        **facts(erasure),
        "snapshot_before": erasure.snapshot_before,
        "snapshot_after": erasure.snapshot_after,
        "other_traces": erasure.traces,
        "files_deleted": [file.model_dump() for file in erasure.files],
    }


def facts(erasure: Erasure) -> dict[str, Any]:
    """What the audit log says of an erasure that takes the rows out of the tables.

    Which videos these are stands in the file of tombstones, whose hash is given.
    """
    stones = tombstones.encoded(erasure.tombstones)
    return {
        "erasure_id": erasure.erasure_id,
        "selector": erasure.selector,
        "videos": len(erasure.videos),
        "rows": erasure.rows,
        "tombstones": tombstones.rel_of(erasure.erasure_id),
        "tombstones_sha256": hashlib.sha256(stones).hexdigest(),
    }


def _invisible(store: Store, erasure: Erasure) -> Erasure:
    def remake(current: Snapshot) -> Iterator[Remade]:
        return remade(store, current, erasure.tombstones)

    name = f"erase-{erasure.erasure_id}"
    change = Rewrite(store.root, erasure.whole, remake, name)
    state = store.commit(change, erasure.command, facts(erasure))
    due = time.time() + erasure.grace_seconds
    return _saved(store, erasure, snapshot_after=state.seq, due_at=due)


def remade(
    store: Store, state: Snapshot, stones: Iterable[tombstones.Tombstone]
) -> Iterator[Remade]:
    """The videos that lose a part of their rows by these tombstones, with what is left."""
    parts: dict[str, list[tombstones.Tombstone]] = {}
    for stone in stones:
        if not stone.whole:
            parts.setdefault(stone.video_id, []).append(stone)
    state = narrowed(store.root, state, parts)
    for video_id, own in sorted(parts.items()):
        flat = {
            table: table_rows(store.root, state, table, video_ids=[video_id]) for table in TABLES
        }
        for video in flat["videos"].to_pylist():
            left = without(flat, cuts_of(own), frame_px(video), _abstain_below(store, video))
            if left is not flat:
                names = {f"mien.{name}": video[name] for name in ("run_id", "extract_hash")}
                yield Remade(video_id, left, names)


def _abstain_below(store: Store, video: dict[str, Any]) -> float:
    """What the run that scored it last was told; the default where its record is gone."""
    try:
        config = yaml.safe_load(runs.load(store.root, video["run_id"]).config_yaml) or {}
    except StoreError:
        config = {}
    return Score.model_validate(config.get("score") or {}).abstain_below


def _untraced(store: Store, erasure: Erasure) -> Erasure:
    _check_holder(store)
    root, names = store.root, _needles(erasure)
    found = {
        "staged_segments": traces.erase_staged(root, erasure.videos),
        "planned_videos": traces.erase_planned(root, erasure.whole, erasure.sources),
        "probes": traces.erase_probed(root, erasure.sources),
        "reports": traces.erase_reports(root, names),
        "waiting_for_mlflow": traces.erase_buffered(root, names),
    }
    trackers = {cfg.uri or "" for cfg in used_trackers(runs.list_runs(root))}
    left = tuple(sorted(without_password(uri) for uri in trackers))
    return _saved(store, erasure, traces=found, trackers_left=left)


def _unlogged(store: Store, erasure: Erasure) -> Erasure:
    records = runs.list_runs(store.root)
    names = {record.run_id for record in records}
    done, left = 0, []
    for cfg in used_trackers(records):
        place = without_password(cfg.uri or "")
        if place not in (erasure.trackers_left or ()):
            continue
        deleted = erase_logged(cfg, store.root, names, _needles(erasure))
        if deleted is None:
            left.append(place)
        else:
            done += deleted
    found = {**erasure.traces, "mlflow_artifacts": erasure.traces.get("mlflow_artifacts", 0) + done}
    return _saved(store, erasure, traces=found, trackers_left=tuple(left))


def _needles(erasure: Erasure) -> list[bytes]:
    """How a report names one of the videos: in full or by the beginning of its id."""
    return [short_id(video).encode() for video in sorted(erasure.videos)]


def _unfiled(store: Store, erasure: Erasure) -> Erasure:
    """Delete the files, and old versions of objects where the bucket keeps them."""
    _check_holder(store)
    root, live, videos = store.root, store.latest(), erasure.videos
    dead = erasures.dead_files(root, live, videos)
    known = {file.path for file in erasure.files}
    files = (*erasure.files, *(file for file in dead if file.path not in known))
    erasure = _saved(store, erasure, files=files)
    root.delete(file.path for file in files)
    if versions.are_kept(root):
        purged = versions.purge(root)
        found = {**erasure.traces, "object_versions": purged}
        erasure = _saved(store, erasure, traces=found)
    return erasure


def _check_holder(store: Store) -> None:
    if store.lost:
        raise StoreBusy("another run took this store over: run again")


def _saved(store: Store, erasure: Erasure, **changes: Any) -> Erasure:
    erasure = erasure.model_copy(update=changes)
    erasures.save(store.root, erasure)
    return erasure
