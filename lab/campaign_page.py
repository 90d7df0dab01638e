"""The page of the campaign of kills: how each cell ended, and the time without service drawn. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from lab.blows import DECIDED, KINDS, blows
from lab.ordeal import HELPED, Verdict
from lab.ordeals.drawing import Dot, Row
from lab.ordeals.page import document, figures, picture, seconds, sentence, share, spread, table
from lab.strikes import VICTIMS

#: Cells whose time without service was the longest, by name.
_LONGEST = 10


def page(seed: int, verdicts: Iterable[Verdict]) -> str:
    """
    The page.

    seed: of the campaign. verdicts: one of each cell that was done; one of a cell that there is no more is left out.
    """
    there = [str(one) for one in blows()]
    found = sorted((one for one in verdicts if one.cell in set(there)), key=lambda one: one.cell)
    bad = [one for one in found if not one.ok and not _is_missed(one)]
    void = [one for one in found if _is_missed(one)]
    caption = (
        "A dot is a cell; red if it failed. The bar is the median. The time is the longest between two acknowledged records from "
        "the fault that begins the move on, so what the move itself takes is in it."
    )
    rows = by_kind(found)
    parts = [
        sentence(_sentence(len(found), len(there), len(bad), len(void)), bool(bad)),
        *figures(_figures(found, len(there))),
        "<h2>Time without service, by kind of move</h2>",
        *picture(rows, "each cell, by kind of move", caption),
        *spread("Move", rows),
        "<h2>Time without service, by who was struck</h2>",
        *picture(by_victim(found), "each cell, by who was struck", "The same cells."),
        *spread("Victim", by_victim(found)),
        *table("Failed", ("Cell", "End", "What was seen"), map(_told, bad)),
        *table("Missed, which says nothing", ("Cell", "End", "Why"), map(_told, void)),
        *table("Held", ("Cell", "Reason"), ((one.cell, one.where) for one in found if one.end == "held")),
        *table(
            "Ended after an operator's vmdk.recover",
            ("Cell", "Without service"),
            ((one.cell, seconds(one.service_ms)) for one in found if HELPED in one.where),
        ),
        *table("The longest", ("Cell", "Without service", "Ended"), map(_any, longest(found))),
        *table("Cells done, by step", ("Step", "Done", "Without service"), _steps(found)),
        "<details><summary>All cells</summary>",
        *table("", ("Cell", "Without service", "Ended"), map(_any, found)),
        "</details>",
    ]
    return document(f"Campaign of kills, seed {seed}", parts)


def by_kind(verdicts: Sequence[Verdict]) -> list[Row]:
    """The cells of each kind of move."""
    return _rows(verdicts, KINDS, lambda cell: cell[0])


def by_victim(verdicts: Sequence[Verdict]) -> list[Row]:
    """The cells of each victim."""
    return _rows(verdicts, VICTIMS, lambda cell: cell[3])


def longest(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The cells with the longest time without service, the longest first."""
    played = [one for one in verdicts if not _is_missed(one)]
    return sorted(played, key=lambda one: one.service_ms, reverse=True)[:_LONGEST]


def _rows(verdicts: Sequence[Verdict], names: Iterable[str], of: Callable[[list[str]], str]) -> list[Row]:
    found: dict[str, list[Dot]] = {name: [] for name in names}
    for one in verdicts:
        if not _is_missed(one):
            found[of(one.cell.split("/"))].append(Dot(one.service_ms / 1000, True, one.ok, one.cell))
    return [Row(name, dots) for name, dots in found.items() if dots]


def _is_missed(one: Verdict) -> bool:
    """Whether a verdict says nothing of the product."""
    return one.end == "missed" and not one.has_harm


def _sentence(done: int, there: int, bad: int, void: int) -> str:
    rest = f" Missed: {void}." if void else ""
    if bad:
        return f"{bad} of {done} cells failed.{rest}"
    if done - void == there:
        return f"All {there} cells ended well."
    return f"{done - void} of {there} cells were done and ended well.{rest}"


def _figures(verdicts: Sequence[Verdict], there: int) -> Iterator[tuple[str, object]]:
    pauses = sorted(one.service_ms for one in verdicts if not _is_missed(one))
    yield "Cells done", f"{len(verdicts)} of {there}"
    yield "Ended active", sum(one.end == "active" for one in verdicts)
    yield "Ended held", sum(one.end == "held" for one in verdicts)
    yield "After vmdk.recover", sum(HELPED in one.where for one in verdicts)
    yield "Missed", sum(map(_is_missed, verdicts))
    yield "Records lost", sum(one.lost for one in verdicts)
    yield "Records damaged", sum(one.damaged for one in verdicts)
    yield "Two holders", sum(one.double_holders for one in verdicts)
    yield "Two mounts", sum(one.double_mounts for one in verdicts)
    yield "Median without service", seconds(share(pauses, 0.5))
    yield "95 % below", seconds(share(pauses, 0.95))
    yield "Longest", seconds(share(pauses, 1.0))


def _steps(verdicts: Sequence[Verdict]) -> Iterator[tuple[str, ...]]:
    """How many of the cells of each step were done, and their median and longest time."""
    there = [str(one) for one in blows()]
    for kind in KINDS.values():
        for step in (DECIDED, *kind.steps):
            head = f"{kind.name}/{step}/"
            done = [one for one in verdicts if one.cell.startswith(head)]
            pauses = sorted(one.service_ms for one in done if not _is_missed(one))
            times = f"{seconds(share(pauses, 0.5))} to {seconds(share(pauses, 1.0))}" if pauses else "–"
            yield head[:-1], f"{len(done)} of {sum(one.startswith(head) for one in there)}", times


def _told(one: Verdict) -> tuple[str, ...]:
    harm = {
        "lost": one.lost,
        "damaged": one.damaged,
        "two holders": one.double_holders,
        "two mounts": one.double_mounts,
    }
    words = [f"{what}: {count}" for what, count in harm.items() if count]
    return one.cell, f"{one.end}: {one.where}", " | ".join(filter(None, (*words, one.note, one.told)))


def _any(one: Verdict) -> tuple[str, ...]:
    return one.cell, seconds(one.service_ms), f"{one.end} {one.where}"
