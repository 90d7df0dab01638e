"""The report of a random campaign: one page that needs nothing else, and the same as JSON. Pure but for `write`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from lab.ordeals.catalogue import FAULTS, of
from lab.ordeals.drawing import Dot, Row
from lab.ordeals.page import document, figures, picture, seconds, sentence, share, table

if TYPE_CHECKING:
    from lab.ordeals.court import Verdict

ENDS = ("active", "held", "false", "lost", "stuck", "missed")
_SUMS = ("acknowledged", "lost", "damaged", "double_holders", "double_mounts")


def failed(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Those in which something was wrong; one that was missed says nothing."""
    return [one for one in verdicts if not one.ok and not one.is_missed]


def missed(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Those that say nothing, which the same command plays again."""
    return [one for one in verdicts if one.is_missed]


def totals(verdicts: Sequence[Verdict], nodes: str = "namespaces") -> dict[str, Any]:
    """What all ordeals come to, as plain data. nodes: of which kind they were played on."""
    played = [one for one in verdicts if not one.is_missed]
    pauses = sorted(one.service_ms for one in played)
    return {
        "ordeals": len(verdicts),
        "failed": [one.number for one in failed(verdicts)],
        "missed": [one.number for one in missed(verdicts)],
        "ends": {end: sum(one.end == end for one in verdicts) for end in ENDS},
        "blows": {
            "told": sum(len(one.faults) for one in played),
            "struck": sum(len(one.struck) for one in played),
            "untimely": sum(len(one.untimely) for one in played),
            "kinds": len({name for one in played for name in one.struck}),
            "kinds_there_are": len(of(nodes)),
        },
        **{name: sum(getattr(one, name) for one in verdicts) for name in _SUMS},
        "service_ms": {
            "median": share(pauses, 0.5),
            "p95": share(pauses, 0.95),
            "longest": share(pauses, 1.0),
        },
        "seconds_per_ordeal": round(sum(one.took_s for one in verdicts) / max(1, len(verdicts)), 1),
    }


def by_fault(verdicts: Iterable[Verdict]) -> list[Row]:
    """The ordeals in which each fault struck, in the order of the catalogue; one that two struck stands under both."""
    found: dict[str, list[Dot]] = {name: [] for name in FAULTS}
    for one in (one for one in verdicts if not one.is_missed):
        for fault in set(one.struck):
            dot = Dot(one.service_ms / 1000, len(one.struck) == 1, one.ok, f"ordeal {one.number}")
            found.setdefault(fault, []).append(dot)
    return [Row(name, dots) for name, dots in found.items() if dots]


def holds(verdicts: Iterable[Verdict]) -> Counter[int]:
    """How often each rule held at the end."""
    return Counter(one.rule for one in verdicts if one.end == "held")


def summary(verdicts: Sequence[Verdict], nodes: str = "namespaces") -> list[str]:
    """The totals for people."""
    sums = totals(verdicts, nodes)
    ends = ", ".join(f"{count} {end}" for end, count in sums["ends"].items() if count)
    pause = sums["service_ms"]
    lines = [
        f"{sums['ordeals']} ordeals: {ends or 'none'}; {len(sums['failed'])} failed",
        _struck(sums["blows"]),
        ", ".join(f"{name} = {sums[name]}" for name in _SUMS),
        f"time without service: median {pause['median'] / 1000:.1f} s, 95 % below {pause['p95'] / 1000:.1f} s, "
        f"longest {pause['longest'] / 1000:.1f} s; {sums['seconds_per_ordeal']} s an ordeal",
    ]
    if rules := holds(verdicts):
        lines.append(
            "held by rule " + ", ".join(f"{rule} ({count})" for rule, count in sorted(rules.items()))
        )
    return lines


def _struck(blows: dict[str, int]) -> str:
    """How many of the told faults there were."""
    return (
        f"{blows['struck']} of {blows['told']} faults struck, {blows['untimely']} of them outside the move that they were for; "
        f"{blows['kinds']} of the {blows['kinds_there_are']} kinds of fault"
    )


def write(path: Path, seed: int, verdicts: Sequence[Verdict], nodes: str = "namespaces") -> None:
    """Write the page and the data beside the file of verdicts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    faults = {
        row.name: {"ordeals": len(row.dots), "median_s": round(median(one.seconds for one in row.dots), 2)}
        for row in by_fault(verdicts)
    }
    data = {
        "seed": seed,
        "nodes": nodes,
        **totals(verdicts, nodes),
        "faults": faults,
        "verdicts": [one.plain() for one in verdicts],
    }
    path.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".html").write_text(page(seed, verdicts, nodes), encoding="utf-8")


