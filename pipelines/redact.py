"""Redact: copies of a source's videos without faces, and what was found in them."""

import json
import posixpath
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
from rich.console import Console

from infra.cluster import cluster
from infra.copies import SUMMARY, Record, copies_there, put_copy, read_records
from infra.errors import ConfigurationError, SourceError, interruption
from infra.listing import list_sources
from infra.stopping import Stop, stoppable
from infra.storage import Root, is_local, local_path
from operators.core.detect import weights_sha256
from pipelines.progress import VideoProgress
from pipelines.settings import digest
from pipelines.steps import probe_all, redact_videos
from pipelines.work import batches
from schemas.config import Config
from schemas.flow import SOURCE_FILES
from schemas.reasons import DEFERRED, REASON_TEXT, Deferral, Reason, Status
from schemas.redaction import COPY_NAME, FACE_LEFT, REDACTED, TO_REDACT

#: Raise it when equal input and configuration give another copy.
REDACT_VERSION = 2
COUNTS = tuple(f.name for f in REDACTED if pa.types.is_integer(f.type))


@dataclass(frozen=True)
class Redaction:
    """How a run of `mien redact` ended: a record of every video, and how many were made before."""

    records: list[Record]
    made_before: int
    deferred: int

    @property
    def exit_code(self) -> int:
        """4: a face stays; 6: videos are left to do; 3: some have no copy, or not all of one."""
        found = Counter(record["status"] for record in self.records)
        if found[FACE_LEFT]:
            return 4
        if self.deferred:
            return 6
        return 3 if found[str(Status.QUARANTINED)] + found[str(Status.PARTIAL)] else 0

    def as_json(self) -> dict[str, Any]:
        """What `redaction.json` holds."""
        statuses = Counter(record["status"] for record in self.records)
        return {
            "videos": len(self.records),
            "made_before": self.made_before,
            "deferred": self.deferred,
            "statuses": dict(sorted(statuses.items())),
            "totals": {name: sum(r.get(name, 0) for r in self.records) for name in COUNTS},
            "records": self.records,
        }


@dataclass(frozen=True)
class _Job:
    """A checked run of `mien redact`."""

    cfg: Config
    out: Root
    redact_hash: str
    files: pa.Table  # SOURCE_FILES rows
    names: list[str]  # of their copies


def redact(cfg: Config, out_url: str, console: Console, limit: int | None = None) -> Redaction:
    """Write a copy without faces of every video in `cfg.source` to `out_url`.

    Copies that are there, of the same bytes and by the same configuration, are not made again.
    Raises the errors of `infra.errors`; nothing is done before all is checked.
    """
    if not cfg.source:
        raise ConfigurationError("no source: name it on the command line or as `source:`")
    sources, skipped = list_sources(
        cfg.source, cfg.plan.include, cfg.plan.exclude, cfg.plan.min_age_seconds
    )
    sources = sources.slice(0, limit)
    uris = sources["uri"].to_pylist()
    out = Root(out_url)
    _check_apart(cfg.source, uris, out)
    numbers = pa.array([str(index) for index in range(len(sources))])
    files = sources.append_column(SOURCE_FILES.field("source_id"), numbers)
    redact_hash = digest(
        REDACT_VERSION, cfg.redact.model_dump(mode="json"), cfg.extract.device, weights_sha256()
    )
    names = copy_names(uris, cfg.source)
    job = _Job(cfg, out, redact_hash, files.select(SOURCE_FILES.names), names)
    console.print(f"{len(sources)} videos listed, {sum(skipped.values())} files skipped")
    if cfg.redact.style != "solid":
        console.print(
            f"warning: redact.style={cfg.redact.style}: who trains on such pictures recognises "
            "people behind it; only solid hides them",
            soft_wrap=True,
            highlight=False,
        )
    with (
        interruption("copies that are made stay; the same command goes on from here"),
        stoppable(cfg.run.stop_at) as stop,
        cluster(cfg),
    ):
        known, todo = _planned(job)
        made_before = sum(record["copy_bytes"] > 0 for record in known)
        made = _made(job, todo, stop, console) if todo else []
    by_name = {record["copy_name"]: record for record in (*known, *made)}
    ended = [by_name[name] for name in names if name in by_name]
    result = Redaction(ended, made_before, len(names) - len(ended))
    body = {"redact": cfg.redact.model_dump(mode="json"), "redact_hash": redact_hash}
    out.write(SUMMARY, json.dumps({**body, **result.as_json()}, indent=1).encode())
    return result


def _planned(job: _Job) -> tuple[list[Record], list[dict[str, Any]]]:
    """Records of what is done or cannot be read, and TO_REDACT rows of what is to be done."""
    probes = batches(probe_all(job.files, job.cfg))
    probed = {row["source_id"]: row for table in probes for row in table.to_pylist()}
    before, there = read_records(job.out), copies_there(job.out)
    known: list[Record] = []
    todo: list[dict[str, Any]] = []
    for row, name in zip(job.files.to_pylist(), job.names, strict=True):
        found = probed.get(row["source_id"], {"reason": str(Reason.WORKER_LOST)})
        if found["reason"]:
            known.append(_unread(job, name, found))
        elif _is_made(before.get(name), found["fingerprint"], job.redact_hash, there.get(name)):
            known.append(before[name])
        else:
            todo.append({**row, **found, "copy_name": name})
    return known, todo


