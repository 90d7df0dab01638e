"""The parts that the pages of campaigns are made of. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from lab.ordeals.drawing import Row, safe, svg
from lab.ordeals.style import STYLE

#: A text with more letters may be wrapped.
_SHORT = 12


def share(values: Sequence[int], part: float) -> int:
    """The value below which a part (0 to 1) of sorted values is; 0 if there are none."""
    return values[max(0, math.ceil(part * len(values)) - 1)] if values else 0


def document(head: str, parts: Iterable[str]) -> str:
    """A page that needs nothing else. head: its title and first line. parts: HTML."""
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{safe(head)}</title><style>{STYLE}</style></head><body><h1>{safe(head)}</h1>",
            *parts,
            "</body></html>\n",
        ]
    )


def sentence(text: str, bad: bool) -> str:
    """How it ended, for those who read no more."""
    return f'<p class="{"bad" if bad else "good"}">{safe(text)}</p>'


def figures(values: Iterable[tuple[str, object]]) -> Iterator[str]:
    """Figures with their names, side by side."""
    yield '<dl class="figures">'
    for name, value in values:
        yield f"<div><dt>{safe(name)}</dt><dd>{safe(str(value))}</dd></div>"
    yield "</dl>"


def picture(rows: Sequence[Row], what: str, caption: str) -> Iterator[str]:
    """Rows drawn for desks and telephones. what: one dot and what the rows are, for those who do not see it."""
    yield "<figure>"
    yield svg(rows, 980, "wide", what)
    yield svg(rows, 350, "narrow", what)
    yield f"<figcaption>{safe(caption)}</figcaption></figure>"


def spread(head: str, rows: Sequence[Row]) -> Iterator[str]:
    """What the picture shows, in figures. head: what a row is."""
    names = (head, "Number", "Shortest", "Median", "95 % below", "Longest")
    yield from table("", names, (_spread(row) for row in rows))


def _spread(row: Row) -> tuple[str, ...]:
    values = sorted(round(one.seconds * 1000) for one in row.dots)
    shown = (values[0], round(median(values)), share(values, 0.95), values[-1])
    return row.name, str(len(values)), *(seconds(one) for one in shown)


def seconds(milliseconds: int) -> str:
    """A time for people."""
    return f"{milliseconds / 1000:.1f} s"


def table(head: str, names: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """A table under a heading of its own (if one is given); nothing at all if it has no rows."""
    body = list(rows)
    if not body:
        return
    title = f"<h2>{safe(head)}</h2>" if head else ""
    yield f"{title}<table><thead><tr>{''.join(f'<th>{safe(name)}</th>' for name in names)}</tr></thead><tbody>"
    for row in body:
        yield f"<tr>{''.join(map(_cell, row, names))}</tr>"
    yield "</tbody></table>"


def _cell(text: str, name: str) -> str:
    kind = ' class="text"' if len(text) > _SHORT else ""
    return f'<td{kind} data-name="{safe(name)}">{safe(text)}</td>'
