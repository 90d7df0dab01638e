"""Histories of a world with faults, from the first fault to the calm after the last, and what is left of it then."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tests.core import fate, lasting, truth
from tests.core.dice import Script
from tests.core.world import Crash, World
from vmdk_failover.engine import Report
from vmdk_failover.model import Resource

RESULTS = frozenset({"done", "nothing", "held", "refused", "busy", "failed"})
#: Looks, 30 s apart, after which a resource is active or held with a true reason once the faults have stopped; where one of them
#: lasts, they are farther apart.
TICKS = 3
#: So many times a person does what a hold's sentence says before it has to be active.
REMEDIES = 6
TICK = 30.0
#: How often the engine is run while there are faults.
TURNS = (1, 2, 3, 4, 7)


@dataclass
class History:
    """What became of one seed. ``holds``: rules of the holds after the faults, in order."""

    seed: int
    world: World
    faults: list[str] = field(default_factory=list)
    holds: list[int] = field(default_factory=list)

    def __str__(self) -> str:
        told = "\n  ".join(self.world.told[-80:])
        return f"seed {self.seed}: {'; '.join(self.faults)}\n  {told}"


def history(seed: int, script: Script | None = None, aloud: bool = False) -> History:
    """Let things go wrong for some runs of the engine, then calm the world and see it through."""
    found = History(seed, World(seed, script, aloud))
    world = found.world
    for turn in range(world.dice.setting.choice(TURNS)):
        _let_pass(world)
        for of in world.resources:
            master = turn % len(world.masters)
            found.faults += _unreasoned(world.run(world.operator.wish(of), of, master))
        if found.faults or world.broken:
            found.faults += world.broken
            return found
    truth.calm(world)
    if world.apart:  # who of the two is right is nobody's to say; that nothing was hurt is all
        found.faults += world.broken
        return found
    on_top = [of for of in world.resources if of.depends_on]
    first = [
        of for of in world.resources if not (world.lasting and of.depends_on)
    ]  # else it waits for what is gone for good
    for of in (*first, *on_top):
        found.faults += _see_through(found, of)
    found.faults += [] if found.faults else _apart(world)
    found.faults += world.broken
    return found


def _let_pass(world: World) -> None:
    if world.chance(0.15) and not world.late:
        for of in world.resources:
            world.operator.clear(of)
    if world.chance(0.8):
        world.clock.now += world.dice.pick((1.0, 5.0, 30.0, 700.0))
    if world.chance(0.7):
        fate.happen(world)
        world.check("what happened by itself")
    with contextlib.suppress(Crash):
        world.pass_by()


def _unreasoned(report: Report | None) -> list[str]:
    if report is None or (
        report.result in RESULTS and report.reason and "not understood" not in report.reason
    ):
        return []
    return [f"a run ended without a reason: {report}"]


def _see_through(found: History, of: Resource) -> Iterator[str]:
    """Without faults it is soon active, or held with a reason that is true; when a person has done what it says, active."""
    world = found.world
    for _ in range(REMEDIES):
        report = _ticks(world, of)
        yield from _unreasoned(report)
        if report is None or report.ok:
            break
        found.holds.append(report.rule)
        if not truth.is_true(world, of, report):
            yield f"{of.name} is held by {report.rule}, which is not true of the world: {report.reason}"
            return
        truth.remedy(world, of, report)
    yield from _active(world, of, report)


def _ticks(world: World, of: Resource) -> Report | None:
    """Look again and again, each master in its turn; the last word, that of who is not busy with another's work first.

    What one master said before another changed something (its own unfinished move, perhaps) is no longer its word; nor is what
    was said of a move after which others of the hierarchy were looked at.
    """
    report = None
    for pause in lasting.PAUSES if world.lasting else (TICK,) * TICKS:
        said: list[Report] = []
        for master in range(len(world.masters)):
            word = world.run(None, of, master)
            said = said if word is None or not word.steps else []
            said += [word] if word else []
        report = max(reversed(said), key=lambda r: (r.ok, 0 if r.ok else r.rule), default=None)
        if report is not None and report.ok and not (world.storeys and report.result == "done"):
            break
        world.clock.now += pause
    return report


def _active(world: World, of: Resource, report: Report | None) -> Iterator[str]:
    nodes = world.guests[of.name].inside
    active = _writers(world, of)
    if len(active) != 1 or report is None or not report.ok or report.active != active[0]:
        yield f"in a calm world {of.name} is not active on exactly one node: {active}, {report}"
    for minion, node in nodes.items():
        listed = {disk.path for disk in node.vm.disks}
        free = node.vm in world.hypervisor.vms and not (node.vm.kept or node.vm.question or node.vm.task)
        if minion not in active and free and node.vm.connected and listed & {disk.path for disk in of.disks}:
            yield f"{minion} cannot boot: it still lists the disk of {of.name}, which is active on {active}"


def _apart(world: World) -> Iterator[str]:
    """What is active, and on another node than what it depends on."""
    for of in (r for r in world.resources if r.depends_on):
        where = {r.name: _writers(world, r) for r in world.resources if r.name in (of.name, *of.depends_on)}
        if len({tuple(active) for active in where.values()}) > 1:
            yield f"in a calm world {of.name} is not active where what it depends on is: {where}"


def _writers(world: World, of: Resource) -> list[str]:
    nodes = world.guests[of.name].inside
    return [m for m, n in nodes.items() if n.can_write(of) and not n.trouble]


def campaign(seeds: Iterable[int]) -> Iterator[History]:
    """Histories with faults in them, as they are found, told in full; none is the good answer."""
    for seed in seeds:
        if history(seed).faults:
            yield history(seed, aloud=True)


if __name__ == "__main__":
    print(history(int(sys.argv[1]), aloud=True))
