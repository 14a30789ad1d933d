"""`mien governance` and `mien audit`: what is asked before a run, and what was done."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from infra.errors import ConfigurationError
from pipelines.arguments import AsJson, ConfigPath, Overrides, messages, split_arguments

governance_app = typer.Typer(
    name="governance",
    help="State who asks for a run, why and on what ground; ask whether it may begin.",
    no_args_is_help=True,
)


class Jurisdiction(StrEnum):
    """Whose rules a template is for."""

    EU = "eu"
    JP = "jp"
    OTHER = "other"


def add_commands(app: typer.Typer) -> None:
    """Register the commands with the command line."""
    app.add_typer(governance_app)
    app.command()(audit)


@governance_app.command()
def template(
    jurisdiction: Annotated[Jurisdiction, typer.Option(help="Whose rules.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Write governance.yaml and sample notices here; by default the section goes to "
            "stdout.",
        ),
    ] = None,
) -> None:
    """Write a commented governance section, and sample notices in English and Japanese.

    For example: mien governance template --jurisdiction eu --out governance
    """
    from pipelines.governance import template as text
    from pipelines.governance import write_template

    if out is None:
        sys.stdout.write(text(jurisdiction))
        messages.print("with --out DIR, sample notices in English and Japanese come along")
        return
    for path in write_template(jurisdiction, out):
        messages.print(f"wrote {path}", soft_wrap=True)


@governance_app.command()
def check(
    overrides: Overrides = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Ask the gate whether a job may begin, and what else is asked of you. No work is done.

    For example: mien governance check -c job.yaml governance.setting=workplace

    Exit 0 where it may, 5 where it is refused. It is no legal advice.
    """
    from pipelines.governance import check as asked

    source, pairs = split_arguments(overrides)
    if source:
        raise ConfigurationError(f"{source!r}: an override is written key.sub=value")
    answer, refusal = asked(config, pairs)
    if as_json:
        sys.stdout.write(json.dumps(answer, indent=2, ensure_ascii=False) + "\n")
    if refusal:
        raise refusal
    if not as_json:
        lines = [f"allowed; keep the audit log for {answer['audit_log_days']} days or more"]
        lines += [f"- {d['name']} ({d['source']}): {d['says']}" for d in answer["duties"]]
        sys.stdout.write("\n".join(lines) + "\n")


def audit(
    store: Annotated[str, typer.Argument(metavar="STORE", help="Folder or s3:// prefix.")],
    head: Annotated[
        str | None,
        typer.Option(
            "--head",
            metavar="SEQ:MAC",
            help="A head kept elsewhere, as MLflow's tag mien.audit_head: the log must hold it.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the store's audit log, and check that nothing of it was changed, removed or cut off.

    For example: mien audit ./store --head 12:9f86d081...

    Needs the store's key. Exit 4 where the log is not what was written.
    """
    from pipelines.audit import audit as read
    from pipelines.audit import event_line

    found = read(store, head)
    if as_json:
        sys.stdout.write(json.dumps(found.as_json(), indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.writelines(f"{event_line(event)}\n" for event in found.events)
    found.check()
    messages.print(str(found), soft_wrap=True, highlight=False)
