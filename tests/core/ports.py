"""The ports of the simulation: each call of the doubles with the world's faults around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.core.machines import SimGuest, SimHypervisor, SimVm
from tests.doubles.guest import FakeNode
from tests.doubles.hypervisor import FakeVm
from tests.doubles.lookout import FakeLookout
from vmdk_failover.errors import FailoverError, LockedByStranger, OutcomeUnknown, Refused
from vmdk_failover.model import (
    Disk,
    HypervisorFacts,
    Move,
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

if TYPE_CHECKING:
    from tests.core.world import World

#: What a property is shown as when it cannot be read.
UNREAD: tuple[tuple[str, Any], ...] = (
    ("power", Power.UNKNOWN),
    ("connected", None),
    ("disks", None),
    ("task", None),
    ("snapshot", None),
    ("controllers", None),
    ("change_version", ""),
)


class VCenter(SimHypervisor):
    """vCenter, with faults in each call."""

    world: World

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.resource = world.resource
        self.looked: dict[str, int] = {}
        self.shown: dict[str, HypervisorFacts] = {}

    def observe(self, resource: Resource) -> HypervisorFacts:
        """See the port."""
        world = self.world
        world.clock.now += 0.02
        world.pass_by()
        seen = super().observe(resource)
        if seen.vms and world.chance(world.rate * 1.5):
            seen = replace(seen, vms=self._blurred(seen.vms))
        if resource.disks:
            self.looked[resource.name], self.shown[resource.name] = world.happenings, seen
        return seen

    def _blurred(self, vms: tuple[VmFacts, ...]) -> tuple[VmFacts, ...]:
        """A property that could not be read this time."""
        at, (key, value) = self.world.dice.below(len(vms)), self.world.dice.pick(UNREAD)
        return tuple(replace(vm, **{key: value}) if i == at else vm for i, vm in enumerate(vms))

    def power_off(self, resource: Resource, node: Node, seen: VmFacts) -> Outcome:
        """See the port."""
        self.resource = resource
        return super().power_off(resource, node, seen)

    def detach(self, resource: Resource, node: Node, seen: VmFacts, disks: Sequence[Disk]) -> Outcome:
        """See the port."""
        self.resource = resource
        return super().detach(resource, node, seen, disks)

    def attach(self, resource: Resource, node: Node, seen: VmFacts, disks: Sequence[Disk]) -> Outcome:
        """See the port."""
        self.resource = resource
        return super().attach(resource, node, seen, disks)

    def power_on(self, resource: Resource, node: Node, seen: VmFacts) -> Outcome:
        """See the port."""
        self.resource = resource
        return super().power_on(resource, node, seen)

    def seal(self, resource: Resource, node: Node, seen: VmFacts, epoch: int) -> Outcome:
        """See the port."""
        self.resource = resource
        return super().seal(resource, node, seen, epoch)

    def _carry_out(self, step: Step, node: Node, seen: VmFacts, change: Callable[[FakeVm], None]) -> None:
        world, of = self.world, self.resource
        looked = self.looked[of.name]
        if step.kind is not StepKind.FENCE and not seen.change_version:
            raise Refused("there is nothing to base the change on; look again")
        world.broken += [] if world.apart else blind_acts(world, of, step, seen)
        world.pass_by()

        def work() -> None:
            vm = self._addressed(node)
            assert isinstance(vm, SimVm)
            harm = world.harm(step, of, vm)
            if harm and (world.hand > looked or world.locked(step, of, vm)):
                raise LockedByStranger("somebody has the disk since the last look")
            booted = vm.boots
            change(vm)
            if vm.boots != booted:
                vm.booted = world.clock.now
            world.broken += [harm] if harm else []
            self.acts.append(step)
            world.say(f"-- {step.kind.value} of {step.node} is carried out")
            world.check(step.kind.value)

        if self.blind:
            raise FailoverError(self.blind, "unreadable")
        if world.chance(world.loss):
            self._in_vain(step, of, work)
        work()
        world.pass_by()
        if world.chance(world.rate):
            world.event("writes", f"{step.kind.value} {step.node}: answer lost", of)
            raise OutcomeUnknown("the answer was lost")

    def _in_vain(self, step: Step, of: Resource, work: Callable[[], None]) -> None:
        """The request is lost, or is carried out later; perhaps the engine does not live to learn it."""
        from tests.core.world import Crash

        dice = self.world.dice
        kind = dice.below(6)
        lost = "late" if kind else "request lost"
        self.world.event("writes", f"{step.kind.value} {step.node}: {lost}", of)
        if not kind:
            raise OutcomeUnknown("the request was lost")
        self._later(step, work)
        if kind < 3:
            raise Crash
        raise OutcomeUnknown("no answer; it is carried out later")

    def _later(self, step: Step, work: Callable[[], None]) -> None:
        vm = self.world.vms[step.node]
        shown = self.world.dice.coin() and not vm.task
        if shown:
            vm.task = f"{step.kind.value} (queued)"

        def land() -> None:
            if shown:
                vm.task = ""
            try:
                work()
            except FailoverError as err:
                self.world.say(f"-- late {step.kind.value} of {step.node} is refused: {err.reason}")
            else:
                self.world.say(f"-- that was late: {step.kind.value} of {step.node}")

        self.world.put_off(land)

    def _check_lock(self, vm: FakeVm, disk: Disk) -> None:
        """No locks here, but where nothing else keeps two masters apart: the file is open to one VM that runs."""
        if not self.world.apart or vm.power is not Power.ON:
            return
        others = [o for o in self.vms if o is not vm and o.power is Power.ON]
        if any(mine.uuid == disk.uuid for other in others for mine in other.disks):
            raise LockedByStranger("another VM has the file open")


def blind_acts(world: World, of: Resource, step: Step, seen: VmFacts) -> list[str]:
    """What is wrong with asking vCenter for this now, by what the engine was shown."""
    found = []
    if of.name in world.paused:
        found.append("in maintenance")
    shown = world.hypervisor.shown[of.name]
    if not shown.readable:
        found.append("blindly")
    read = seen.disks is not None or step.kind is StepKind.SEAL
    if not (seen.present and seen.connected and seen.task == "" and read):
        found.append("on a VM of which something is unknown")
    if seen.power is Power.UNKNOWN and step.kind is not StepKind.SEAL:
        found.append("on a VM whose power is unknown")
    unknown = any(vm.disks is None and vm.present is not False for vm in shown.vms)
    if unknown and step.kind in (StepKind.ATTACH, StepKind.DETACH, StepKind.FENCE):
        found.append("while the disks of a VM are unknown")
    return [f"{of.name}: {step.kind.value} of {step.node} {words}" for words in found]


class GuestPort(SimGuest):
    """The nodes of one resource, with faults in each call."""

    def __init__(self, world: World, resource: Resource) -> None:
        super().__init__(world, resource)
        self.world = world
        self.resource = resource

    def ask(self, resource: Resource, minions: Sequence[str]) -> Mapping[str, NodeFacts]:
        """See the port."""
        world = self.world
        world.pass_by()
        answers = dict(super().ask(resource, minions))
        if answers and world.chance(world.rate):
            del answers[world.dice.pick(sorted(answers))]
        world.pass_by()
        return answers

    def order(
        self, step: Step, move: Move, facts: NodeFacts, work: Callable[[FakeNode, Move], str]
    ) -> Outcome:
        """See the double."""
        world = self.world
        if self.resource.name in world.paused and not world.apart:
            world.broken.append(f"{self.resource.name}: {step.kind.value} of {step.node} in maintenance")
        blind = not world.hypervisor.shown[self.resource.name].readable
        if step.kind is not StepKind.MOUNT and blind and not world.apart:
            world.broken.append(f"{self.resource.name}: {step.kind.value} of {step.node} blindly")
        if step.kind is StepKind.MOUNT and self.resource.depends_on and not world.apart:
            world.broken += world.baseless(self.resource, step.node)
        world.pass_by()
        if world.chance(world.loss * 0.7):
            lost = not world.dice.below(3)
            words = f"{step.kind.value} {step.node}: {'request lost' if lost else 'late'}"
            world.event("writes", words, self.resource)
            if not lost:
                world.put_off(lambda: self._late(step, move, facts, work))
            return Outcome(step, Result.UNKNOWN, "no answer", "silent")
        outcome = super().order(step, move, facts, work)
        world.say(f"-- order {step.kind.value} to {step.node}: {outcome.result.value}")
        world.check(step.kind.value)
        world.pass_by()
        if world.chance(world.rate):
            world.event("writes", f"{step.kind.value} {step.node}: answer lost", self.resource)
            return Outcome(step, Result.UNKNOWN, "the answer was lost", "silent")
        return outcome

    def _late(self, step: Step, move: Move, facts: NodeFacts, work: Callable[[FakeNode, Move], str]) -> None:
        node = self.inside[step.node]
        if node.vm.power is Power.SUSPENDED or (node.frozen and node.vm.power is Power.ON):
            again = self.world.clock.now + 30.0  # it sleeps, and may wake, with the node
            self.world.late.append((again, lambda: self._late(step, move, facts, work)))
            self.world.due = min(self.world.due, again)
        elif node.vm.power is Power.ON:
            trouble = self.obey(step, move, facts, work)
            self.world.say(f"-- late order {step.kind.value} to {step.node}: {trouble or 'done'}")
            self.world.check(f"a late {step.kind.value}")


class Everybody:
    """The ``Guest`` port over all resources: a run of one may run another one in between."""

    def __init__(self, world: World) -> None:
        self.guests = world.guests

    def ask(self, resource: Resource, minions: Sequence[str]) -> Mapping[str, NodeFacts]:
        """See the port."""
        return self.guests[resource.name].ask(resource, minions)

    def release(self, move: Move, facts: NodeFacts) -> Outcome:
        """See the port."""
        return self.guests[move.resource.name].release(move, facts)

    def halt(self, move: Move, facts: NodeFacts) -> Outcome:
        """See the port."""
        return self.guests[move.resource.name].halt(move, facts)

    def mount(self, move: Move, facts: NodeFacts) -> Outcome:
        """See the port."""
        return self.guests[move.resource.name].mount(move, facts)


class LookoutPort(FakeLookout):
    """Signs of life of one resource's nodes; now and then nobody has listened, or an address could not be tried."""

    def __init__(self, world: World, resource: Resource) -> None:
        super().__init__(world.guests[resource.name], world.clock)
        self.world = world

    def signs(self, seen: HypervisorFacts, silent: Sequence[str]) -> Mapping[str, Signs]:
        """See the port."""
        self.world.pass_by()
        self.deaf = bool(silent) and self.world.chance(self.world.rate)
        return super().signs(seen, silent)

    def address(self, minion: str) -> bool | None:
        """See the double."""
        return None if self.world.chance(self.world.rate) else super().address(minion)
