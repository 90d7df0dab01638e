"""The cells of the campaign: every kind of move, each of its steps, before, during and after, and whom it strikes. Pure."""

from __future__ import annotations

import fnmatch
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from lab.strikes import REQUESTS, VICTIMS

BEFORE, DURING, AFTER = "before", "during", "after"
POINTS = (BEFORE, DURING, AFTER)
DECIDED = "decided"


@dataclass(frozen=True)
class Kind:
    """A kind of move. scenario: of lab.scenarios. steps: in order, as the product names them."""

    name: str
    scenario: str
    steps: tuple[str, ...]
    policy: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


KINDS = {
    one.name: one
    for one in (
        Kind("power-off", "power-off", ("detach", "attach", "mount")),
        Kind("eio", "eio-switchover", ("release", "detach", "attach", "mount")),
        Kind("hang", "hang-switchover", ("release", "fence", "detach", "attach", "mount")),
        Kind("halt", "hang-halt", ("halt", "fence", "detach", "attach", "mount")),
        Kind("switchover", "switchover", ("release", "detach", "attach", "mount")),
        Kind("unmounted", "unmounted", ("mount",)),
        Kind("start", "cold-start", ("mount",)),
    )
}


@dataclass(frozen=True)
class Blow:
    """One cell. point: before the step, while it is under way, or just after it."""

    kind: str
    step: str
    point: str
    victim: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.step}/{self.point}/{self.victim}"


def blows() -> Iterator[Blow]:
    """All cells."""
    for kind in KINDS.values():
        for step in (DECIDED, *kind.steps):
            for victim in VICTIMS.values():
                if _is_there(kind, step, victim.name):
                    yield from (
                        Blow(kind.name, step, point, victim.name) for point in _points(step, victim.armed)
                    )


def _points(step: str, armed: bool) -> tuple[str, ...]:
    if step == DECIDED:
        return (AFTER,)
    return (DURING,) if armed else POINTS


def _is_there(kind: Kind, step: str, victim: str) -> bool:
    """Whether there is still somebody to strike at that step: a source that is off has no power to cut."""
    if VICTIMS[victim].armed:
        return step in REQUESTS
    if victim == "source":
        off = {"power-off": 0, "hang": 2, "halt": 1}.get(kind.name, len(kind.steps) + 1)
        return (DECIDED, *kind.steps).index(step) < off
    return victim != "target" or kind.steps != ("mount",)


def chosen(only: str, seed: int) -> list[Blow]:
    """The cells whose name fits one of the shell patterns `only` (separated by commas), in the order that `seed` gives."""
    patterns = [part.strip() for part in only.split(",") if part.strip()] or ["*"]
    found = [one for one in blows() if any(_fits(str(one), pattern) for pattern in patterns)]
    random.Random(seed).shuffle(found)
    return found


def _fits(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) or pattern in name.split("/")
