"""`mien redact`: copies of videos without faces."""

import json
import sys
from typing import Annotated

import typer

from infra.errors import ConfigurationError
from pipelines.arguments import (
    Arguments,
    AsJson,
    ConfigPath,
    Limit,
    job_config,
    messages,
    split_arguments,
)


def add_commands(app: typer.Typer) -> None:
    """Register the command with the command line."""
    app.command()(redact)


def redact(
    arguments: Arguments = None,
    out: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="Folder or s3:// prefix of copies.")
    ] = None,
    config: ConfigPath = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Write copies of the videos in SOURCE without faces, and redaction.json.

    For example: mien redact ./archive --out ./safe redact.style=blur redact.audio=drop

    Every frame of each copy is looked through again, at a lower threshold than the
    faces were found with; what is found is covered and the copy made anew. If a face
    stays after redact.rounds, there is no copy and the exit code is 4. Copies that
    are there already are not made again.

    Exit codes: 0 done; 3 some videos could not be read, or not to their end; 4 a face
    stays; 6 interrupted: run the same command again.
    """
    from pipelines.redact import print_redaction
    from pipelines.redact import redact as run

    source, overrides = split_arguments(arguments)
    if out is None:
        raise ConfigurationError("--out DIR: name the folder or prefix for the copies")
    result = run(job_config(config, source, None, overrides), out, messages, limit)
    if as_json:
        sys.stdout.write(json.dumps(result.as_json(), indent=2) + "\n")
    print_redaction(result, out, messages)
    raise typer.Exit(result.exit_code)
