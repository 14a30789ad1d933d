"""`mien plan`: will it be done by six?"""

import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from infra.errors import ConfigurationError
from pipelines.arguments import (
    Arguments,
    AsJson,
    ConfigPath,
    job_config,
    messages,
    split_arguments,
)


def add_commands(app: typer.Typer) -> None:
    """Register the command with the command line."""
    app.command()(plan)


def plan(
    arguments: Arguments = None,
    out: Annotated[
        str | None,
        typer.Option("--out", help="The store: what it holds already is left out. Not changed."),
    ] = None,
    config: ConfigPath = None,
    sample_minutes: Annotated[
        float | None,
        typer.Option(
            "--sample-minutes",
            min=0,
            metavar="N",
            help="Video to sample; by default 5, and at least 4 segments for each decoder.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed, another sample.")] = 0,
    cpus: Annotated[
        float | None,
        typer.Option("--cpus", min=1, metavar="N", help="Foresee a cluster of N CPUs like these."),
    ] = None,
    gpus: Annotated[
        float | None, typer.Option("--gpus", min=0, metavar="N", help="And of N GPUs.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--start", metavar="HH:MM", help="When it will start; by default now."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE.PNG", help="Draw what each stage takes."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what scoring SOURCE will find, write and take, before it is scored. Nothing is published.

    For example: mien plan ./archive --out ./store -c job.yaml --start 20:00 run.stop_at=06:00

    Scores a few minutes of video, spread over codecs, picture sizes and ages, and forecasts the
    rest with 90 % intervals. They tell what other samples would have said; they know nothing of a
    cluster that will be slower tonight.
    """
    begin = time.perf_counter()
    source, overrides = split_arguments(arguments)
    cfg = job_config(config, source, out, overrides)
    starting = _moment(start)
    if plot is not None and (plot.suffix.lower() != ".png" or not plot.parent.is_dir()):
        raise ConfigurationError(f"{plot}: name a .png file in a folder that exists")

    from pipelines.figures_forecast import stages_png
    from pipelines.forecast_text import as_body, print_forecast
    from pipelines.foresee import Asked, foresee

    found = foresee(cfg, messages, Asked(sample_minutes, seed, cpus, gpus), begin)
    if found is None:
        if as_json:
            sys.stdout.write(json.dumps({"nothing_new": True}, indent=2) + "\n")
        messages.print("nothing is left to score")
        return
    body = as_body(found, cfg, starting or datetime.now())
    if plot is not None:
        plot.write_bytes(stages_png(found.wall))
        messages.print(f"wrote {plot}")
    if as_json:
        sys.stdout.write(json.dumps(body, indent=2) + "\n")
    else:
        print_forecast(body)


def _moment(text: str | None) -> datetime | None:
    """The next time that the clock shows `HH:MM`, or shows it now."""
    if text is None:
        return None
    from infra.stopping import seconds_until

    try:
        clock = datetime.strptime(text, "%H:%M").time()
    except ValueError:
        raise ConfigurationError(f"--start {text}: write it as HH:MM") from None
    now = datetime.now()
    return datetime.fromtimestamp(round(now.timestamp() + seconds_until(clock, now)))
