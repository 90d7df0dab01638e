"""
A world with faults around the real engine. One seed, one history.

Everything that can go wrong in one call or between two calls does so by the seed's dice: requests and answers are lost, lost
requests are carried out later, the engine dies at any line, a second engine runs in the midst of the first, witnesses fall
silent or blind, and what happens by itself is in ``fate.py``. There are no VMFS locks for what the engine does, which in earnest
would save the day: the tables must be safe without them. What people and vSphere HA do is kept from what the locks forbid.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping
from typing import Any

from tests.core import fate, lasting
from tests.core.dice import Dice, Script
from tests.core.machines import SimNode, SimVm
from tests.core.ports import Everybody, GuestPort, LookoutPort, VCenter
from tests.core.setting import Master, fates, lost_hosts, masters, protect, remember, settings
from tests.core.signed import SignedGuest
from tests.core.surroundings import SimHooks
from tests.doubles.clock import FakeClock
from vmdk_failover.engine import Engine, Report
from vmdk_failover.errors import FailoverError
from vmdk_failover.journal import FileJournal
from vmdk_failover.judgement import assess, homes
from vmdk_failover.judgement.dated import Moment
from vmdk_failover.judgement.policy import Wish
from vmdk_failover.model import MoveKind, Power, Resource, Step

#: Seconds after which what is late comes after all; the last is long after anybody waits.
DELAYS = (0.2, 2.0, 10.0, 100.0, 1000.0)
NEVER = float("inf")


class Crash(BaseException):
    """The engine's process ends here."""


