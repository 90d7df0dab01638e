"""
Nodes in memory, for tests of what stands on the ``Guest`` port.

A node keeps the rules that decisions lean on: it obeys only under a permit for its present boot and no older epoch, forgets
everything at a reboot, mounts only what its VM lists, and never mounts by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.doubles.clock import FakeClock
from tests.doubles.hypervisor import FakeHypervisor, FakeVm
from vmdk_failover.model import (
    Condition,
    MountState,
    Move,
    Node,
    NodeFacts,
    Outcome,
    Power,
    Resource,
    Result,
    Step,
    StepKind,
)

SLACK = 5.0


@dataclass
class FakeNode:
    """
    The inside of a VM; change its attributes to let things happen to it.

    :ivar trouble: what its prober says of the mounted file system, ``None`` if it is well.
    :ivar silent: its agent answers nothing. :ivar frozen: nothing in it moves. :ivar cut: its network is gone.
    :ivar stuck: it cannot release. :ivar cannot_mount: why it cannot mount.
    """

    vm: FakeVm
    boots: int = 1
    mounted: bool = False
    epoch: int = 0
    released: int | None = None
    trouble: Condition | None = None
    silent: bool = False
    frozen: bool = False
    cut: bool = False
    stuck: bool = False
    cannot_mount: str = ""
    busy: str = ""
    unready: tuple[str, ...] = ()
    services: bool | None = None

    def wake(self) -> None:
        """A boot that has come or gone since the last look has ended every mount and every memory."""
        if self.vm.power is Power.OFF or self.vm.boots != self.boots:
            self.boots, self.mounted, self.epoch, self.released, self.trouble = (
                self.vm.boots,
                False,
                0,
                None,
                None,
            )
            self.frozen = False

    @property
    def boot_id(self) -> str:
        """The kernel's boot id."""
        return f"{self.vm.uuid}/{self.vm.boots}"

    def can_hear(self) -> bool:
        """It runs and its minion answers."""
        self.wake()
        return self.vm.power is Power.ON and not (self.silent or self.frozen or self.cut)

    def can_write(self, resource: Resource) -> bool:
        """It has the file system alive on a disk that its VM lists; a suspended one goes on where it stopped."""
        self.wake()
        return self.mounted and self.vm.power is not Power.OFF and self.sees(resource)

    def sees(self, resource: Resource) -> bool:
        """All disks are in the guest."""
        return {d.path for d in resource.disks} <= {d.path for d in self.vm.disks}


@dataclass
class FakeGuest:
    """
    Implements the ``Guest`` port on :class:`FakeNode` values.

    :ivar nodes: by minion id. :ivar acts: orders that were carried out.
    """

    hypervisor: FakeHypervisor
    clock: FakeClock
    nodes: dict[str, FakeNode] = field(default_factory=dict)
    acts: list[Step] = field(default_factory=list)

    @classmethod
    def of(cls, resource: Resource, hypervisor: FakeHypervisor, clock: FakeClock) -> FakeGuest:
        """One node for each VM of the resource; a VM that is made anew needs a new one."""
        return cls(hypervisor, clock, {n.minion: FakeNode(_vm(hypervisor, n)) for n in resource.nodes})

    def ask(self, resource: Resource, minions: Sequence[str]) -> Mapping[str, NodeFacts]:
        """See the port."""
        heard = {minion: self.nodes[minion] for minion in minions if self.nodes[minion].can_hear()}
        self.clock.now += 0.01 if len(heard) == len(minions) else resource.timeouts.ask
        return {minion: self.facts(resource, minion) for minion in heard}

    def facts(self, resource: Resource, minion: str) -> NodeFacts:
        """What a node says of itself now."""
        node = self.nodes[minion]
        node.wake()
        condition = node.trouble or (Condition.OK if node.mounted else Condition.UNMOUNTED)
        return NodeFacts(
            minion=minion,
            boot_id=node.boot_id,
            uptime=self.clock.now,
            epoch=node.epoch,
            device=node.sees(resource),
            mounted=MountState.MOUNTED if node.mounted else MountState.UNMOUNTED,
            superblock=node.mounted,
            busy=node.busy,
            condition=condition,
            evidence="it was seen" if node.trouble else "",
            released=None if node.mounted else node.released,
            unready=node.unready,
            services=node.services if node.mounted else None,
        )

    def release(self, move: Move, facts: NodeFacts) -> Outcome:
        """See the port."""
        return self.order(Step(StepKind.RELEASE, move.source), move, facts, self._release)

    def halt(self, move: Move, facts: NodeFacts) -> Outcome:
        """See the port."""
        return self.order(Step(StepKind.HALT, move.source), move, facts, self._halt)

    def mount(self, move: Move, facts: NodeFacts) -> Outcome:
        """See the port."""
        return self.order(Step(StepKind.MOUNT, move.target), move, facts, self._mount)

    def order(
        self, step: Step, move: Move, facts: NodeFacts, work: Callable[[FakeNode, Move], str]
    ) -> Outcome:
        """Bring an order to its node and its answer back."""
        if not self.nodes[step.node].can_hear():
            return Outcome(step, Result.UNKNOWN, f"{step.node} did not answer", "silent")
        trouble = self.obey(step, move, facts, work)
        said = self.facts(move.resource, step.node)
        if trouble:
            return Outcome(step, Result.FAILED, trouble, "step_failed", facts=said)
        return Outcome(step, Result.DONE, "done", facts=said)

    def obey(self, step: Step, move: Move, facts: NodeFacts, work: Callable[[FakeNode, Move], str]) -> str:
        """Carry an order out if its permit is good; why not, else."""
        node = self.nodes[step.node]
        deadline = facts.uptime + getattr(move.resource.timeouts, step.kind.value) + SLACK
        if node.boot_id != facts.boot_id or move.epoch < node.epoch or self.clock.now > deadline:
            return "the permit is of another boot, of an older epoch, or expired"
        node.epoch = move.epoch
        trouble = work(node, move)
        if not trouble:
            self.acts.append(step)
        return trouble

    def _release(self, node: FakeNode, move: Move) -> str:
        if node.mounted and (node.stuck or node.trouble is Condition.HUNG):
            return "the disk hangs; nothing was unmounted"
        node.mounted, node.released, node.trouble = False, move.epoch, None
        return ""

    def _halt(self, node: FakeNode, move: Move) -> str:
        node.vm.turn(Power.OFF)
        node.wake()
        return ""

    def _mount(self, node: FakeNode, move: Move) -> str:
        if not node.sees(move.resource):
            return "the disk is not in this node"
        if node.cannot_mount or node.busy:
            return node.cannot_mount or node.busy
        node.mounted, node.released, node.trouble = True, None, None
        return ""


def _vm(hypervisor: FakeHypervisor, node: Node) -> FakeVm:
    return hypervisor.vm(node.vm_uuid)
