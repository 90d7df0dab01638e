"""The doubles of the golden scenarios' stage: nodes, their VMs, vCenter and hooks, which do what a story says of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tests.doubles.clock import FakeClock
from tests.doubles.guest import FakeGuest, FakeNode
from tests.doubles.hypervisor import FakeHypervisor, FakeVm
from tests.doubles.lookout import FakeLookout
from vmdk_failover.errors import FailoverError, OutcomeUnknown, StepFailed
from vmdk_failover.model import (
    HypervisorFacts,
    MountState,
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
from vmdk_failover.presence.vicinity import FileVicinity

if TYPE_CHECKING:
    from tests.core.golden_stage import Stage

#: Seconds after a mount at which a broken medium shows.
SHOWS_AFTER = 1.0


@dataclass
class StageVm(FakeVm):
    """The double. :ivar dead: it has ended with its host, which nobody can see."""

    dead: bool = False

    def locks(self, path: str) -> bool:
        """See the double."""
        return not self.dead and super().locks(path)


class StageHooks:
    """The administrator's own fences: they do what their name says, or what the story has become of them."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def call(self, function: str, facts: Mapping[str, str], within: float) -> str:
        """See the port."""
        stage, node = self.stage, facts["node"]
        of_vm = function == stage.current.resource.fence
        step = Step(StepKind.FENCE_HOOK if of_vm else StepKind.FENCE_HOST, node)
        stage.moment("before", step)
        fate = stage.fate(step)

        def work() -> None:
            if of_vm:
                stage.node(node).turn(Power.OFF)
                return
            host = stage.node(node).host
            for vm in [vm for vm in stage.hypervisor.vms if vm.host == host and vm.connected is False]:
                stage.end(vm.name)

        if fate in ("", "answer lost"):
            work()
        stage.late += [work] if fate == "late" else []
        stage.moment("after", step)
        if fate in ("answer lost", "request lost", "late"):
            stage.clock.sleep(within)
            raise OutcomeUnknown(f"{function} gave no answer within {within:.0f} s")
        if fate not in ("", "lie"):
            raise StepFailed(f"{function} did not say that it is off: {fate}")
        return f"{function} has read it back as off"


class StageHypervisor(FakeHypervisor):
    """
    The double; each write meets its fate, and what was laid ready for it.

    :ivar unread: by node, what cannot be read of its VM. :ivar hidden: nodes whose VMs the account may not see.
    """

    def __init__(self, stage: Stage, vms: Sequence[FakeVm]) -> None:
        super().__init__(vms)
        self.stage = stage
        self.unread: dict[str, Mapping[str, Any]] = {}
        self.hidden: set[str] = set()

    def observe(self, resource: Resource) -> HypervisorFacts:
        """See the port."""
        self.stage.clock.now += 0.01
        self.stage.pass_by()
        seen = super().observe(resource)
        return replace(seen, vms=tuple(replace(vm, **self.unread.get(vm.minion, {})) for vm in seen.vms))

    def _facts(self, node: Node, resource: Resource) -> VmFacts:
        if node.minion in self.hidden:
            return VmFacts(node.minion, present=False)
        return replace(super()._facts(node, resource), smbios=node.vm_uuid)

    def _addressed(self, node: Node) -> FakeVm:
        if node.minion in self.hidden:
            raise StepFailed("the VM is gone", "vm_gone")
        return super()._addressed(node)

    def _carry_out(self, step: Step, node: Node, seen: VmFacts, change: Callable[[FakeVm], None]) -> None:
        stage, real = self.stage, super()._carry_out
        stage.moment("before", step)

        def work() -> None:
            harm = stage.harm(step)
            real(step, node, seen, change)
            stage.broken += harm
            stage.check(f"{step.kind.value} {step.node}")
            stage.moment("after", step)

        fate = stage.fate(step)
        if fate in ("request lost", "late"):
            stage.late += [_quietly(work)] if fate == "late" else []
            raise OutcomeUnknown("the connection broke before an answer came")
        if fate not in ("", "answer lost"):
            raise FailoverError(f"vCenter refuses: {fate}", fate)
        work()
        if fate:
            raise OutcomeUnknown("the connection broke before the answer came")


def _quietly(work: Callable[[], None]) -> Callable[[], None]:
    """A late request that is refused hurts nobody."""

    def late() -> None:
        with contextlib.suppress(FailoverError):
            work()

    return late


