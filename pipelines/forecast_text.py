"""A forecast as JSON and as text."""

import sys
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from pipelines.finishing import finish
from pipelines.forecast import CONFIDENCE, STAGES
from pipelines.foresee import Foreseen
from pipelines.progress import clock
from schemas.config import Config
from schemas.tables import TABLES

WIDTH = 100  # where there is no terminal to ask


def as_body(found: Foreseen, cfg: Config, start: datetime) -> dict[str, Any]:
    """All of it, for a machine. An interval's ends are null where the sample cannot tell them."""
    predicted, wall = found.forecast, found.wall
    stop = cfg.run.stop_at
    ends = {
        name: None if seconds is None else finish(start, seconds, wall.before_seconds, stop)
        for name, seconds in asdict(wall.seconds).items()
    }
    return {
        "confidence": CONFIDENCE,
        "left": {
            "videos": found.left.videos,
            "unreadable_videos": found.left.unreadable_videos,
            "segments": predicted.segments,
            "video_hours": predicted.video_hours,
        },
        "left_out": {"covered_videos": found.covered, "staged_segments": found.staged},
        "sample": {
            "segments": found.sampled,
            "video_seconds": found.sampled_seconds,
            "strata": [
                {
                    "codec": stratum.key[0],
                    "picture": stratum.key[1],
                    "age": stratum.key[2],
                    "segments": stratum.segments,
                    "video_seconds": stratum.seconds,
                    "sampled": len(stratum.drawn),
                }
                for stratum in found.left.strata
            ],
        },
        "faces": asdict(predicted.faces),
        "rows": {name: asdict(predicted.rows[name]) for name in TABLES},
        "staging_bytes": asdict(predicted.staging_bytes),
        "published_bytes": asdict(predicted.published_bytes),
        "busy_seconds": {stage: asdict(predicted.busy_seconds[stage]) for stage in STAGES},
        "cpu_hours": asdict(predicted.cpu_hours),
        "gpu_hours": asdict(predicted.gpu_hours),
        "lost_share": asdict(predicted.lost_share),
        "max_quarantined": cfg.run.max_quarantined,
        "cluster": {
            "cpus": found.target.cpus,
            "gpus": found.target.gpus,
            "pools": {"extract": found.pools.extract, "embed": found.pools.embed},
        },
        "timing": asdict(found.timing),
        "wall_seconds": asdict(wall.seconds),
        "start": start.isoformat(timespec="seconds"),
        "stop_at": stop and stop.isoformat(timespec="minutes"),
        "finish": {
            name: end and end.at and end.at.isoformat(timespec="seconds")
            for name, end in ends.items()
        },
        "nights": {name: end and end.nights for name, end in ends.items()},
        "notes": list(found.notes),
    }


def print_forecast(body: dict[str, Any]) -> None:
    """The same for people, on stdout."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    left, out = body["left"], body["left_out"]
    console.print(
        f"{left['videos']:,} videos left, {left['video_hours']:,.2f} hours; "
        f"{out['covered_videos']:,} are done"
        + (f", and {out['staged_segments']:,} staged segments" * bool(out["staged_segments"])),
        soft_wrap=True,
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in ("forecast", "from", "to"):
        table.add_column(name, justify="right")
    for name, estimate, show in _lines(body):
        ends = (estimate[end] for end in ("low", "high"))
        table.add_row(
            name, show(estimate["value"]), *("?" if end is None else show(end) for end in ends)
        )
    console.print(table)
    console.print(f"\n{_verdict(body)}", soft_wrap=True)
    console.print(_budget(body), soft_wrap=True)
    for note in body["notes"]:
        console.print(f"note: {note}", soft_wrap=True)
    sample = body["sample"]
    console.print(
        f"from {sample['segments']} segments, {clock(sample['video_seconds'])} of video, in "
        f"{len(sample['strata'])} strata; {body['confidence']:.0%} intervals",
        soft_wrap=True,
    )


def _lines(body: dict[str, Any]) -> list[tuple[str, dict[str, float | None], Any]]:
    rows = [(f"rows of {name}", body["rows"][name], _count) for name in TABLES]
    stages = [(f"busy in {name}", body["busy_seconds"][name], clock) for name in STAGES]
    return [
        ("faces", body["faces"], _count),
        *rows,
        ("published bytes", body["published_bytes"], _size),
        ("staging bytes", body["staging_bytes"], _size),
        *stages,
        ("CPU-hours", body["cpu_hours"], _hours),
        ("GPU-hours", body["gpu_hours"], _hours),
        ("wall time", body["wall_seconds"], clock),
    ]


def _count(value: float) -> str:
    return f"{round(value):,}"


def _hours(value: float) -> str:
    return f"{value:,.2f}"


def _size(value: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:,.1f} {unit}"
        value /= 1024
    return f"{value:,.1f} TiB"


def _verdict(body: dict[str, Any]) -> str:
    """When it is done, and whether that is before `run.stop_at`."""
    cluster, finish, nights = body["cluster"], body["finish"], body["nights"]
    where = f"{cluster['cpus']:g} CPUs and {cluster['gpus']:g} GPUs"
    begin = f"started at {_moment(body['start'])} on {where}"
    if finish["value"] is None:
        return f"{begin}: never done, since the start alone takes until run.stop_at"
    text = f"{begin}: done by {_moment(finish['value'])}"
    if finish["low"] and finish["high"]:
        text += f", between {_moment(finish['low'])} and {_moment(finish['high'])}"
    elif finish["low"]:
        text += ", or never"
    if body["stop_at"] is None:
        return text
    if nights["value"] == 1:
        late = nights["high"] != 1
        return f"{text}; before {body['stop_at']}" + (", if all goes well" if late else "")
    return f"{text}; not before {body['stop_at']}: it takes {nights['value']} nights"


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M}"


def _budget(body: dict[str, Any]) -> str:
    lost, allowed = body["lost_share"], body["max_quarantined"]
    text = f"{lost['value']:.1%} of the seconds will be quarantined, {allowed:.1%} are allowed"
    if lost["value"] > allowed:
        return f"{text}: nothing would be published (exit 4)"
    if lost["high"] is not None and lost["high"] > allowed:
        return f"{text}; it may be up to {lost['high']:.1%}, and then nothing would be published"
    return text
