"""What the commands of the command line have in common: options, SOURCE and overrides."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from infra.errors import ConfigurationError
from pipelines.configuration import load_config
from schemas.config import Config

messages = Console(stderr=True)

Arguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SOURCE] [key.sub=value ...]", show_default=False),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[key.sub=value ...]", show_default=False)
]
ConfigPath = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="JOB.YAML", help="The job's YAML; - is stdin."),
]
Wait = Annotated[
    float,
    typer.Option(
        "--wait", min=0, metavar="SECONDS", help="Wait for another run that holds the store."
    ),
]
Limit = Annotated[
    int | None, typer.Option("--limit", min=1, help="Take the first N videos of the source only.")
]
RetryQuarantined = Annotated[
    bool, typer.Option("--retry-quarantined", help="Score again what was quarantined.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for a machine.")]


def split_arguments(arguments: list[str] | None) -> tuple[str | None, list[str]]:
    """One optional SOURCE and any number of `key.sub=value`.

    Raises `ConfigurationError` for a second source.
    """
    sources = [item for item in arguments or [] if not _is_override(item)]
    if len(sources) > 1:
        raise ConfigurationError(f"one SOURCE at most, got {len(sources)}: {' '.join(sources)}")
    overrides = [item for item in arguments or [] if _is_override(item)]
    return (sources[0] if sources else None), overrides


def _is_override(text: str) -> bool:
    key, equals, _ = text.partition("=")
    return bool(equals) and all(part.isidentifier() for part in key.split("."))


def job_config(
    config: Path | None, source: str | None, out: str | None, overrides: list[str]
) -> Config:
    """The configuration of a job, with SOURCE and --out in their places."""
    cfg = load_config(config, overrides)
    given = {"source": source, "store": out}
    return cfg.model_copy(update={key: value for key, value in given.items() if value})
