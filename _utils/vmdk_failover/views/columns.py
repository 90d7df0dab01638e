"""Moments and rows as people read them. Pure but for the time zone."""

from __future__ import annotations

import datetime
import re
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

#: What is written into no terminal is so wide.
WIDTH = 100
#: A command in a sentence; not what stands between two apostrophes.
_QUOTED = re.compile(r"(?<!\w)'[^']+'(?!\w)")
#: In place of a space at which no line ends.
_GLUE = "\xa0"


class Verbatim(str):
    """A line that is folded nowhere: people copy the text that it is of."""

    __slots__ = ()


def aligned(rows: Sequence[Sequence[str]], gap: str = "  ") -> list[str]:
    """The rows with each column as wide as its widest entry; the last one as it is."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        gap.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def folded(rows: Sequence[Sequence[str]], width: int, gap: str = "  ") -> list[list[str]]:
    """
    The lines of each row, with each column as wide as its widest entry; the last one takes as many lines as ``width`` leaves it.
    """
    heads = aligned([(*row[:-1], "|") for row in rows], gap)
    left = len(heads[0]) - 1
    return [
        [
            f"{head[:left] if number == 0 else ' ' * left}{line}".rstrip()
            for number, line in enumerate(wrapped(row[-1], width - left))
        ]
        for head, row in zip(heads, rows, strict=True)
    ]


def moment(wall: Any) -> str:
    """A moment in local time, ``2026-01-31 22:05:00``; ``""`` if it is none."""
    try:
        return datetime.datetime.fromtimestamp(float(wall)).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (TypeError, ValueError, OverflowError, OSError):
        return ""


def printable(text: str) -> str:
    r"""
    A text that does nothing to a terminal: each control character, line break, half of a pair or mark that turns the direction
    of writing is shown as its escape, as in ``\x1b[2J``. Letters and blanks of all languages stay.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def harmless(value: Any) -> Any:
    """A plain value with every text in it :func:`printable`, the names of keys too."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {printable(str(key)): harmless(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [harmless(one) for one in value]
    return value


def short(wall: Any, now: float) -> str:
    """A moment to the minute, ``01-31 22:05``, or the day alone if that is long ago; ``""`` if it is none."""
    whole = moment(wall)
    if not whole:
        return ""
    return whole[5:16] if abs(now - float(wall)) < 300 * 86400 else whole[:10]


def wrapped(line: str, width: int) -> list[str]:
    """A line as so many as it takes, indented further; words and quoted commands stay whole, for people copy them."""
    if len(line) <= width or isinstance(line, Verbatim):
        return [line]
    indent = line[: len(line) - len(line.lstrip())]
    room = width - len(indent) - 2
    lines = textwrap.wrap(
        _QUOTED.sub(lambda found: _whole(found[0]) if len(found[0]) < room else found[0], line.lstrip()),
        width,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [one.replace(_GLUE, " ") for one in lines]


def numbered(text: str) -> tuple[str, list[str]]:
    """``head: (1) one thing (2) another`` as its head and its rows with their numbers; no rows if it is no such list."""
    head, _, rest = text.partition(": (1) ")
    rows: list[str] = []
    while rest:
        one, _, rest = rest.partition(f" ({len(rows) + 2}) ")
        rows.append(f"({len(rows) + 1}) {one}")
    return head, rows


def _whole(words: str) -> str:
    return words.replace(" ", _GLUE)