class World:
    """
    :param seed: decides everything.
    :param script: what happens, instead of what the seed would have.
    :ivar rate: share of points at which something happens. :ivar loss: share of requests that are lost or late.
    :ivar fates: what may happen by itself; few kinds in most worlds, so that the same meets the same.
    :ivar apart: two masters work side by side and nothing keeps them apart, as nobody should have it. Then the locks of VMFS are
        counted on, and all that is promised is that no two nodes can write.
    :ivar lasting: the fault that does not end with the others, ``""`` in most worlds. :ivar stays: the VM that it is of,
        from then until a person was sent there. :ivar boots: how often that had booted.
    :ivar broken: sentences of invariants that were broken, in order.
    :ivar told: what happened, for the one who reads a broken history; only with ``aloud``.
    :ivar heard: what the engines told, likewise.
    :ivar events: what happened: when, what, to which node (or more of what it was), to which resource.
    :ivar storeys: one resource depends on the other. :ivar began_at: what had happened when the run under way began.
    :ivar happenings: counts what happens, to tell what came before a look and what came after.
    """

    def __init__(self, seed: int, script: Script | None = None, aloud: bool = False) -> None:
        self.dice = Dice(seed, script)
        self.chance = self.dice.chance
        setting = self.dice.setting
        self.resources = settings(setting)
        self.resource = self.resources[0]
        self.storeys = any(r.depends_on for r in self.resources)
        self.rate = setting.choice((0.02, 0.06, 0.15))
        self.loss = min(0.6, self.rate * setting.choice((1, 4, 12)))
        self.fates = fates(setting)
        special = setting.random()
        if special < 0.05:
            self.fates = fate.IN_THE_BLIND
        elif special < 0.1:
            self.fates, self.rate, self.loss = fate.LOST_TARGETS, 0.15, 0.6
        elif special < 0.15:
            self.resources, self.fates = lost_hosts(setting, self.resources), fate.LOST_HOSTS
            self.resource = self.resources[0]
        elif special < 0.2:
            self.fates = fate.RESTORED
        self.apart = setting.random() < 0.01
        self.vms = {n.minion: SimVm(n.vm_uuid, n.minion) for n in self.resource.nodes}
        for vm in self.vms.values():
            vm.strangers = ("web1",) if setting.random() < 0.2 else ()
        self.clock = FakeClock(asleep=self.pass_by)
        self.hypervisor = VCenter(self)
        signed = setting.random() < 0.04
        kind = SignedGuest if signed else GuestPort
        self.guests = {r.name: kind(self, r) for r in self.resources}
        self.lookouts = {r.name: LookoutPort(self, r) for r in self.resources}
        self.hooks = SimHooks(self)
        self.masters = masters(self, setting)
        self.late: list[tuple[float, Callable[[], None]]] = []
        self.due = NEVER
        self.paused: set[str] = set()
        self.running: list[tuple[str, str]] = []
        self.operator = Operator(self)
        self.known = list(self.vms.values())
        self.happenings = self.crashes = self.landed = 0
        self.began_at = (0, 0)
        self.hand = 0
        self.broken: list[str] = []
        self.told: list[str] = []
        self.heard: list[Mapping[str, Any]] = []
        self.events: list[tuple[float, str, str, str]] = []
        self.began: dict[str, str] = {}
        self.aloud = aloud
        first = setting.choice(self.resource.nodes).minion if len(self.resources) > 1 else "db1"
        for r in self.resources:
            self.settle(r, first if setting.random() < 0.7 else setting.choice(r.nodes).minion)
            if setting.random() < 0.5:
                with self.dice.calm():
                    remember(self, r, self.began[r.name])
            elif self.fates is fate.RESTORED:
                with self.dice.calm():
                    protect(self, r, self.began[r.name])
        self.lasting = lasting.choose(self, setting)
        self.stays: SimVm | None = None
        self.boots = 0

    def moment(self) -> Moment:
        """The master's clocks, of which somebody sets one; no master is booted here."""
        return Moment("boot", self.clock.now, self.clock.wall())

    def settle(self, of: Resource, minion: str) -> None:
        """Begin with the resource active on a node."""
        for disk in of.disks:
            self.vms[minion].plug(disk)
        self.node(of, minion).mounted = True
        self.began[of.name] = minion

    def node(self, of: Resource, minion: str) -> SimNode:
        return self.guests[of.name].inside[minion]

    @property
    def journal(self) -> FileJournal:
        return self.masters[0].journal

    def at_work(self) -> Master:
        """The master whose engine runs now."""
        name = self.running[-1][0]
        return next(m for m in self.masters if m.name == name)

    def event(self, what: str, more: str, of: Resource) -> None:
        """Remember something for who tells this history as a scenario."""
        self.events.append((self.clock.now, what, more, of.name))

    def say(self, words: str) -> None:
        if self.aloud:
            self.told.append(f"{self.clock.now:8.2f} {words}")

    # -- what the engine is made of ---------------------------------------------------------------------------

    def run(self, wish: Wish | None = None, of: Resource | None = None, master: int = 0) -> Report | None:
        """One run of a fresh engine with the same journal; ``None`` if it crashed."""
        which, who = of or self.resource, self.masters[master]
        engine = Mover(
            self.hypervisor,
            Everybody(self) if self.storeys else self.guests[which.name],
            who.journal,
            who.lock,
            self.clock,
            self.hear,
            budget=20.0,
            lookout=self.lookouts[which.name],
            vicinity=who.vicinity,
            hooks=self.hooks,
        )
        engine.world, engine.master = self, who.name
        began, self.began_at = self.began_at, (len(self.dice.fired), self.landed)
        try:
            report = engine.run(which, wish)
        except Crash:
            self.crashes += 1
            self.event("crash", "true", which)
            self.say(f"the engine of {which.name} crashed")
            return None
        finally:
            self.began_at = began
        self.say(f"report of {which.name}: {report.result} {report.rule} {report.reason}")
        return report

    def hear(self, entry: Mapping[str, Any]) -> None:
        if self.aloud:
            self.heard.append(entry)
            words = entry.get("reason", entry.get("outcome"))
            self.say(f"{entry['what']} {entry.get('step', '')} {entry.get('node', '')} {words}")
        self.may_crash()

    def may_crash(self) -> None:
        if self.chance(self.rate / 6):
            raise Crash

    # -- what happens by itself -------------------------------------------------------------------------------

    def pass_by(self) -> None:
        """Time in which something may happen."""
        if self.clock.now >= self.due:
            self.land()
        if not self.chance(self.rate):
            return
        kind = self.dice.below(12)
        if kind == 0:
            raise Crash
        if kind == 1 or (kind < 4 and len(self.masters) > 1):
            self.meanwhile()
        else:
            fate.happen(self)
            self.check("what happened by itself")

    def put_off(self, work: Callable[[], None]) -> None:
        """Something is done later, by itself; only after the dice said that it is late."""
        self.late.append((self.clock.now + self.dice.pick(DELAYS), work))
        self.due = min(self.due, self.late[-1][0])

    def land(self) -> None:
        """What is due is done, in the order of its time."""
        while self.late and self.clock.now >= self.due:
            now = min(self.late, key=lambda late: late[0])
            self.late.remove(now)
            self.due = min((when for when, _ in self.late), default=NEVER)
            self.landed += 1
            now[1]()

    def meanwhile(self) -> None:
        """The engine of another resource, or of another master, runs in the midst of this one."""
        if len(self.running) > 1:
            return
        busy = {what for _, what in self.running}
        free = [(r, i) for r in self.resources for i in range(len(self.masters)) if r.name not in busy or i]
        if free:
            which, master = self.dice.pick(free)
            seen = self.hypervisor.looked.copy(), self.hypervisor.shown.copy()
            self.say(f"meanwhile, {which.name}:")
            self.run(None, which, master)
            self.say("back again")
            self.hypervisor.looked, self.hypervisor.shown = seen

    # -- invariants -------------------------------------------------------------------------------------------

    def check(self, after: str) -> None:
        """Never two that can write, never two that are not off and list the disk."""
        for of in self.resources:
            nodes = self.guests[of.name].inside
            holding = [
                m for m, n in nodes.items() if n.has() and not (self.apart and n.vm.power is Power.SUSPENDED)
            ]
            if len(holding) > 1:
                writing = [m for m in holding if nodes[m].can_write(of)]
                if self.apart and len(writing) < 2:
                    continue
                words = (
                    f"{writing} can write" if len(writing) > 1 else f"{holding} list the disk and are not off"
                )
                self.broken.append(f"{of.name}: {words}, after {after}")

    def baseless(self, of: Resource, minion: str) -> list[str]:
        """What a mount would stand on and does not, if nothing has happened since the run began that could excuse it."""
        if self.began_at != (len(self.dice.fired), self.landed):
            return []
        below = (self.guests[name] for name in of.depends_on)
        return [
            f"{of.name} is mounted on {minion}, and {guest.resource.name} is not active there"
            for guest in below
            if not guest.inside[minion].can_write(guest.resource)
        ]

    def others(self, of: Resource, vm: SimVm) -> list[str]:
        """Nodes besides one whose VM lists a disk and is not off."""
        return [m for m, n in self.guests[of.name].inside.items() if n.vm is not vm and n.has()]

    def locked(self, step: Step, of: Resource, vm: SimVm) -> bool:
        """The lock of VMFS keeps the disk with a node that vCenter does not show with it, and that has let go of it."""
        others = [self.node(of, m) for m in self.others(of, vm)] if step.kind.value == "attach" else []
        return bool(others) and all(n.vm.old is not None and not n.can_write(of) for n in others)

    def harm(self, step: Step, of: Resource, vm: SimVm) -> str:
        """The harm that a change does, if it is not refused; empty if it does none."""
        if self.apart:
            return ""
        node = self.node(of, step.node)
        if step.kind.value == "detach" and node.can_write(of):
            return f"{of.name}: the disk is pulled from under {step.node}"
        if step.kind.value == "attach" and self.others(of, vm):
            return f"{of.name}: attached to {step.node} while {self.others(of, vm)} list it"
        if step.kind.value == "attach" and node.mounted and not vm.lists(node.uuids):
            return f"{of.name}: attached to {step.node}, whose guest still has the file system of before"
        if step.kind.value == "power_on" and any(
            g.inside[step.node].vm.lists(node.uuids) for g in self.guests.values()
        ):
            return f"{step.node} is powered on and lists the disk of {of.name}"
        if step.kind.value in ("fence", "halt", "fence_hook") and self.disturbed(of, step.node):
            return (
                f"{step.node} is powered off under {self.disturbed(of, step.node)}, which is in maintenance"
            )
        return ""

    def disturbed(self, of: Resource, minion: str) -> str:
        """Another resource that is in maintenance and has its disk there."""
        parts = {name: guest.inside[minion] for name, guest in self.guests.items() if name != of.name}
        return next((name for name, part in parts.items() if name in self.paused and part.has()), "")

    def may_start(self, vm: SimVm) -> bool:
        """
        Whether this VM can power on: it is in the inventory, and nothing that is not off has one of its disks, nor another one of
        the same resource: nobody spreads that over several VMs.
        """
        if vm not in self.hypervisor.vms:
            return False
        parts = (guest.inside for guest in self.guests.values())
        mine = [inside for inside in parts if vm.lists(inside[vm.name].uuids)]
        return not any(other.has() for inside in mine for other in inside.values() if other.vm is not vm)