class StageGuest(FakeGuest):
    """
    The double; nodes say what the story has them say.

    :ivar said: by node, what its word differs in, and the boot of which that is true.
    """

    def __init__(self, stage: Stage, of: Resource) -> None:
        nodes = {n.minion: FakeNode(stage.hypervisor.vm(n.vm_uuid)) for n in of.nodes}
        super().__init__(stage.hypervisor, stage.clock, nodes)
        self.stage, self.resource = stage, of
        self.paths = {disk.path for disk in of.disks}
        self.said: dict[str, tuple[str, dict[str, Any]]] = {}
        self.since: dict[str, float] = {}

    def say(self, minion: str, **words: Any) -> None:
        """From now on ``minion``'s word differs so (``None``: it does not any more), until it boots."""
        kept = {key: word for key, word in {**self.spoken(minion), **words}.items() if word is not None}
        self.said[minion] = (self.nodes[minion].boot_id, kept)

    def spoken(self, minion: str) -> dict[str, Any]:
        """What the node's word differs in now."""
        boot, words = self.said.get(minion, ("", {}))
        return (
            words
            if boot == self.nodes[minion].boot_id and self.nodes[minion].vm.power is not Power.OFF
            else {}
        )

    def can_write(self, minion: str) -> bool:
        """The file system is alive there, mounted or not, on a disk that the VM has, wherever its file lies."""
        return self.is_alive(minion) and bool(self.disks_in(minion))

    def is_alive(self, minion: str) -> bool:
        """The file system is alive in the guest's memory."""
        node = self.nodes[minion]
        node.wake()
        alive = node.mounted or self.spoken(minion).get("superblock")
        return bool(alive) and node.vm.power is not Power.OFF

    def may_run(self, minion: str) -> bool:
        """Its VM is not off, and has not ended with its host."""
        vm = self.nodes[minion].vm
        return vm.power is not Power.OFF and not (isinstance(vm, StageVm) and vm.dead)

    def disks_in(self, minion: str) -> int:
        """How many of the resource's disks the VM has."""
        mine = {disk.uuid for disk in self.resource.disks}
        return sum(disk.uuid in mine or disk.path in self.paths for disk in self.nodes[minion].vm.disks)

    def ask(self, resource: Resource, minions: Sequence[str]) -> Mapping[str, NodeFacts]:
        """See the port."""
        self.stage.pass_by()
        return super().ask(resource, minions)

    def facts(self, resource: Resource, minion: str) -> NodeFacts:
        """See the double."""
        self._show_medium(minion)
        said = replace(super().facts(resource, minion), smbios=self.nodes[minion].vm.uuid)
        return replace(said, **self.spoken(minion))

    def _show_medium(self, minion: str) -> None:
        node, medium = self.nodes[minion], self.stage.sides[self.resource.name].medium
        if not node.mounted:
            self.since.pop(minion, None)
        elif self.clock.now - self.since.setdefault(minion, self.clock.now) >= SHOWS_AFTER and medium:
            node.trouble = medium

    def order(
        self, step: Step, move: Move, facts: NodeFacts, work: Callable[[FakeNode, Move], str]
    ) -> Outcome:
        """See the double."""
        stage = self.stage
        stage.moment("before", step)
        fate = stage.fate(step)
        if fate in ("request lost", "late"):
            stage.late += [lambda: self._arrive(step, move, facts, work)] if fate == "late" else []
            return Outcome(step, Result.UNKNOWN, f"{step.node} did not answer", "silent")
        if fate not in ("", "answer lost"):
            return Outcome(step, Result.FAILED, f"{step.node} refuses: {fate}", fate)
        outcome = self._with_services(super().order(step, move, facts, work), move)
        stage.check(f"{step.kind.value} {step.node}")
        stage.moment("after", step)
        return Outcome(step, Result.UNKNOWN, f"{step.node} did not answer", "silent") if fate else outcome

    def _with_services(self, outcome: Outcome, move: Move) -> Outcome:
        """A mount ends with its services."""
        down = outcome.step.kind is StepKind.MOUNT and self.nodes[outcome.step.node].services is False
        if not down or outcome.result is not Result.DONE:
            return outcome
        words = f"the service {', '.join(move.resource.services)} did not start"
        return replace(outcome, result=Result.FAILED, evidence=words, code="service")

    def _arrive(
        self, step: Step, move: Move, facts: NodeFacts, work: Callable[[FakeNode, Move], str]
    ) -> None:
        """An order that slept somewhere comes to its node."""
        if self.nodes[step.node].vm.power is Power.ON:
            self.obey(step, move, facts, work)
            self.stage.check(f"a late {step.kind.value} {step.node}")

    def _release(self, node: FakeNode, move: Move) -> str:
        trouble = super()._release(node, move)
        if not trouble:
            self.say(move.source, mounted=None, superblock=None, condition=None)
        return trouble

    def _mount(self, node: FakeNode, move: Move) -> str:
        if self.spoken(move.target).get("mounted") is MountState.FOREIGN:
            return "something else is mounted there"
        trouble = super()._mount(node, move)
        if not trouble:
            self.say(move.target, mounted=None, superblock=None, condition=None)
        return trouble


class StageLookout(FakeLookout):
    """
    The double.

    :ivar found: addresses of which the master finds something else than what follows from the rest.
    :ivar stuck: nodes whose minion answers nothing while heartbeats go on, and when that was first noticed.
    """

    def __init__(self, guest: StageGuest, clock: FakeClock) -> None:
        super().__init__(guest, clock)
        self.found: dict[str, bool | None] = {}
        self.stuck: dict[str, float | None] = {}

    def complain(self, name: str, vicinity: FileVicinity) -> None:
        """What their disks are like they say without a question."""
        for minion in self.stuck:
            inside = self.guest.nodes[minion]
            if inside.trouble is not None and inside.vm.power is Power.ON:
                vicinity.complains(name, minion, inside.trouble.value, "nobody has asked")

    def signs(self, seen: HypervisorFacts, silent: Sequence[str]) -> Mapping[str, Signs]:
        """See the double."""
        found = dict(super().signs(seen, silent))
        for minion in {*found} & {*self.stuck}:
            first = self.stuck[minion] = self.stuck[minion] or self.clock.now
            found[minion] = replace(found[minion], silent=0.5, heard=0.5, unanswered=self.clock.now - first)
        return found

    def address(self, minion: str) -> bool | None:
        """See the double."""
        return self.found[minion] if minion in self.found else super().address(minion)
