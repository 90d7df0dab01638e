"""
VMs, nodes and a vCenter for the simulation: the doubles, with what can go wrong around them and without their costs.

A node may have several resources, so its inside is one :class:`SimNode` per resource over one :class:`SimVm`, which also
carries what is common to them (frozen, cut off, silent). Disks are followed by UUID: truth does not depend on paths.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tests.doubles.guest import FakeGuest, FakeNode
from tests.doubles.hypervisor import FakeHypervisor, FakeVm
from vmdk_failover.model import (
    Condition,
    DiskFacts,
    HypervisorFacts,
    MountState,
    Move,
    Node,
    NodeFacts,
    Power,
    Resource,
    Step,
    StepKind,
    VmFacts,
)

if TYPE_CHECKING:
    from tests.core.world import World


@dataclass
class SimVm(FakeVm):
    """
    A VM with its machine.

    :ivar shown: power that vCenter goes on showing while the host is not connected.
    :ivar old: what vCenter goes on listing of it while the host is not connected, if that is of an older time.
    :ivar saved: its disks when the snapshot was made.
    :ivar booted: what its own clock counts from.
    :ivar impostor: a copy of it, with its minion id and key, answers in its place.
    """

    silent: bool = False
    frozen: bool = False
    cut: bool = False
    shown: Power | None = None
    old: tuple[DiskFacts, ...] | None = None
    saved: list[DiskFacts] | None = None
    booted: float = -1000.0
    impostor: bool = False
    memo: dict[str, VmFacts] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.smbios = self.uuid

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__[name] = value
        self.__dict__["memo"] = {}  # what vCenter shows is made anew after any change
        if name == "connected" and value:
            self.__dict__["old"] = None

    def turn(self, power: Power, told: bool = True) -> None:
        """Go on or off. ``told``: the VM gets another version by it, which in earnest is not always so."""
        version = self.version
        super().turn(power)
        if power is not Power.SUSPENDED:
            self.frozen, self.question, self.full = False, "", False
        if not told:
            self.version = version

    def reset(self) -> None:
        """A new boot, with the power on all the time."""
        self.boots += 1
        self.frozen = False

    def lists(self, uuids: frozenset[str]) -> bool:
        """Whether any of these disks is in its list, wherever the file may be by now."""
        return any(mine.uuid in uuids for mine in self.disks)


class SimNode(FakeNode):
    """One resource inside a VM. :ivar torn: its disk was pulled; the mount that is left can write nothing any more."""

    def __init__(self, vm: SimVm, resource: Resource) -> None:
        self.vm: SimVm = vm
        self.uuids = frozenset(disk.uuid for disk in resource.disks)
        self.boots, self.epoch = vm.boots, 0
        self.mounted = self.torn = self.foreign = self.stuck = False
        self.released: int | None = None
        self.trouble: Condition | None = None
        self.cannot_mount = self.busy = ""
        self.unready: tuple[str, ...] = ()
        self.services: bool | None = None
        self.released_by_copy: int | None = None

    silent = property(lambda self: self.vm.silent)
    frozen = property(lambda self: self.vm.frozen, lambda self, to: setattr(self.vm, "frozen", to))
    cut = property(lambda self: self.vm.cut)

    def can_hear(self) -> bool:
        """See the double."""
        self.wake()
        vm = self.vm
        return vm.power is Power.ON and not (vm.silent or vm.frozen or vm.cut)

    def wake(self) -> None:
        """See the double."""
        if self.vm.boots != self.boots or self.vm.power is Power.OFF:
            self.boots, self.mounted, self.epoch, self.released = self.vm.boots, False, 0, None
            self.torn, self.foreign, self.trouble, self.busy = False, False, None, ""

    def sees(self, resource: Resource) -> bool:
        """All disks are in the guest, at any place and path."""
        here = {mine.uuid for mine in self.vm.disks}
        return self.uuids <= here

    def can_write(self, resource: Resource) -> bool:
        """It has the file system alive on any disk that its VM lists; a suspended or frozen one may go on."""
        self.wake()
        return self.mounted and not self.torn and self.vm.power is not Power.OFF and self.vm.lists(self.uuids)

    def has(self) -> bool:
        """Its VM is not off and lists a disk."""
        return self.vm.power is not Power.OFF and self.vm.lists(self.uuids)


class SimGuest(FakeGuest):
    """The nodes of one resource. :ivar inside: what it is in each of them, by minion."""

    def __init__(self, world: World, resource: Resource) -> None:
        nodes = {n.minion: SimNode(world.vms[n.minion], resource) for n in resource.nodes}
        super().__init__(world.hypervisor, world.clock, {**nodes})
        self.inside = nodes

    def facts(self, resource: Resource, minion: str) -> NodeFacts:
        """See the double."""
        node = self.inside[minion]
        node.wake()
        if node.vm.impostor:
            return _copy_of(minion, node)
        mounted = MountState.MOUNTED if node.mounted else MountState.UNMOUNTED
        trouble = Condition.DEVICE_GONE if node.torn else node.trouble
        return NodeFacts(
            minion=minion,
            boot_id=node.boot_id,
            uptime=self.clock.now - node.vm.booted,
            epoch=node.epoch,
            device=node.sees(resource),
            mounted=MountState.FOREIGN if node.foreign else mounted,
            superblock=node.mounted,
            busy=node.busy,
            condition=trouble or (Condition.OK if node.mounted else Condition.UNMOUNTED),
            evidence="it was seen" if trouble else "",
            released=None if node.mounted else node.released,
            unready=node.unready,
            services=node.services if node.mounted else None,
            smbios=node.vm.uuid,
        )

    def obey(self, step: Step, move: Move, facts: NodeFacts, work: Any) -> str:
        """See the double; the permit's deadline counts on the node's own clock."""
        if self.inside[step.node].vm.impostor:
            return self._by_the_copy(step, move)
        skew = self.inside[step.node].vm.booted
        self.clock.now -= skew
        try:
            return super().obey(step, move, facts, work)
        finally:
            self.clock.now += skew

    def _by_the_copy(self, step: Step, move: Move) -> str:
        """It has nothing of the resource, so it releases that well."""
        if step.kind is not StepKind.RELEASE:
            return "the disk is not in this node"
        self.inside[step.node].released_by_copy = move.epoch
        return ""

    def _release(self, node: FakeNode, move: Move) -> str:
        assert isinstance(node, SimNode)
        if node.torn or node.foreign:
            return "the disk is gone under the mount" if node.torn else "something else is mounted there"
        return super()._release(node, move)

    def _mount(self, node: FakeNode, move: Move) -> str:
        assert isinstance(node, SimNode)
        if node.torn or node.foreign:
            return "an old mount is in the way" if node.torn else "something else is mounted there"
        return super()._mount(node, move)


class SimHypervisor(FakeHypervisor):
    """The double over :class:`SimVm`; what has not changed is not read anew."""

    def __init__(self, world: World) -> None:
        super().__init__(world.vms.values())
        self.world = world

    def observe(self, resource: Resource) -> HypervisorFacts:
        """See the port."""
        if self.blind:
            return HypervisorFacts(False, self.blind)
        return HypervisorFacts(True, "", tuple([self._facts(node, resource) for node in resource.nodes]))

    def _facts(self, node: Node, resource: Resource) -> VmFacts:
        vm = self.world.vms[node.minion]
        seen = vm.memo.get(resource.name)
        if seen is None:
            seen = super()._facts(node, resource)
            if not seen.smbios:
                seen = replace(seen, smbios=vm.uuid)
            if vm.connected is not True and vm.shown is not None and seen.present:
                seen = replace(seen, power=vm.shown)
            if vm.connected is not True and vm.old is not None and seen.present:
                seen = replace(seen, disks=vm.old)
            if seen.beside is None:  # that depends on others too
                vm.memo[resource.name] = seen
        return seen


def _copy_of(minion: str, node: SimNode) -> NodeFacts:
    """What a copy of a machine says, which has nothing of the resource."""
    return NodeFacts(
        minion=minion,
        boot_id="of the copy",
        uptime=50.0,
        device=False,
        mounted=MountState.UNMOUNTED,
        superblock=False,
        condition=Condition.UNMOUNTED,
        released=node.released_by_copy,
        smbios="of the copy",
    )
