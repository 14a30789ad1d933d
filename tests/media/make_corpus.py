"""Write a folder of bad and odd media: `python -m tests.media.make_corpus DIR`.

With `--check` it also runs every file through the pipeline's first steps, prints what each gave,
and with `--docs FILE` writes that as a page.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.media.corpus import Result, check, write_corpus
from tests.media.kinds import KINDS

INTRODUCTION = """\
# Bad and odd media

Written by `python -m tests.media.make_corpus DIR --check --docs docs/bad-media.md`, which makes
every file below from nothing and runs it through listing, Probe and Extract, each in its child
process.

An archive holds files that no one has looked at: cut short by a full disk, of codecs from thirty
years, under the wrong name, or made to do harm. This page says what becomes of each kind.
*Expected* is what a person who runs an archive should get; *got* is what this version gives. `ok`
is read to its end. `partial` is read as far as it goes or around its damage, and says why.
`quarantined` yields nothing and says why. `skipped` was left out by the listing, which counts it.
The reasons are those of [the tables](tables.md). Nothing that a file refers to is ever opened.
"""


def page(results: Sequence[Result]) -> str:
    """The table of kinds, one section a group, as Markdown."""
    lines = [INTRODUCTION]
    wrong = [result for result in results if not result.right]
    lines.append(f"{len(results)} kinds; {len(results) - len(wrong)} give what is expected.\n")
    for group in dict.fromkeys(result.kind.group for result in results):
        lines += [f"## {group[0].upper()}{group[1:]}\n", "| kind | what it is | expected | got |"]
        lines.append("|---|---|---|---|")
        for result in results:
            if result.kind.group == group:
                kind = result.kind
                got = "the same" if result.right else f"**{result.got}**"
                lines.append(f"| {kind.name} | {kind.about} | {kind.expected} | {got} |")
        lines.append("")
    notes = [f"- {r.kind.name}: {r.kind.pending}" for r in wrong if r.kind.pending]
    if notes:
        lines += ["## What is not yet as it should be\n", *notes, ""]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.media.make_corpus", description=__doc__)
    parser.add_argument("folder", type=Path, help="an empty folder, or one to be made")
    parser.add_argument("--check", action="store_true", help="run every file and say what it gave")
    parser.add_argument("--docs", type=Path, help="with --check: write the table to this page")
    chosen = parser.parse_args(arguments)
    if chosen.folder.is_dir() and any(chosen.folder.iterdir()):
        parser.error(f"{chosen.folder} is not empty")
    write_corpus(chosen.folder)
    sys.stderr.write(f"{len(KINDS)} kinds in {chosen.folder}\n")
    if not chosen.check:
        return 0
    results = check(chosen.folder)
    text = page(results)
    if chosen.docs is not None:
        chosen.docs.write_text(text)
    else:
        sys.stdout.write(text)
    return 0 if all(r.right or r.kind.pending for r in results) else 1


if __name__ == "__main__":
    sys.exit(main())
