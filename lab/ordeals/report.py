"""The report of a random campaign: one page that needs nothing else, and the same as JSON. Pure but for `write`."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from lab.ordeals.catalogue import FAULTS
from lab.ordeals.drawing import Dot, Row, safe, svg
from lab.ordeals.style import STYLE

if TYPE_CHECKING:
    from lab.ordeals.court import Verdict

ENDS = ("active", "held", "false", "lost", "stuck", "missed")
#: A text with more letters may be wrapped.
_SHORT = 12
_SUMS = ("acknowledged", "lost", "double_holders", "double_mounts")


def totals(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """What all ordeals come to, as plain data."""
    pauses = sorted(one.service_ms for one in verdicts if one.end != "missed")
    return {
        "ordeals": len(verdicts),
        "failed": [one.number for one in verdicts if not one.ok],
        "ends": {end: sum(one.end == end for one in verdicts) for end in ENDS},
        **{name: sum(getattr(one, name) for one in verdicts) for name in _SUMS},
        "service_ms": {"median": _at(pauses, 0.5), "p95": _at(pauses, 0.95), "longest": _at(pauses, 1.0)},
        "seconds_per_ordeal": round(sum(one.took_s for one in verdicts) / max(1, len(verdicts)), 1),
    }


def _at(values: Sequence[int], share: float) -> int:
    """The value below which so large a share of sorted values is."""
    return values[max(0, math.ceil(share * len(values)) - 1)] if values else 0


def by_fault(verdicts: Iterable[Verdict]) -> list[Row]:
    """The ordeals of each fault, in the order of the catalogue; an ordeal of two faults stands under both."""
    found: dict[str, list[Dot]] = {name: [] for name in FAULTS}
    for one in (one for one in verdicts if one.end != "missed"):
        for fault in set(one.faults):
            dot = Dot(one.service_ms / 1000, len(one.faults) == 1, one.ok, one.number)
            found.setdefault(fault, []).append(dot)
    return [Row(name, dots) for name, dots in found.items() if dots]


def holds(verdicts: Iterable[Verdict]) -> Counter[int]:
    """How often each rule held at the end."""
    return Counter(one.rule for one in verdicts if one.end == "held")


def summary(verdicts: Sequence[Verdict]) -> list[str]:
    """The totals for people."""
    sums = totals(verdicts)
    ends = ", ".join(f"{count} {end}" for end, count in sums["ends"].items() if count)
    pause = sums["service_ms"]
    lines = [
        f"{sums['ordeals']} ordeals: {ends or 'none'}; {len(sums['failed'])} failed",
        ", ".join(f"{name} = {sums[name]}" for name in _SUMS),
        f"time without service: median {pause['median'] / 1000:.1f} s, 95 % below {pause['p95'] / 1000:.1f} s, "
        f"longest {pause['longest'] / 1000:.1f} s; {sums['seconds_per_ordeal']} s an ordeal",
    ]
    if rules := holds(verdicts):
        lines.append(
            "held by rule " + ", ".join(f"{rule} ({count})" for rule, count in sorted(rules.items()))
        )
    return lines


def write(path: Path, seed: int, verdicts: Sequence[Verdict]) -> None:
    """Write the page and the data beside the file of verdicts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    faults = {
        row.name: {"ordeals": len(row.dots), "median_s": round(median(one.seconds for one in row.dots), 2)}
        for row in by_fault(verdicts)
    }
    data = {"seed": seed, **totals(verdicts), "faults": faults, "verdicts": [one.plain() for one in verdicts]}
    path.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".html").write_text(page(seed, verdicts), encoding="utf-8")


def page(seed: int, verdicts: Sequence[Verdict]) -> str:
    """The page."""
    rows, sums = by_fault(verdicts), totals(verdicts)
    bad = [one for one in verdicts if not one.ok]
    head = f"Random campaign, seed {seed}"
    parts = [
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{head}</title><style>{STYLE}</style></head><body><h1>{head}</h1>",
        f'<p class="{"bad" if bad else "good"}">{_sentence(verdicts)}</p>',
        *_figures(sums),
        "<h2>Time without service</h2><figure>",
        svg(rows, 980, "wide"),
        svg(rows, 350, "narrow"),
        "<figcaption>A dot is an ordeal: full if this was its only fault, hollow if there were two; red if it failed. "
        "The bar is the median. Where nothing may move, as in a pause, the time counts all the same.</figcaption></figure>",
        *_table("Failed", ("No.", "End", "Story", "What was seen"), map(_failed, bad)),
        *_table("Held, with a reason that was true", ("Rule", "Times", "For example"), _held(verdicts)),
        *_table("All ordeals", ("No.", "End", "Without service", "Story"), map(_any, verdicts)),
        "</body></html>\n",
    ]
    return "\n".join(parts)


def _sentence(verdicts: Sequence[Verdict]) -> str:
    bad = sum(not one.ok for one in verdicts)
    return f"{bad} of {len(verdicts)} ordeals failed." if bad else f"All {len(verdicts)} ordeals ended well."


def _figures(sums: dict[str, Any]) -> Iterator[str]:
    pause, ends = sums["service_ms"], sums["ends"]
    yield '<dl class="figures">'
    for name, value in (
        ("Ordeals", sums["ordeals"]),
        ("Ended active", ends["active"]),
        ("Ended held", ends["held"]),
        ("Records acknowledged", f"{sums['acknowledged']:,}"),
        ("Records lost", sums["lost"]),
        ("Two holders", sums["double_holders"]),
        ("Two mounts", sums["double_mounts"]),
        ("Median without service", f"{pause['median'] / 1000:.1f} s"),
        ("95 % below", f"{pause['p95'] / 1000:.1f} s"),
        ("Longest", f"{pause['longest'] / 1000:.1f} s"),
    ):
        yield f"<div><dt>{name}</dt><dd>{value}</dd></div>"
    yield "</dl>"


def _failed(one: Verdict) -> tuple[str, ...]:
    return str(one.number), f"{one.end}: {one.where}", f"{one.story}; {one.stage}", one.note


def _held(verdicts: Sequence[Verdict]) -> Iterator[tuple[str, ...]]:
    for rule, count in sorted(holds(verdicts).items()):
        example = next(one for one in verdicts if one.end == "held" and one.rule == rule)
        yield (
            str(rule),
            str(count),
            f"{example.where} ({', '.join(example.standing) or 'by then all was cured'})",
        )


def _any(one: Verdict) -> tuple[str, ...]:
    return str(one.number), one.end, f"{one.service_ms / 1000:.1f} s", one.story


def _cell(text: str) -> str:
    kind = ' class="text"' if len(text) > _SHORT else ""
    return f"<td{kind}>{safe(text)}</td>"


def _table(head: str, names: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    body = list(rows)
    if not body:
        return
    yield f"<h2>{head}</h2><table><thead><tr>{''.join(f'<th>{name}</th>' for name in names)}</tr></thead><tbody>"
    for row in body:
        yield f"<tr>{''.join(_cell(text) for text in row)}</tr>"
    yield "</tbody></table>"
