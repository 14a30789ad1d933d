"""How the report writes numbers, times and ids, and the pieces of HTML it is made of.

Every function that takes text from a store escapes it; what returns HTML is named for it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

ID_CHARACTERS = 12
#: What stands where there is no number.
NONE = "\u2013"


# --- plain text ----------------------------------------------------------------------------------


def clock(seconds: float | None) -> str:
    """A place on a video's clock: `0:07`, `1:02:45`."""
    if seconds is None:
        return "?"
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"


def amount(seconds: float | None) -> str:
    """A length of time in the unit that reads best: `8.5 s`, `12.4 min`, `3,120 h`."""
    if seconds is None:
        return "?"
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60)):
        if seconds < limit:
            return f"{seconds / size:.1f} {unit}"
    hours = seconds / 3600
    return f"{hours:,.1f} h" if hours < 100 else f"{hours:,.0f} h"


def count_of(number: int, noun: str) -> str:
    """`1 face`, `12,400 faces`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def percent(share: float | None) -> str:
    """`34 %`, and one decimal below ten."""
    if share is None:
        return NONE
    return f"{share:.0%}" if share >= 0.0995 or share == 0 else f"{share:.1%}"


def short_id(identifier: str) -> str:
    """The first characters of an id: enough to find it by `like`."""
    return identifier[:ID_CHARACTERS]


def short_ids(identifiers: Sequence[str]) -> list[str]:
    """Short names that still differ: the ids in full where their beginnings are equal."""
    short = [short_id(one) for one in identifiers]
    return short if len(set(short)) == len(short) else list(identifiers)


# --- HTML ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """A column of an HTML table; `kind` is one of text, number, id."""

    title: str
    kind: str = "text"


def table_html(columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> str:
    """A plain table, every cell escaped."""
    head = "".join(f'<th class="{c.kind}">{escape(c.title)}</th>' for c in columns)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="{column.kind}">{escape(str(cell))}</td>'
            for column, cell in zip(columns, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>'
        "</table></div>"
    )


@dataclass(frozen=True)
class Chapter:
    """A section of the page that the contents link to; `html` is complete and escaped."""

    name: str
    title: str
    html: str


def chapter(name: str, title: str, *parts: str) -> Chapter:
    """A chapter of HTML parts under its title."""
    inside = "".join(parts)
    html = f'<section id="{escape(name)}"><h2>{escape(title)}</h2>{inside}</section>'
    return Chapter(name, title, html)


def text_html(text: str, style: str = "") -> str:
    """A paragraph; backquotes mark code, as in Markdown."""
    pieces = escape(text).split("`")
    marked = "".join(f"<code>{p}</code>" if n % 2 else p for n, p in enumerate(pieces))
    return f'<p class="{style}">{marked}</p>' if style else f"<p>{marked}</p>"


def plot_html(name: str, caption: str, label: str) -> str:
    """The place of a plot; the page's script draws the figure of that name into it."""
    return (
        f'<figure><figcaption>{escape(caption)}</figcaption><div class="plot" role="img" '
        f'aria-label="{escape(label)}" data-figure="{escape(name)}"></div></figure>'
    )


def grid_html(*parts: str) -> str:
    """Plots beside one another where there is room."""
    return f'<div class="grid">{"".join(parts)}</div>'


def tiles_html(tiles: Sequence[tuple[str, str, str]]) -> str:
    """Headline figures: a number, what it counts, and a small note."""
    items = "".join(
        f"<li><strong>{escape(number)}</strong><span>{escape(what)}</span>"
        f"<small>{escape(note)}</small></li>"
        for number, what, note in tiles
    )
    return f'<ul class="tiles">{items}</ul>'


def legend_html(colours: dict[str, str], hollow: str = "") -> str:
    """Colour keys, and the key of what is drawn hollow."""
    items = "".join(
        f'<li><i style="background:{colour}"></i>{escape(name)}</li>'
        for name, colour in colours.items()
    )
    if hollow:
        items += f'<li><i class="hollow"></i>{escape(hollow)}</li>'
    return f'<ul class="legend">{items}</ul>'


def details_html(summary: str, inside: str) -> str:
    """Something that is folded until it is asked for; print shows it."""
    return f"<details><summary>{escape(summary)}</summary>{inside}</details>"
