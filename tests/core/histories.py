"""Histories of a world with faults, from the first fault to the calm after the last."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from tests.core.world import Crash, World, wishes
from vmdk_failover.engine import Report

RESULTS = frozenset({"done", "nothing", "held", "refused", "busy", "failed"})


@dataclass
class History:
    """What became of one seed."""

    seed: int
    world: World
    faults: list[str] = field(default_factory=list)
    held: bool = False

    def __str__(self) -> str:
        told = "\n  ".join(self.world.told[-60:])
        return f"seed {self.seed}: {'; '.join(self.faults)}\n  {told}"


def history(seed: int, runs: int = 8) -> History:
    """Let things go wrong for some runs of the engine, then calm the world and see it through."""
    found = History(seed, World(seed))
    world = found.world
    for _ in range(runs):
        _maintain(world)
        found.faults += _unreasoned(world.run(wishes(world)))
        _let_pass(world)
        found.faults += world.broken
        if found.faults:
            return found
    world.calm()
    found.faults += _see_through(found)
    found.faults += world.broken
    return found


def _maintain(world: World) -> None:
    """Now and then an operator pauses, resumes, or clears when nothing is pending."""
    name = world.resource.name
    paused = world.journal.state(name).paused
    if world.chance(0.7 if paused else 0.04):
        Operator(world).pause(not paused)
    if not world.late and world.chance(0.15):
        Operator(world).clear()


@dataclass
class Operator:
    """Who writes into the journal by hand, and does not crash."""

    world: World

    def pause(self, paused: bool) -> None:
        self._calmly(
            lambda: self.world.journal.pause(self.world.resource.name, {"by": "me"} if paused else None)
        )

    def clear(self) -> None:
        self._calmly(lambda: self.world.journal.clear(self.world.resource.name, self.world.clock.wall()))

    def _calmly(self, work: Callable[[], None]) -> None:
        faulty, self.world.faulty = self.world.faulty, False
        work()
        self.world.faulty = faulty


def _let_pass(world: World) -> None:
    for _ in range(world.dice.randrange(4)):
        world.clock.now += world.dice.choice((1.0, 5.0, 30.0))
        try:
            world.pass_by()
        except Crash:
            pass


def _unreasoned(report: Report | None) -> list[str]:
    if report is None or (report.result in RESULTS and report.reason):
        return []
    return [f"a run ended without a reason: {report}"]


def _see_through(found: History) -> Iterator[str]:
    """In a calm world the resource comes to be active, or is held with a reason that a person can clear."""
    world, report = found.world, None
    Operator(world).pause(False)
    for _ in range(3):
        report = world.run()
        yield from _unreasoned(report)
        world.clock.now += 700.0
        if report is not None and report.ok:
            break
    if report is None or not report.ok:
        found.held = True
        Operator(world).clear()
        report = world.run()
    yield from _active(world, report)


def _active(world: World, report: Report | None) -> Iterator[str]:
    active = [m for m, n in world.guest.nodes.items() if n.can_write(world.resource) and not n.trouble]
    listed = [m for m, n in world.guest.nodes.items() if n.vm.disks]
    if len(active) != 1 or report is None or not report.ok:
        yield f"in a calm world it is not active on exactly one node: {active}, {listed}, {report}"
    elif report.active != active[0] or active[0] not in listed:
        yield f"active on {active} and reported on {report.active}"


def campaign(seeds: Iterable[int]) -> Iterator[History]:
    """Histories with faults in them, as they are found; none is the good answer."""
    for seed in seeds:
        found = history(seed)
        if found.faults:
            yield found


if __name__ == "__main__":
    print(history(int(sys.argv[1])))