def _made(job: _Job, todo: list[dict[str, Any]], stop: Stop, console: Console) -> list[Record]:
    """Records of what was worked on; those that were deferred are not among them."""
    cfg, names = job.cfg, [row["copy_name"] for row in todo]
    seconds = {row["copy_name"]: row["duration_seconds"] or 0.0 for row in todo}
    videos = pa.Table.from_pylist(todo, pa.schema([*TO_REDACT, COPY_NAME]))
    came: dict[str, Record] = {}
    with (
        stop.gentle(cfg.run.grace_seconds, console.print) as stopping,
        VideoProgress(console, sum(seconds.values()), len(todo), "redacting") as progress,
    ):
        for table in batches(redact_videos(videos, cfg, job.out, job.redact_hash, stopping)):
            for record in table.to_pylist():
                came[record["copy_name"]] = record
                progress.count(seconds[record["copy_name"]], record["faces"])
                if record["reason"] == Deferral.STORAGE:
                    stop.ask()
    if not stop.asked:
        lost = {"reason": str(Reason.WORKER_LOST), "fingerprint": ""}
        came |= {name: _unread(job, name, lost) for name in names if name not in came}
    return [record for record in came.values() if record["status"] != DEFERRED]


def _unread(job: _Job, name: str, found: Mapping[str, Any]) -> Record:
    """The record of a video that no copy can be made of; an older copy of that name goes."""
    record = {
        "copy_name": name,
        "redact_hash": job.redact_hash,
        "copy_bytes": 0,
        "fingerprint": found.get("fingerprint", ""),
        "status": str(Status.QUARANTINED),
        "reason": found["reason"],
        **dict.fromkeys(COUNTS, 0),
    }
    put_copy(job.out, record, None)
    return record


def _is_made(
    record: Record | None, fingerprint: str, redact_hash: str, copy_bytes: int | None
) -> bool:
    """Whether what is there is what would be made now. A face that stays would stay again."""
    if record is None or record["fingerprint"] != fingerprint:
        return False
    if record["redact_hash"] != redact_hash:
        return False
    return record["status"] == FACE_LEFT or 0 < record["copy_bytes"] == copy_bytes


def copy_names(uris: list[str], source: str) -> list[str]:
    """Where each video's copy goes: its path below the source, or below the folder of them all.

    What is no `.mp4` gets that ending after its own. Raises `SourceError` where two would collide.
    """
    prefix = source.rstrip("/") + "/"
    if not all(uri.startswith(prefix) for uri in uris):
        prefix = posixpath.commonprefix([posixpath.dirname(uri) + "/" for uri in uris])
        prefix = prefix[: prefix.rfind("/") + 1]
    names = []
    for uri in uris:
        below = uri[len(prefix) :]
        names.append(below if PurePosixPath(below).suffix == ".mp4" else f"{below}.mp4")
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise SourceError(f"{source}: two videos would have the copy {twice[0]}: rename one")
    return names


def _check_apart(source: str, uris: list[str], out: Root) -> None:
    """Copies among the sources would be redacted again, or replace them."""
    inside = out.local and is_local(source) and Path(local_path(source)).is_dir()
    base = local_path(source) if inside else None
    nested = base is not None and Path(out.url).is_relative_to(base)
    if nested or any(uri.startswith(out.url + "/") for uri in uris):
        raise ConfigurationError(f"--out {out.url} lies in the source: name a folder apart from it")


def print_redaction(result: Redaction, out_url: str, console: Console) -> None:
    """A line on what was done, and one for each video that has no copy or not all of one."""
    totals = result.as_json()["totals"]
    console.print(
        f"{len(result.records)} videos, {totals['frames']} frames, {totals['faces']} faces, "
        f"{totals['gaps_filled']} gaps filled, {totals['redone']} faces found in copies and "
        f"redone, {totals['residual']} left; {result.made_before} copies were there",
        soft_wrap=True,
        highlight=False,
    )
    for record in result.records:
        if record["status"] == FACE_LEFT:
            text = f"{record['residual']} faces stay: no copy; raise redact.rounds or redact.margin"
        elif record["reason"]:
            text = f"{record['status']}: {REASON_TEXT[Reason(record['reason'])]}"
        else:
            continue
        console.print(f"{record['copy_name']}: {text}", soft_wrap=True, markup=False)
    if result.deferred:
        console.print(f"{result.deferred} videos are left: the same command goes on from here")
    console.print(f"wrote {out_url}/{SUMMARY}", soft_wrap=True, highlight=False)
