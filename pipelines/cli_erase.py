"""`mien erase` and `mien expire`: rows leave a store for good."""

import json
import sys
from typing import Annotated, Any

import typer

from pipelines.arguments import AsJson, ConfigPath, Overrides, messages
from pipelines.configuration import load_config

StorePath = Annotated[str, typer.Argument(metavar="STORE", help="Folder or s3:// prefix.")]
Names = list[str] | None
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be erased, and change nothing.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Wait = Annotated[
    float,
    typer.Option(
        "--wait",
        min=0,
        metavar="SECONDS",
        help="Wait so long for another run that holds the store, and for readers of the old files.",
    ),
]
NOTHING = 'nothing in the store fits: `mien query STORE "select * from videos"` shows what there is'


def add_commands(app: typer.Typer) -> None:
    """Register the commands with the command line."""
    app.command()(erase)
    app.command()(expire)


def _many(name: str, text: str, metavar: str) -> Any:
    return typer.Option(name, metavar=metavar, help=text, show_default=False)


def erase(
    store: StorePath,
    overrides: Overrides = None,
    source: Annotated[
        Names, _many("--source", "What lies at this place: its uri or source_id.", "URI")
    ] = None,
    session: Annotated[Names, _many("--session", "Videos of this session_id.", "NAME")] = None,
    view: Annotated[Names, _many("--view", "Videos of this view_id, a camera.", "NAME")] = None,
    video: Annotated[Names, _many("--video", "This video_id.", "ID")] = None,
    track: Annotated[
        Names, _many("--track", "One person's faces in one video: this track_id.", "ID")
    ] = None,
    recorded_from: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="What was recorded from then on, by recorded_at; UTC if no zone."
        ),
    ] = None,
    recorded_until: Annotated[
        str | None, typer.Option(metavar="TIME", help="What was recorded before then.")
    ] = None,
    from_seconds: Annotated[
        float | None, typer.Option(metavar="S", help="Within each chosen video: from here,")
    ] = None,
    until_seconds: Annotated[
        float | None, typer.Option(metavar="S", help="to before here. The rest stays.")
    ] = None,
    config: ConfigPath = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    wait: Wait = 0,
    as_json: AsJson = False,
) -> None:
    """Erase videos, spans or one person's track from STORE, with every trace and with proof.

    For example: mien erase ./store --source /archive/2026/lobby.mp4

    Several kinds of names narrow the choice, several names of a kind widen it. Copies of a video
    under other names go with it, and none of it is scored again. Files that held the rows are
    deleted after erase.reader_grace_seconds, by the next erase, expire, compact or score if this
    one does not --wait. What you took out of the store, you erase yourself.
    """
    from infra.store import Store
    from pipelines.erase import Ask
    from pipelines.erase import erase as run
    from pipelines.selection import Selector, choose, moment

    cfg = load_config(config, overrides or [])
    selector = Selector(
        *(names or () for names in (source, session, view, video, track)),
        recorded_from=moment(recorded_from) if recorded_from else None,
        recorded_until=moment(recorded_until) if recorded_until else None,
        from_seconds=from_seconds,
        until_seconds=until_seconds,
    )
    selector.check()
    identity = Store.open(store, create=False).identity
    grace = cfg.erase.reader_grace_seconds
    ask = Ask("erase", selector.facts(identity), grace, wait, dry_run, NOTHING)
    done = run(store, ask, lambda s, state: choose(s, state, selector), _agree(yes), messages.print)
    _print(done, as_json)


def expire(
    store: StorePath,
    overrides: Overrides = None,
    days: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Rows older than this; by default governance.retention_days of their run.",
        ),
    ] = None,
    config: ConfigPath = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    wait: Wait = 0,
    as_json: AsJson = False,
) -> None:
    """Erase the rows that were kept for as long as they might be.

    For example, every night: mien expire s3://results/faces --yes --wait 3600

    Each run's rows are kept for the governance.retention_days that it stated. The same file is not
    scored again (erase.rescore_expired=true lifts that); a new or changed one is.
    """
    from pipelines.erase import Ask
    from pipelines.erase import erase as run
    from pipelines.expire import expired

    cfg = load_config(config, overrides or [])
    facts: dict[str, str | float | int] = {"days": days if days is not None else "retention_days"}
    ask = Ask("expire", facts, cfg.erase.reader_grace_seconds, wait, dry_run)
    done = run(store, ask, expired(days), _agree(yes), messages.print)
    _print(done, as_json)


def _agree(yes: bool) -> Any:
    def agree(seen: Any) -> bool:
        if yes:
            return True
        _show(seen)
        messages.print(str(seen), soft_wrap=True)
        try:
            return typer.confirm("erase this for good?", err=True)
        except typer.Abort:  # nobody is there to answer
            return False

    return agree


def _show(seen: Any) -> None:
    from rich.table import Table

    table = Table("table", "rows", "files to write anew", "of", box=None, pad_edge=False)
    for loss in seen.tables:
        table.add_row(loss.table, f"{loss.rows:,}", str(loss.files), str(loss.of_files))
    messages.print(table)


def _print(done: Any, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(done.as_json(), indent=2) + "\n")
        return
    if done.videos or done.parts:
        _show(done)
    messages.print(str(done), soft_wrap=True)
