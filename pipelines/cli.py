"""The command line: stable names, plain errors, documented exit codes."""

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from infra.errors import ConfigurationError, UserError
from infra.offline import disable_telemetry
from pipelines import (
    cli_erase,
    cli_fit,
    cli_governance,
    cli_plan,
    cli_privacy,
    cli_redact,
    cli_submit,
)
from pipelines.arguments import (
    Arguments,
    AsJson,
    ConfigPath,
    Limit,
    Overrides,
    RetryQuarantined,
    Wait,
    job_config,
    messages,
    split_arguments,
)
from pipelines.configuration import load_config, to_yaml

WIDTH = 160  # where there is no terminal to ask
EPILOG = (
    "Exit codes: 0 done or nothing new; 1 unexpected failure; 2 wrong usage or configuration; "
    "3 published with quarantined inputs; 4 not published: audit or budget, a broken audit log, a "
    "face left by redact; 5 refused by governance; 6 resumable: run the same command again; "
    "7 store busy."
)

app = typer.Typer(
    name="mien",
    help="Score apparent facial expressions over video archives, without keeping a face.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
StorePath = Annotated[str, typer.Argument(metavar="STORE", help="Folder or s3:// prefix.")]


def main() -> None:
    """Run the command line; every expected failure is one line on stderr and its exit code."""
    disable_telemetry()
    try:
        app(standalone_mode=True)
    except UserError as error:
        messages.print(f"[red]mien:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        messages.print("[red]mien:[/] interrupted: the same command goes on from here")
        sys.exit(6)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of the demo: archive, store, report.")] = Path(
        "demo-store"
    ),
) -> None:
    """Make a small archive from public-domain portraits, score it, report. No GPU, no network."""
    from pipelines.demo import run_demo

    raise typer.Exit(run_demo(out, messages))


@app.command()
def score(
    arguments: Arguments = None,
    out: Annotated[str | None, typer.Option("--out", help="The store.")] = None,
    config: ConfigPath = None,
    limit: Limit = None,
    retry_quarantined: RetryQuarantined = False,
    wait: Wait = 0,
    as_json: AsJson = False,
) -> None:
    """Score what is new in SOURCE and publish it.

    For example: mien score ./archive --out ./store -c job.yaml extract.frames_per_second=2

    Running it again goes on where it stopped, and scores only what is new. The first Ctrl-C or
    SIGTERM finishes what is in flight (run.grace_seconds), a second one stops at once.
    """
    from pipelines.score import score as run
    from pipelines.summary import print_outcome

    source, overrides = split_arguments(arguments)
    cfg = job_config(config, source, out, overrides)
    outcome = run(cfg, messages, limit, retry_quarantined, wait)
    print_outcome(outcome, str(cfg.store), as_json, messages)
    raise typer.Exit(outcome.exit_code)


@app.command()
def publish(
    store: StorePath,
    overrides: Overrides = None,
    run: Annotated[str | None, typer.Option("--run", help="The run; by default the last.")] = None,
    wait: Wait = 0,
    as_json: AsJson = False,
) -> None:
    """Publish again from staging, after an audit that failed or a budget that was passed."""
    from pipelines.score import publish_staged
    from pipelines.summary import print_outcome

    outcome = publish_staged(store, run, overrides or [], messages, wait)
    print_outcome(outcome, store, as_json, messages)
    raise typer.Exit(outcome.exit_code)


@app.command()
def compact(
    store: StorePath,
    target_rows: Annotated[
        int | None,
        typer.Option(
            "--target-rows",
            min=1,
            metavar="N",
            help="Most rows in a file, by default run.publish_rows: 1,000,000; an eighth of it for "
            "embeddings. Memory grows with it.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be merged, and change nothing.")
    ] = False,
    wait: Wait = 0,
    as_json: AsJson = False,
) -> None:
    """Merge the small files that many runs left into few large sorted ones. No row changes.

    For example: mien compact ./store --dry-run

    Each run adds files to every table, and a query opens all of them. Readers
    go on while it works. The merged files stay for them for a day; then the
    next publish or compact deletes them. Ctrl-C costs the work, never a row.
    """
    from pipelines.compact import compact as run
    from pipelines.compact import plan_compaction

    if dry_run:
        done = plan_compaction(store, target_rows)
    else:
        done = run(store, messages, target_rows, wait)
    body = done.as_json()
    if as_json:
        sys.stdout.write(json.dumps(body, indent=2) + "\n")
    else:
        show(body["tables"], tuple(body["tables"][0]), as_json)
        messages.print(str(done), soft_wrap=True)


