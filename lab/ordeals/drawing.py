"""Time without service as SVG: a row for each fault, a dot for each ordeal, on a logarithmic axis. Pure."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

#: Seconds at the two ends of the axis, and the places that are named.
FIRST, LAST = 0.02, 200.0
TICKS = ((0.02, "20 ms"), (0.1, "0.1 s"), (1.0, "1 s"), (10.0, "10 s"), (100.0, "100 s"))
ROW, AXIS, SIDE, LETTER = 22.0, 26.0, 14.0, 7.2


@dataclass(frozen=True)
class Dot:
    """One ordeal. seconds: without service. alone: it had this one fault. good: how its verdict was."""

    seconds: float
    alone: bool
    good: bool
    number: int


@dataclass(frozen=True)
class Row:
    """A fault and its ordeals."""

    name: str
    dots: Sequence[Dot]


def safe(text: str) -> str:
    """Text for HTML and SVG."""
    return html.escape("".join(one if one.isprintable() else "\ufffd" for one in text), quote=True)


def svg(rows: Sequence[Row], width: int, name: str) -> str:
    """
    Draw it.

    width: in pixels; the picture scales, its letters are made for this. name: class of the picture.
    """
    narrow = width < 600
    left = SIDE if narrow else SIDE + LETTER * max((len(row.name) for row in rows), default=0)
    step = ROW * 2 if narrow else ROW
    height = AXIS + step * len(rows) + 6
    scale = _Scale(left + 8, width - SIDE)
    parts = [
        f'<svg class="{name}" viewBox="0 0 {width} {height:.0f}" role="img" xmlns="http://www.w3.org/2000/svg" '
        'aria-label="Time without service of each ordeal, by fault, on a logarithmic axis">',
        *_axis(scale, height, narrow),
    ]
    for number, row in enumerate(rows):
        parts += _row(row, AXIS + number * step, scale, left, narrow)
    return "\n".join([*parts, "</svg>"])


@dataclass(frozen=True)
class _Scale:
    left: float
    right: float

    def place(self, seconds: float) -> float:
        inside = min(max(seconds, FIRST), LAST)
        share = math.log(inside / FIRST) / math.log(LAST / FIRST)
        return self.left + share * (self.right - self.left)


def _axis(scale: _Scale, height: float, narrow: bool) -> Iterator[str]:
    for seconds, words in TICKS[1:] if narrow else TICKS:
        at = scale.place(seconds)
        yield f'<line class="grid" x1="{at:.1f}" y1="{AXIS - 6:.0f}" x2="{at:.1f}" y2="{height:.0f}"/>'
        yield f'<text class="tick" x="{at:.1f}" y="14" text-anchor="middle">{words}</text>'


def _row(row: Row, top: float, scale: _Scale, left: float, narrow: bool) -> Iterator[str]:
    if narrow:
        yield f'<text x="{SIDE:.0f}" y="{top + 15:.1f}">{safe(row.name)}</text>'
    else:
        yield f'<text x="{left:.1f}" y="{top + 15:.1f}" text-anchor="end">{safe(row.name)}</text>'
    middle = top + (ROW * 1.5 if narrow else ROW / 2)
    for dot in sorted(row.dots, key=lambda one: one.good, reverse=True):
        kind = "dot" if dot.good else "dot bad"
        kind += "" if dot.alone else " two"
        words, at = f"ordeal {dot.number}: {dot.seconds:.1f} s", scale.place(dot.seconds)
        yield f'<circle class="{kind}" cx="{at:.1f}" cy="{middle:.1f}" r="4"><title>{words}</title></circle>'
    if row.dots:
        at = scale.place(median(one.seconds for one in row.dots))
        yield f'<line class="median" x1="{at:.1f}" y1="{middle - 9:.1f}" x2="{at:.1f}" y2="{middle + 9:.1f}"/>'
