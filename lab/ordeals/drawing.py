"""Time without service as SVG: rows of dots, a dot for each time that something was struck, on a logarithmic axis. Pure."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

#: Seconds at the right end of the axis, and the places that are named; it begins at the last of them that leaves no dot out.
LAST = 200.0
TICKS = ((0.02, "20 ms"), (0.1, "0.1 s"), (1.0, "1 s"), (10.0, "10 s"), (100.0, "100 s"))
ROW, AXIS, SIDE, LETTER = 22.0, 26.0, 14.0, 7.2
#: Pixels: of a dot, and from one to the next above it.
RADIUS, STEP = 4.0, 5.0


@dataclass(frozen=True)
class Dot:
    """One time. seconds: without service. alone: nothing else struck. good: how its verdict was. name: what it is called."""

    seconds: float
    alone: bool
    good: bool
    name: str


@dataclass(frozen=True)
class Row:
    """What was struck, or by what, and all the times that it was."""

    name: str
    dots: Sequence[Dot]


def safe(text: str) -> str:
    """Text for HTML and SVG."""
    return html.escape("".join(one if one.isprintable() else "\ufffd" for one in text), quote=True)


def svg(rows: Sequence[Row], width: int, name: str, what: str) -> str:
    """
    Draw it.

    width: in pixels; the picture scales, its letters are made for this. name: class of the picture. what: a dot and the rows in
    words, as "each ordeal, by fault".
    """
    narrow = width < 600
    left = SIDE if narrow else SIDE + LETTER * max((len(row.name) for row in rows), default=0)
    scale = _Scale(left + 8, width - SIDE, _first(rows))
    drawn = [_Drawn(row, _stacked(row, scale)) for row in rows]
    above = ROW if narrow else 0.0  # a line of its own for the name
    height = AXIS + sum(above + one.height for one in drawn) + 6
    parts = [
        f'<svg class="{name}" viewBox="0 0 {width} {height:.0f}" role="img" xmlns="http://www.w3.org/2000/svg" '
        f'aria-label="Time without service of {safe(what)}, on a logarithmic axis">',
        *_axis(scale, height, narrow),
    ]
    top = AXIS
    for one in drawn:
        parts += _name(one, top, left, narrow)
        parts += _dots(one, top + above, scale)
        top += above + one.height
    return "\n".join([*parts, "</svg>"])


def _first(rows: Sequence[Row]) -> float:
    """Seconds at the left end of the axis."""
    shortest = min((dot.seconds for row in rows for dot in row.dots), default=0.0)
    return max((one for one, _ in TICKS[:-2] if one <= shortest), default=TICKS[0][0])


@dataclass(frozen=True)
class _Scale:
    left: float
    right: float
    first: float

    def place(self, seconds: float) -> float:
        inside = min(max(seconds, self.first), LAST)
        share = math.log(inside / self.first) / math.log(LAST / self.first)
        return self.left + share * (self.right - self.left)


def _axis(scale: _Scale, height: float, narrow: bool) -> Iterator[str]:
    for seconds, words in TICKS[1:] if narrow else TICKS:
        if seconds < scale.first:
            continue
        at = scale.place(seconds)
        yield f'<line class="grid" x1="{at:.1f}" y1="{AXIS - 6:.0f}" x2="{at:.1f}" y2="{height:.0f}"/>'
        yield f'<text class="tick" x="{at:.1f}" y="14" text-anchor="middle">{words}</text>'


@dataclass(frozen=True)
class _Drawn:
    """A row and where its dots are: pixels from the left, and how many dots' places above or below the middle."""

    row: Row
    places: Sequence[tuple[Dot, float, int]]

    @property
    def height(self) -> float:
        """Pixels; where many dots are at one place the row is higher."""
        return max(
            ROW, 2 * STEP * max((abs(place) for _, _, place in self.places), default=0) + 2 * RADIUS + 4
        )


def _stacked(row: Row, scale: _Scale) -> list[tuple[Dot, float, int]]:
    """Dots that would hide each other, one above the other: 0, 1, -1, 2 … from the middle. Bad ones are drawn last."""
    taken: dict[int, list[float]] = {}
    found = []
    for dot in sorted(row.dots, key=lambda one: one.seconds):
        at, number = scale.place(dot.seconds), 0
        while any(at - other < 2 * RADIUS for other in taken.get(number, ())):
            number = -number if number > 0 else 1 - number
        taken[number] = [at]
        found.append((dot, at, number))
    return sorted(found, key=lambda one: one[0].good, reverse=True)


def _name(one: _Drawn, top: float, left: float, narrow: bool) -> Iterator[str]:
    if narrow:
        yield f'<text x="{SIDE:.0f}" y="{top + 15:.1f}">{safe(one.row.name)}</text>'
    else:
        middle = top + one.height / 2 + 4
        yield f'<text x="{left:.1f}" y="{middle:.1f}" text-anchor="end">{safe(one.row.name)}</text>'


def _dots(one: _Drawn, top: float, scale: _Scale) -> Iterator[str]:
    middle = top + one.height / 2
    for dot, at, place in one.places:
        kind = "dot" if dot.good else "dot bad"
        kind += "" if dot.alone else " two"
        words, y = f"{safe(dot.name)}: {dot.seconds:.1f} s", middle + place * STEP
        yield f'<circle class="{kind}" cx="{at:.1f}" cy="{y:.1f}" r="{RADIUS:g}"><title>{words}</title></circle>'
    if one.row.dots:
        at, half = scale.place(median(dot.seconds for dot in one.row.dots)), one.height / 2 - 2
        yield f'<line class="median" x1="{at:.1f}" y1="{middle - half:.1f}" x2="{at:.1f}" y2="{middle + half:.1f}"/>'
