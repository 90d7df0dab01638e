"""
A world with faults around the real engine. One seed, one history.

Everything that can go wrong in one call or between two calls does so by the seed's dice: requests and answers are lost, lost
requests are carried out later, the engine dies at any line, witnesses fall silent or blind, VMs die, come back, are suspended.
There are no VMFS locks here, which in earnest would save the day: the tables must be safe without them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tests.core.build import resource
from tests.doubles.clock import FakeClock
from tests.doubles.guest import FakeGuest, FakeNode
from tests.doubles.hypervisor import FakeHypervisor, FakeVm
from tests.doubles.journal import MemoryJournal, MemoryLock
from tests.doubles.lookout import FakeLookout
from vmdk_failover.engine import Engine, Report
from vmdk_failover.errors import FailoverError, OutcomeUnknown
from vmdk_failover.model import (
    Condition,
    Disk,
    HypervisorFacts,
    Move,
    MoveKind,
    Node,
    NodeFacts,
    Outcome,
    Power,
    Resource,
    Result,
    Signs,
    Step,
    StepKind,
    VmFacts,
)
from vmdk_failover.policy import Wish


class Crash(BaseException):
    """The engine's process ends here."""


class World:
    """
    :param seed: decides everything.
    :ivar broken: sentences of invariants that were broken, in order.
    :ivar told: what happened, for the one who reads a broken history.
    """

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        halting = self.dice.random() < 0.3
        self.resource = resource(self.dice.choice((2, 3)), on_error="halt" if halting else "switchover")
        self.clock = FakeClock(asleep=self.pass_by)
        self.hypervisor = _Hypervisor(self)
        self.guest = _Guest(self)
        self.lookout = _Lookout(self)
        self.journal = _Journal(self)
        self.lock = MemoryLock()
        self.late: list[Callable[[], None]] = []
        self.faulty = True
        self.rate = self.dice.choice((0.02, 0.06, 0.15))
        self.broken: list[str] = []
        self.told: list[str] = []
        self.node("db1").vm.plug(self.resource.disks[0])
        self.node("db1").mounted = True

    def node(self, minion: str) -> FakeNode:
        return self.guest.nodes[minion]

    def chance(self, share: float) -> bool:
        return self.faulty and self.dice.random() < share

    def say(self, words: str) -> None:
        self.told.append(f"{self.clock.now:8.2f} {words}")

    # -- what the engine is made of ---------------------------------------------------------------------------

    def run(self, wish: Wish | None = None) -> Report | None:
        """One run of a fresh engine with the same journal; ``None`` if it crashed."""
        engine = Engine(
            self.hypervisor,
            self.guest,
            self.journal,
            self.lock,
            self.clock,
            self.hear,
            budget=60.0,
            lookout=self.lookout,
        )
        try:
            report = engine.run(self.resource, wish)
        except Crash:
            self.say("the engine crashed")
            return None
        self.say(f"report: {report.result} {report.rule} {report.reason}")
        return report

    def hear(self, entry: Mapping[str, Any]) -> None:
        self.say(
            f"{entry['what']} {entry.get('step', '')} {entry.get('node', '')} {entry.get('reason', entry.get('outcome'))}"
        )
        self.may_crash()

    def may_crash(self) -> None:
        if self.chance(self.rate / 4):
            raise Crash

    # -- what happens by itself -------------------------------------------------------------------------------

    def pass_by(self) -> None:
        """Time in which something may happen."""
        if self.late and self.chance(0.08):
            self.late.pop(self.dice.randrange(len(self.late)))()
        if self.chance(self.rate):
            self.dice.choice(_EVENTS)(self, self.node(self.dice.choice(sorted(self.guest.nodes))))
            self.check("by itself")
        self.may_crash()

    def check(self, after: str) -> None:
        """The invariants on the world as it is."""
        writers = [m for m, n in self.guest.nodes.items() if n.can_write(self.resource)]
        if len(writers) > 1:
            self.broken.append(f"{writers} can write, after {after}")

    def listing(self, but: FakeVm) -> list[str]:
        """Nodes besides one whose VM lists the disk and is not off."""
        nodes = self.guest.nodes.items()
        return [
            m for m, n in nodes if n.vm is not but and n.vm.power is not Power.OFF and n.sees(self.resource)
        ]

    def calm(self) -> None:
        """All faults end; what was still under way is carried out or lost."""
        for work in self.late:
            if self.dice.random() < 0.5:
                work()
        self.faulty, self.late = False, []
        self.hypervisor.blind = ""
        for node in self.guest.nodes.values():
            if node.vm.power is not Power.ON:
                node.vm.turn(Power.ON)
            node.wake()
            node.vm.connected, node.vm.task, node.vm.snapshot = True, "", False
            node.frozen = node.cut = False
            node.silent, node.stuck, node.unready, node.cannot_mount, node.trouble = (
                False,
                False,
                (),
                "",
                None,
            )
        self.check("the calm")