def page(seed: int, verdicts: Sequence[Verdict], nodes: str = "namespaces") -> str:
    """The page."""
    sums, bad = totals(verdicts, nodes), failed(verdicts)
    caption = (
        "A dot is an ordeal: full if nothing but this fault struck, hollow if another one did too; red if it failed. The bar is "
        "the median. Where nothing may move, as in a pause, the time counts all the same."
    )
    parts = [
        sentence(_sentence(verdicts), bool(bad)),
        *figures(_figures(sums)),
        "<h2>Time without service</h2>",
        *picture(by_fault(verdicts), "each ordeal, by fault", caption),
        *table("Failed", ("No.", "End", "Story", "What was seen"), map(_told, bad)),
        *table("Missed, which says nothing", ("No.", "End", "Story", "Why"), map(_told, missed(verdicts))),
        *table("Held, with a reason that was true", ("Rule", "Times", "For example"), _held(verdicts)),
        *table(
            "All ordeals",
            ("No.", "End", "Without service", "Story", "Otherwise than told"),
            map(_any, verdicts),
        ),
    ]
    guests = ", emulated guests" if nodes == "qemu" else ""
    return document(f"Random campaign{guests}, seed {seed}", parts)


def _sentence(verdicts: Sequence[Verdict]) -> str:
    bad, void = len(failed(verdicts)), len(missed(verdicts))
    rest = f" Missed: {void}." if void else ""
    if bad:
        return f"{bad} of {len(verdicts)} ordeals failed.{rest}"
    all_of_them = f"All {len(verdicts)}" if not void else f"{len(verdicts) - void} of {len(verdicts)}"
    return f"{all_of_them} ordeals ended well.{rest}"


def _figures(sums: dict[str, Any]) -> Iterator[tuple[str, object]]:
    pause, ends, blows = sums["service_ms"], sums["ends"], sums["blows"]
    yield "Ordeals", sums["ordeals"]
    yield "Ended active", ends["active"]
    yield "Ended held", ends["held"]
    if sums["missed"]:
        yield "Missed", len(sums["missed"])
    yield "Faults that struck", f"{blows['struck']} of {blows['told']}"
    yield "Outside their move", blows["untimely"]
    yield "Kinds of fault", f"{blows['kinds']} of {blows['kinds_there_are']}"
    yield "Records acknowledged", f"{sums['acknowledged']:,}"
    yield "Records lost", sums["lost"]
    yield "Records damaged", sums["damaged"]
    yield "Two holders", sums["double_holders"]
    yield "Two mounts", sums["double_mounts"]
    yield "Median without service", seconds(pause["median"])
    yield "95 % below", seconds(pause["p95"])
    yield "Longest", seconds(pause["longest"])


def _told(one: Verdict) -> tuple[str, ...]:
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
    return str(one.number), one.end, seconds(one.service_ms), one.story, _otherwise(one)


def _otherwise(one: Verdict) -> str:
    """Which faults of a story did not strike, or not in their move."""
    idle = Counter(one.faults) - Counter(one.struck)
    words = [f"{fault} did not strike" for fault in idle.elements()]
    return ", ".join([*words, *(f"{fault} struck outside its move" for fault in one.untimely)])