@app.command()
def runs(
    store: StorePath,
    as_json: AsJson = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show what is at work, again and again, to its end.")
    ] = False,
    every: Annotated[
        float, typer.Option("--every", min=0.1, metavar="SECONDS", help="With --watch: how often.")
    ] = 5,
) -> None:
    """List the store's runs: state, counts, duration. Or watch one at work, from any machine.

    For example: mien runs s3://results/faces --watch

    With --watch --json each refresh is one line of JSON. Needs no key. Ends by
    itself when no run is at work; Ctrl-C ends the watching, never the run.
    """
    if watch:
        from pipelines.watch import watch as run

        run(store, as_json, lambda: time.sleep(every))
        return
    from pipelines.summary import print_runs

    print_runs(store, as_json)


@app.command()
def query(
    store: StorePath,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="DuckDB SQL over the views.")],
    run: Annotated[str | None, typer.Option("--run", help="Rows of one run only.")] = None,
    format: Annotated[str, typer.Option(help="table, csv, json or parquet.")] = "table",
) -> None:
    """Query the published tables with SQL.

    Views: videos segments faces tracks scores track_scores embeddings expression_seconds.

    For example: mien query ./store "select top_label, count(*) from scores group by 1"
    """
    from pipelines.query import open_store, run_query

    result = run_query(open_store(store, run), sql, format)
    if isinstance(result, bytes):
        sys.stdout.buffer.write(result)
    else:
        sys.stdout.write(result if result.endswith("\n") else result + "\n")


@app.command()
def report(
    store: StorePath,
    out: Annotated[Path, typer.Option(help="The HTML file to write.")] = Path("report.html"),
) -> None:
    """Write one self-contained HTML page: expressions over time, quality, throughput. No face."""
    from pipelines.summary import write_store_report

    write_store_report(store, out)
    messages.print(f"wrote {out}")


@app.command()
def methods(as_json: AsJson = False) -> None:
    """List the scoring methods and the anonymizers."""
    from operators.core.anonymizers import anonymizers
    from operators.methods.registry import methods as registered

    rows = [
        {
            "kind": "method",
            "name": entry.name,
            "reads": str(entry.reads),
            "artifact": entry.needs_artifact,
            "summary": entry.summary,
            "source": entry.source,
        }
        for entry in registered()
    ]
    rows += [
        {
            "kind": "anonymizer",
            "name": entry.name,
            "reads": "crops",
            "strength": entry.default_strength if entry.unit != "-" else None,
            "unit": entry.unit,
            "summary": entry.summary,
        }
        for entry in anonymizers()
    ]
    show(rows, ("kind", "name", "reads", "strength", "unit", "summary"), as_json)


@app.command()
def backbones(as_json: AsJson = False) -> None:
    """List the image-text encoders, with the card of the one that ships."""
    from operators.backbone import known_backbones

    rows = known_backbones()
    columns = [name for name in rows[0] if not isinstance(rows[0][name], dict | list)]
    show(rows, tuple(columns), as_json)


@app.command()
def schema(as_json: AsJson = False) -> None:
    """Show every published table: columns, types, units, meaning."""
    from pipelines.docs import schema_rows

    rows = schema_rows()
    show(rows, tuple(rows[0]), as_json)


@app.command(name="config")
def show_config(
    overrides: Overrides = None,
    config: ConfigPath = None,
) -> None:
    """Print the resolved configuration as YAML: every key with the value that a run would use."""
    source, pairs = split_arguments(overrides)
    if source:
        raise ConfigurationError(f"{source!r}: an override is written key.sub=value")
    sys.stdout.write(to_yaml(load_config(config, pairs)))


def show(rows: list[dict[str, Any]], columns: tuple[str, ...], as_json: bool) -> None:
    """Rows as JSON, or the chosen columns as a table."""
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2, default=str) + "\n")
        return
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*("" if row.get(name) is None else str(row[name]) for name in columns))
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)


cli_plan.add_commands(app)
cli_submit.add_commands(app)
cli_fit.add_commands(app)
cli_governance.add_commands(app)
cli_erase.add_commands(app)
cli_privacy.add_commands(app)
cli_redact.add_commands(app)

if __name__ == "__main__":
    main()
