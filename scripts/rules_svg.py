"""Draws a table of rules as a ladder: each rung asks, a yes leads to what follows, a no to the next rung."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from html import escape

WIDTH, LINE, PAD, LEFT, TEXT, RIGHT = 760, 17, 8, 30, 92, 620
CHARS = 74  # of a condition in one line
#: What follows → colour of its plate: nothing to do, it goes on, a step or a move, nothing safe to do.
COLOURS: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(("nothing", "done"), ("#e6f4ea", "#2e7d4f")),
    **dict.fromkeys(("hold", "refuse", "abandon"), ("#fdf1dc", "#9a6700")),
    **dict.fromkeys(("wait",), ("#eceff3", "#5b6b7b")),
}
STEP = ("#e8f0fb", "#2f5d8a")


def ladder(rows: Sequence[Mapping[str, object]], title: str) -> str:
    """
    :param rows: with ``rule``, ``when`` and ``then``, in order.
    :return: an SVG that stands on a ground of its own, so that it can be read on a dark page too.
    """
    parts, at = [], 20
    for row in rows:
        lines = textwrap.wrap(str(row["when"]), CHARS)
        parts += _rung(str(row["rule"]), lines, str(row["then"]), at)
        at += len(lines) * LINE + 2 * PAD
    height = at + 24
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            'font-family="system-ui, sans-serif" font-size="13">',
            f"<title>{escape(title)}</title>",
            '<defs><marker id="a" markerWidth="9" markerHeight="7" refX="8" refY="3.5" orient="auto">'
            '<path d="M0,0 L9,3.5 L0,7 z" fill="#5b6b7b"/></marker></defs>',
            f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#ffffff"/>',
            f'<path d="M{LEFT},14 V{at + 12}" stroke="#5b6b7b" marker-end="url(#a)"/>',
            *parts,
            "</svg>",
            "",
        ]
    )


def _rung(rule: str, lines: Sequence[str], then: str, top: int) -> Iterator[str]:
    middle = top + PAD + len(lines) * LINE / 2
    fill, ink = COLOURS.get(then, STEP)
    yield f'<circle cx="{LEFT}" cy="{middle:g}" r="4" fill="#ffffff" stroke="#5b6b7b"/>'
    yield f'<text x="{LEFT + 14}" y="{middle + 4:g}" fill="#5b6b7b">{escape(rule)}</text>'
    for number, line in enumerate(lines, 1):
        yield f'<text x="{TEXT}" y="{top + PAD + number * LINE - 4}" fill="#1f2933">{escape(line)}</text>'
    yield f'<path d="M{RIGHT - 50},{middle:g} H{RIGHT - 4}" stroke="#5b6b7b" marker-end="url(#a)"/>'
    yield f'<rect x="{RIGHT}" y="{middle - 11:g}" width="120" height="22" rx="11" fill="{fill}" stroke="{ink}"/>'
    yield f'<text x="{RIGHT + 60}" y="{middle + 4:g}" text-anchor="middle" fill="{ink}">{escape(then)}</text>'
