"""The demo: footage from public-domain portraits, scored, published, reported."""

from pathlib import Path

from rich.console import Console

from pipelines.footage import make_archive
from pipelines.score import score
from pipelines.summary import print_next_commands, print_outcome, write_store_report
from schemas.config import Config, Governance, Plan, Run

#: The demo is its own controller: it shows two portraits that are in the public domain.
GOVERNANCE = Governance(
    controller="mien demo",
    operator="you",
    purpose="demonstration",
    setting="laboratory",
    jurisdiction="other",
    legal_basis="public_task",
    notice_reference="public-domain portraits by NASA and the US Navy",
    retention_days=7,
    overseer="you",
)


def run_demo(out: Path, console: Console) -> int:
    """Make `out/archive`, score it into `out/store`, write `out/report.html`; the exit code."""
    archive, store, report = out / "archive", out / "store", out / "report.html"
    if not archive.is_dir():
        console.print(f"making a small video archive in {archive}")
        make_archive(archive)
    cfg = Config(
        source=str(archive),
        store=str(store),
        governance=GOVERNANCE,
        plan=Plan(segment_seconds=5),
        # One of the files is cut off on purpose: its lost seconds are a large share of so little.
        run=Run(max_quarantined=0.15),
    )
    outcome = score(cfg, console)
    print_outcome(outcome, str(store), False, console)
    write_store_report(str(store), report)
    print_next_commands(str(store), report, console)
    return outcome.exit_code
