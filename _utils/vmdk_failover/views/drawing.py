"""
The timeline of an incident as SVG: a row for each thing that happened, time from left to right. Pure.

Long pauses in which nothing is under way are cut out, and the cut is drawn. Colours are classes; the page has them.
"""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vmdk_failover.judgement import describe
from vmdk_failover.views.incident import Bar, Incident, Mark, doing

#: Pauses that are longer (seconds) are cut out, and how wide the cut is drawn.
PAUSE, CUT = 20.0, 44.0
#: Height of a row, of the axis, and what is left free at the sides.
ROW, AXIS, SIDE = 36.0, 30.0, 10.0
#: More rows are not drawn; the page's table has all.
MOST = 60
#: Width of a letter, about.
LETTER = 7.1


@dataclass(frozen=True)
class _Piece:
    """A part of the time with its place in the picture."""

    begin: float
    end: float
    left: float
    right: float
    cut: bool

    def place(self, moment: float) -> float:
        span = self.end - self.begin
        share = (moment - self.begin) / span if span > 0 else 0.0
        return self.left + share * (self.right - self.left)


class _Scale:
    """Where a moment lies in the picture."""

    def __init__(self, incident: Incident, width: float) -> None:
        self.first = incident.first
        spans = list(_spans(incident))
        cuts = sum(1 for *_, cut in spans if cut)
        shown = sum(end - begin for begin, end, cut in spans if not cut) or 1.0
        unit = max(1.0, width - 2 * SIDE - cuts * CUT) / shown
        self.pieces: list[_Piece] = []
        left = SIDE
        for begin, end, cut in spans:
            right = left + (CUT if cut else (end - begin) * unit)
            self.pieces.append(_Piece(begin, end, left, right, cut))
            left = right

    def place(self, moment: float) -> float:
        for piece in self.pieces:
            if moment <= piece.end:
                return piece.place(max(moment, piece.begin))
        return self.pieces[-1].right

    def ticks(self, width: float) -> Iterator[tuple[float, str]]:
        """Places and words of the axis."""
        shown = sum(p.end - p.begin for p in self.pieces if not p.cut)
        step = _nice(shown / max(2.0, width / 90))
        last = -math.inf
        for piece in self.pieces:
            number = math.ceil((piece.begin - self.first) / step - 1e-6)
            while not piece.cut and self.first + number * step <= piece.end + 1e-6:
                at = piece.place(self.first + number * step)
                if at - last > 70:
                    yield at, f"+{describe.duration(number * step)}" if number else "0"
                    last = at
                number += 1


def svg(incident: Incident, width: int, name: str) -> str:
    """
    Draw it.

    :param width: in pixels; the picture scales, but its letters are made for this.
    :param name: class of the picture.
    """
    everything: list[Mark | Bar] = [*incident.marks, *incident.bars]
    rows = sorted(everything, key=_begin)
    scale, drawn = _Scale(incident, width), rows[:MOST]
    height = AXIS + ROW * len(drawn) + 8
    words = f"Timeline of the {incident.kind} of {incident.resource}, epoch {incident.epoch}"
    parts = [
        f'<svg class="{name}" viewBox="0 0 {width} {height:.0f}" role="img" aria-label="{safe(words)}" '
        'xmlns="http://www.w3.org/2000/svg">',
        *_axis(scale, width, height),
        *(part for number, one in enumerate(drawn) for part in _row(one, AXIS + number * ROW, scale, width)),
        "</svg>",
    ]
    return "\n".join(parts)


def safe(text: str) -> str:
    """Text for HTML, SVG and attributes: escaped, without what turns text around or is no character."""
    clean = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)
    return html.escape(clean.encode("utf-8", "replace").decode("utf-8"), quote=True)


def _spans(incident: Incident) -> Iterator[tuple[float, float, bool]]:
    """The time from first to last, without gaps; ``True`` where it is cut out."""
    busy = [(b.begin, incident.last if b.end is None else b.end) for b in incident.bars]
    moments = {m.at for m in incident.marks} | {incident.began} | {t for span in busy for t in span}
    points, begin = sorted(moments), min(moments)
    for before, after in itertools.pairwise(points):
        if after - before > PAUSE and not any(b < after and e > before for b, e in busy):
            yield begin, before, False
            yield before, after, True
            begin = after
    yield begin, points[-1], False


def _axis(scale: _Scale, width: int, height: float) -> Iterator[str]:
    for at, words in scale.ticks(width):
        anchor = "start" if at < 40 else "end" if at > width - 40 else "middle"
        yield f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="20" y2="{height:.0f}"/>'
        yield f'<text class="tick" x="{at:.1f}" y="14" text-anchor="{anchor}">{words}</text>'
    for piece in scale.pieces:
        if piece.cut:
            middle = (piece.left + piece.right) / 2
            yield f'<rect class="cut" x="{piece.left:.1f}" y="20" width="{CUT:.0f}" height="{height - 20:.0f}"/>'
            words = describe.duration(piece.end - piece.begin)
            yield f'<text class="tick" x="{middle:.1f}" y="14" text-anchor="middle">{words}</text>'


def _row(one: Mark | Bar, top: float, scale: _Scale, width: int) -> Iterator[str]:
    words, full = _words(one)
    most = int((width - 2 * SIDE) / LETTER)
    short = words if len(words) <= most else f"{words[: most - 1]}…"
    yield f"<g><title>{safe(full)}</title>"
    yield f'<text class="row" x="{SIDE:.0f}" y="{top + 13:.1f}">{safe(short)}</text>'
    left = scale.place(_begin(one))
    if isinstance(one, Mark):
        yield f'<circle class="k-{one.kind}" cx="{left:.1f}" cy="{top + 24:.1f}" r="5"/>'
    else:
        right = scale.place(one.end) if one.end is not None else scale.pieces[-1].right
        yield (
            f'<rect class="o-{_outcome(one)}" x="{left:.1f}" y="{top + 19:.1f}" rx="2" '
            f'width="{max(3.0, right - left):.1f}" height="10"/>'
        )
    yield "</g>"


def _words(one: Mark | Bar) -> tuple[str, str]:
    if isinstance(one, Mark):
        rule = f" (rule {one.rule})" if one.rule else ""
        said = f"{one.who}: {one.words}{rule}"
        return said, said
    took = describe.duration(one.end - one.begin) if one.end is not None else "no end"
    return f"{doing(one)} – {took}", f"{doing(one)} – {took}: {one.words}; {one.reason} (rule {one.rule})"


def _outcome(bar: Bar) -> str:
    return bar.outcome if bar.outcome in ("done", "failed", "unknown", "lost") else "unknown"


def _begin(one: Mark | Bar) -> float:
    return one.at if isinstance(one, Mark) else one.begin


def _nice(seconds: float) -> float:
    """The next round number of seconds."""
    steps: Sequence[float] = (
        0.01,
        0.02,
        0.05,
        0.1,
        0.2,
        0.5,
        1,
        2,
        5,
        10,
        20,
        30,
        60,
        120,
        300,
        600,
        1800,
        3600,
    )
    return next((step for step in steps if step >= seconds), math.ceil(seconds / 3600) * 3600.0)