class _Hypervisor(FakeHypervisor):
    """The double with the world's faults in each call."""

    def __init__(self, world: World) -> None:
        super().__init__([FakeVm(n.vm_uuid, n.minion) for n in world.resource.nodes])
        self.world = world

    def observe(self, resource: Resource) -> HypervisorFacts:
        self.world.clock.now += 0.02
        self.world.pass_by()
        seen = super().observe(resource)
        return replace(seen, vms=tuple(self._blurred(vm) for vm in seen.vms))

    def _blurred(self, vm: VmFacts) -> VmFacts:
        """Properties that could not be read this time."""
        if not self.world.chance(self.world.rate):
            return vm
        unread: Mapping[str, Any] = {
            "power": Power.UNKNOWN,
            "connected": None,
            "disks": None,
            "task": None,
            "snapshot": None,
            "controllers": None,
            "change_version": "",
        }
        key = self.world.dice.choice(sorted(unread))
        return replace(vm, **{key: unread[key]})

    def _carry_out(self, step: Step, node: Node, seen: VmFacts, change: Callable[[FakeVm], None]) -> None:
        world = self.world
        world.pass_by()

        def work() -> None:
            vm = self._addressed(node)
            harm = self._harm(step, vm)
            change(vm)
            world.broken += harm
            self.acts.append(step)
            world.say(f"-- {step.kind.value} of {step.node} is carried out")
            world.check(step.kind.value)

        if self.blind:
            raise FailoverError(self.blind, "unreadable")
        if world.chance(world.rate):
            raise OutcomeUnknown("the request was lost")
        if world.chance(world.rate * 3):
            self._later(step, node, work)
            if world.chance(0.2):
                raise Crash  # whoever waited for the answer is not there any more
            raise OutcomeUnknown("no answer; it is carried out later")
        work()
        world.pass_by()
        if world.chance(world.rate):
            raise OutcomeUnknown("the answer was lost")

    def _harm(self, step: Step, vm: FakeVm) -> list[str]:
        """The harm that a change does, if it is not refused."""
        world = self.world
        node = next(n for n in world.guest.nodes.values() if n.vm is vm)
        if step.kind is StepKind.DETACH and node.can_write(world.resource):
            return [f"the disk is pulled from under {step.node}"]
        if step.kind is StepKind.ATTACH and world.listing(vm):
            return [f"attached to {step.node} while {world.listing(vm)} list it"]
        return []

    def _later(self, step: Step, node: Node, work: Callable[[], None]) -> None:
        vm = self.vm(node.vm_uuid)
        shown = self.world.dice.random() < 0.5
        if shown and not vm.task:
            vm.task = f"{step.kind.value} (queued)"

        def land() -> None:
            if shown:
                vm.task = ""
            try:
                work()
            except FailoverError as err:
                self.world.say(f"-- late {step.kind.value} of {step.node} is refused: {err.reason}")

        self.world.late.append(land)

    def _check_lock(self, vm: FakeVm, disk: Disk) -> None:
        """No locks here."""


class _Guest(FakeGuest):
    """The double with the world's faults in each call."""

    def __init__(self, world: World) -> None:
        nodes = {n.minion: FakeNode(world.hypervisor.vm(n.vm_uuid)) for n in world.resource.nodes}
        super().__init__(world.hypervisor, world.clock, nodes)
        self.world = world

    def ask(self, resource: Resource, minions: Sequence[str]) -> Mapping[str, NodeFacts]:
        self.world.pass_by()
        answers = dict(super().ask(resource, minions))
        for minion in list(answers):
            if self.world.chance(self.world.rate):
                del answers[minion]
        self.world.pass_by()
        return answers

    def order(
        self, step: Step, move: Move, facts: NodeFacts, work: Callable[[FakeNode, Move], str]
    ) -> Outcome:
        world = self.world
        world.pass_by()
        if world.chance(world.rate):
            return Outcome(step, Result.UNKNOWN, "the order was lost", "silent")
        if world.chance(world.rate * 2):
            world.late.append(lambda: self._late(step, move, facts, work))
            return Outcome(step, Result.UNKNOWN, "no answer; it is carried out later", "silent")
        outcome = super().order(step, move, facts, work)
        world.say(f"-- order {step.kind.value} to {step.node}: {outcome.result.value}")
        world.check(step.kind.value)
        world.pass_by()
        if world.chance(world.rate):
            return Outcome(step, Result.UNKNOWN, "the answer was lost", "silent")
        return outcome

    def _late(self, step: Step, move: Move, facts: NodeFacts, work: Callable[[FakeNode, Move], str]) -> None:
        node = self.nodes[step.node]
        if node.frozen:  # it sleeps with the node, and may wake with it
            self.world.late.append(lambda: self._late(step, move, facts, work))
        elif node.vm.power is Power.ON:
            trouble = self.obey(step, move, facts, work)
            self.world.say(f"-- late order {step.kind.value} to {step.node}: {trouble or 'done'}")
            self.world.check(f"a late {step.kind.value}")