class Mover(Engine):
    """The engine; the world knows what it runs, also what it runs of others on the way."""

    world: World
    master: str

    def run(self, resource: Resource, wish: Wish | None = None, wait: float = 0.0) -> Report:
        """See the engine."""
        self.world.running.append((self.master, resource.name))
        try:
            return super().run(resource, wish, wait)
        finally:
            self.world.running.pop()


class Operator:
    """A person at the master: pauses, clears, asks for moves; writes into the journal and does not crash."""

    def __init__(self, world: World) -> None:
        self.world = world

    def pause(self, of: Resource, paused: bool) -> None:
        """At the first master; the others have to see it."""
        (self.world.paused.add if paused else self.world.paused.discard)(of.name)
        self.world.event("operator", "pause" if paused else "resume", of)
        entry = {"by": "me", "since": self.world.clock.wall()} if paused else None
        self._calmly(lambda: self.world.journal.pause(of.name, entry))

    def clear(self, of: Resource) -> None:
        """Whoever clears has made sure that nothing is pending, and that no VM has it which is not shown as it is."""
        shown = self.world.hypervisor.vms
        missing = [m for m, vm in self.world.vms.items() if vm not in shown]
        hidden = [
            part
            for part in self.world.guests[of.name].inside.values()
            if part.vm.old is not None and part.vm.lists(part.uuids)
        ]
        gone = all(self.world.vms[m].power is Power.OFF for m in missing)
        if not self.world.late and gone and not hidden:
            self.world.event("operator", "clear", of)
            now = self.world.clock.wall()
            for journal in [master.journal for master in self.world.masters]:
                self._calmly(functools.partial(self._clear, journal, of, now, missing))

    def _clear(self, journal: FileJournal, of: Resource, now: float, missing: list[str]) -> None:
        """What is seen at that moment is remembered."""
        journal.clear(of.name, now, missing)
        seen, recent = self.world.hypervisor.observe(of), journal.state(of.name).recent
        if fresh := homes.news(assess.look(of, seen, {}), recent, None):
            journal.sight(of.name, fresh)

    def _calmly(self, work: Callable[[], None]) -> None:
        with (
            self.world.dice.calm(),
            contextlib.suppress(FailoverError),
        ):  # refused, and the person was told so
            work()

    def wish(self, of: Resource) -> Wish | None:
        """What a person asks for now and then."""
        dice = self.world.dice
        if not dice.chance(0.25):
            return None
        kind = dice.pick((MoveKind.SWITCHOVER, MoveKind.FAILOVER))
        target = dice.pick(("", *(n.minion for n in of.nodes)))
        self.world.event("operator", kind.value + (f" to {target}" if target else ""), of)
        return Wish(kind, target)