class _Lookout(FakeLookout):
    """The double; now and then nobody has listened, or an address could not be tried."""

    def __init__(self, world: World) -> None:
        super().__init__(world.guest, world.clock)
        self.world = world

    def signs(self, seen: HypervisorFacts, silent: Sequence[str]) -> Mapping[str, Signs]:
        self.world.pass_by()
        self.deaf = self.world.chance(self.world.rate)
        found = super().signs(seen, silent)
        self.world.pass_by()
        return found

    def address(self, minion: str) -> bool | None:
        return None if self.world.chance(self.world.rate) else super().address(minion)


class _Journal(MemoryJournal):
    """The engine may die before and after each write."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def write(self, resource: str, text: str) -> None:
        self.world.may_crash()
        super().write(resource, text)
        self.world.may_crash()


def _die(world: World, node: FakeNode) -> None:
    if node.vm.power is not Power.OFF:
        node.vm.turn(Power.OFF)
        node.wake()


def _come_back(world: World, node: FakeNode) -> None:
    if node.vm.power is not Power.ON:
        node.vm.turn(Power.ON)


def _reboot(world: World, node: FakeNode) -> None:
    if node.vm.power is Power.ON:
        node.vm.boots += 1
        node.wake()


def _suspend(world: World, node: FakeNode) -> None:
    if node.vm.power is Power.ON:
        node.vm.turn(Power.SUSPENDED)


def _resume(world: World, node: FakeNode) -> None:
    """Go on where it stopped: no new boot."""
    if node.vm.power is Power.SUSPENDED:
        node.vm.power = Power.ON


def _host(world: World, node: FakeNode) -> None:
    node.vm.connected = not node.vm.connected


def _task(world: World, node: FakeNode) -> None:
    node.vm.task = "" if node.vm.task else "relocate (running)"


def _snapshot(world: World, node: FakeNode) -> None:
    node.vm.snapshot = not node.vm.snapshot


def _blind(world: World, node: FakeNode) -> None:
    world.hypervisor.blind = "" if world.hypervisor.blind else "vCenter does not answer"


def _silent(world: World, node: FakeNode) -> None:
    node.silent = not node.silent


def _freeze(world: World, node: FakeNode) -> None:
    """All of it stands still, or goes on where it stood."""
    node.frozen = node.vm.power is Power.ON and not node.frozen


def _cut(world: World, node: FakeNode) -> None:
    node.cut = not node.cut


def _fail(world: World, node: FakeNode) -> None:
    if node.mounted:
        node.trouble = world.dice.choice((Condition.IO_ERROR, Condition.HUNG, Condition.FS_ERROR))


def _stuck(world: World, node: FakeNode) -> None:
    node.stuck = not node.stuck


def _unready(world: World, node: FakeNode) -> None:
    node.unready = () if node.unready else ("mount is not installed",)


def _cannot_mount(world: World, node: FakeNode) -> None:
    node.cannot_mount = "" if node.cannot_mount else "mount: wrong fs type"


_EVENTS: tuple[Callable[[World, FakeNode], None], ...] = (
    _die,
    _die,
    _come_back,
    _come_back,
    _come_back,
    _reboot,
    _suspend,
    _resume,
    _resume,
    _host,
    _task,
    _snapshot,
    _blind,
    _silent,
    _freeze,
    _freeze,
    _cut,
    _fail,
    _fail,
    _stuck,
    _unready,
    _cannot_mount,
)


def wishes(world: World) -> Wish | None:
    """What an operator asks for now and then."""
    if not world.chance(0.4):
        return None
    kind = world.dice.choice((MoveKind.SWITCHOVER, MoveKind.FAILOVER))
    return Wish(kind, world.dice.choice(("", *(n.minion for n in world.resource.nodes))))
