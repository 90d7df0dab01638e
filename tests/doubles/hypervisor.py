"""
A vCenter in memory, for tests of what stands on the ``Hypervisor`` port.

It keeps the rules that decisions lean on: a powered-on VM locks the files it lists, each change gives a VM a new version, a
reconfigure with an old version is refused, and a disconnected host's VMs can be neither believed nor changed. The same
contract tests run on it and on the real adapter (tests/vsphere/test_contract.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from vmdk_failover.errors import (
    FailoverError,
    LockedByStranger,
    OutcomeUnknown,
    Refused,
    StepFailed,
    VersionConflict,
)
from vmdk_failover.model import (
    Disk,
    DiskFacts,
    HypervisorFacts,
    Node,
    Outcome,
    Power,
    Resource,
    Result,
    Step,
    StepKind,
    VmFacts,
)


@dataclass
class FakeVm:
    """
    A VM of the fake world; change its attributes to let things happen to it.

    ``uuid`` is the instance UUID. ``connected`` is its host; ``reachable`` is whether that reaches it. ``kept`` are the paths
    that a snapshot keeps; ``task`` is what is running on it. ``strangers`` are names of VMs on its host that are nobody's
    nodes.
    """

    uuid: str
    name: str = ""
    power: Power = Power.ON
    connected: bool | None = True
    reachable: bool = True
    host: str = "esx1"
    heartbeat: str = "green"
    controllers: tuple[tuple[int, str], ...] = ((0, "pvscsi"), (1, "pvscsi"))
    disks: list[DiskFacts] = field(default_factory=list)
    kept: frozenset[str] = frozenset()
    task: str = ""
    question: str = ""
    full: bool = False
    version: int = 1
    boots: int = 1
    smbios: str = ""
    strangers: tuple[str, ...] = ()

    def plug(self, disk: Disk) -> None:
        """List a disk, whoever else does; raises ``ValueError`` if its slot is taken."""
        if (disk.bus, disk.unit) in self.slots():
            raise ValueError(f"slot {disk.bus}:{disk.unit} of {self.name} is taken")
        key = 2000 + 16 * disk.bus + disk.unit
        self.disks.append(DiskFacts(disk.path, disk.uuid, disk.bus, disk.unit, key, disk.mode, disk.sharing))
        self.version += 1

    def unplug(self, path: str) -> None:
        """Do not list the file any more."""
        self.disks = [mine for mine in self.disks if mine.path != path]
        self.version += 1

    def turn(self, power: Power) -> None:
        """The VM goes on or off, by itself or by order."""
        self.boots += power is Power.ON and self.power is not Power.ON
        self.power = power
        self.version += 1

    def snapshot(self) -> None:
        """Make a snapshot: the disks that are not independent cannot leave any more."""
        self.kept |= {mine.path for mine in self.disks if not mine.mode.startswith("independent")}
        self.version += 1

    def slots(self) -> set[tuple[int, int]]:
        """Taken (bus, unit) pairs; unit 7 is the controller's own."""
        return {(mine.bus, mine.unit) for mine in self.disks} | {(bus, 7) for bus, _kind in self.controllers}

    def locks(self, path: str) -> bool:
        """Whether the VM keeps others from opening the file. A suspended one does not: nothing runs."""
        return self.power is Power.ON and any(mine.path == path for mine in self.disks)


class FakeHypervisor:
    """
    Implements the ``Hypervisor`` port on :class:`FakeVm` values.

    :ivar vms: all VMs, those of nodes and strangers. Take one out to delete it.
    :ivar blind: a sentence makes vCenter unreadable.
    :ivar lose: so many next writes are carried out and their answers lost. :ivar drop: so many are lost before that.
    :ivar refuse: error of the next write of a kind, instead of doing it.
    :ivar acts: all writes that were carried out, in order.
    :ivar before: called with each step before it is carried out; may change the world.
    """

    def __init__(self, vms: Iterable[FakeVm] = ()) -> None:
        self.vms = list(vms)
        self.blind = ""
        self.lose = 0
        self.drop = 0
        self.refuse: dict[StepKind, FailoverError] = {}
        self.acts: list[Step] = []
        self.before: Callable[[Step], None] = lambda _step: None

    def vm(self, uuid: str) -> FakeVm:
        """The VM with this instance UUID; ``KeyError`` if there is not exactly one."""
        found = [vm for vm in self.vms if vm.uuid == uuid]
        if len(found) != 1:
            raise KeyError(uuid)
        return found[0]

    # the port

    def observe(self, resource: Resource) -> HypervisorFacts:
        """See the port."""
        if self.blind:
            return HypervisorFacts(readable=False, reason=self.blind)
        return HypervisorFacts(
            readable=True, vms=tuple(self._facts(node, resource) for node in resource.nodes)
        )

    def power_off(self, resource: Resource, node: Node, seen: VmFacts) -> Outcome:
        """See the port."""
        return self._write(StepKind.FENCE, node, seen, _power_off)

    def detach(self, resource: Resource, node: Node, seen: VmFacts, disks: Sequence[Disk]) -> Outcome:
        """See the port."""

        def change(vm: FakeVm) -> None:
            _check_basis(vm, seen)
            _check_awake(vm)
            for disk in disks:
                _check_listed(seen, disk)
                if disk.path in vm.kept:
                    raise StepFailed(f"a snapshot keeps {disk.path}", "snapshot")
            for disk in disks:
                vm.unplug(disk.path)

        return self._write(StepKind.DETACH, node, seen, change)

    def attach(self, resource: Resource, node: Node, seen: VmFacts, disks: Sequence[Disk]) -> Outcome:
        """See the port."""

        def change(vm: FakeVm) -> None:
            _check_basis(vm, seen)
            _check_awake(vm)
            for disk in disks:
                _check_fits(vm, disk)
                self._check_lock(vm, disk)
            for disk in disks:
                vm.plug(disk)

        return self._write(StepKind.ATTACH, node, seen, change)

    def power_on(self, resource: Resource, node: Node, seen: VmFacts) -> Outcome:
        """See the port."""

        def change(vm: FakeVm) -> None:
            if any(self._holder_of(vm, mine) for mine in vm.disks):
                raise LockedByStranger(f"a disk of {vm.name} is in use elsewhere")
            if vm.power is not Power.ON:
                vm.turn(Power.ON)

        return self._write(StepKind.POWER_ON, node, seen, change)

    def seal(self, resource: Resource, node: Node, seen: VmFacts, epoch: int) -> Outcome:
        """See the port."""

        def change(vm: FakeVm) -> None:
            _check_basis(vm, replace(seen, disks=seen.disks or ()))
            vm.version += 1

        return self._write(StepKind.SEAL, node, seen, change)

    # how it does that

    def _facts(self, node: Node, resource: Resource) -> VmFacts:
        found = [vm for vm in self.vms if vm.uuid == node.vm_uuid]
        if len(found) != 1:
            return VmFacts(minion=node.minion, present=None if found else False, copies=len(found))
        vm = found[0]
        return VmFacts(
            minion=node.minion,
            ref=f"vm-{vm.uuid}",
            name=vm.name or node.minion,
            present=True,
            power=vm.power,
            connected=vm.connected if vm.reachable else False,
            host_connected=vm.connected,
            change_version=str(vm.version),
            disks=tuple(vm.disks),
            slots=frozenset(vm.slots()),
            controllers=vm.controllers,
            snapshot=any(disk.path in vm.kept for disk in resource.disks),
            task=vm.task,
            heartbeat=vm.heartbeat,
            host=vm.host,
            boot_time=f"2026-01-01T00:00:{vm.boots:02d}+00:00",
            question=vm.question,
            full=vm.full,
            smbios=vm.smbios,
            beside=self._beside(vm) if vm.connected is False and resource.host_fence else None,
            hosts=self._hosts() if vm.connected is False and resource.host_fence else None,
        )

    def _hosts(self) -> tuple[int, int]:
        """How many of the hosts that there are have VMs on them that are lost."""
        lost = {vm.host for vm in self.vms if vm.connected is False}
        return len(lost), len({vm.host for vm in self.vms})

    def _beside(self, vm: FakeVm) -> tuple[tuple[str, str], ...]:
        """What ran on its host when that was lost: it is lost with all that is there."""
        there = (o for o in self.vms if o is not vm and o.host == vm.host and o.connected is False)
        running = [(o.name, o.uuid) for o in there if o.power is not Power.OFF]
        return tuple(sorted([*running, *((name, "") for name in vm.strangers)]))

    def _write(self, kind: StepKind, node: Node, seen: VmFacts, change: Callable[[FakeVm], None]) -> Outcome:
        step = Step(kind, node.minion)
        try:
            self._carry_out(step, node, seen, change)
        except OutcomeUnknown as err:
            return Outcome(step, Result.UNKNOWN, err.reason, err.code)
        except FailoverError as err:
            return Outcome(step, Result.FAILED, err.reason, err.code)
        return Outcome(step, Result.DONE, "done")

    def _carry_out(self, step: Step, node: Node, seen: VmFacts, change: Callable[[FakeVm], None]) -> None:
        if seen.minion != node.minion or not seen.ref:
            raise Refused("the VM is not known; look again")
        if self.blind:
            raise FailoverError(self.blind, "unreadable")
        self.before(step)
        if step.kind in self.refuse:
            raise self.refuse.pop(step.kind)
        if self.drop:
            self.drop -= 1
            raise OutcomeUnknown("the answer was lost")
        vm = self._addressed(node)
        change(vm)
        self.acts.append(step)
        if self.lose:
            self.lose -= 1
            raise OutcomeUnknown("the answer was lost")

    def _addressed(self, node: Node) -> FakeVm:
        try:
            vm = self.vm(node.vm_uuid)
        except KeyError as err:
            raise StepFailed("the VM is gone", "vm_gone") from err
        if vm.connected is not True:
            raise StepFailed("the host is not connected", "host_not_connected")
        if not vm.reachable:
            raise StepFailed("the host does not reach the VM", "vm_state")
        if vm.task:
            raise StepFailed("another task is in progress", "busy")
        return vm

    def _check_lock(self, vm: FakeVm, disk: Disk) -> None:
        shared = disk.sharing == "sharingMultiWriter"
        holder = self._holder_of(vm, disk)
        if holder and vm.power is Power.ON and not shared:
            raise LockedByStranger(f"{holder} holds {disk.path}")

    def _holder_of(self, vm: FakeVm, disk: Disk | DiskFacts) -> str:
        """Another VM that has the file open; ``""`` if there is none."""
        return next((o.name for o in self.vms if o is not vm and o.locks(disk.path)), "")


def _power_off(vm: FakeVm) -> None:
    if vm.power is not Power.OFF:
        vm.turn(Power.OFF)


def _check_basis(vm: FakeVm, seen: VmFacts) -> None:
    if not seen.change_version or seen.disks is None:
        raise Refused("there is nothing to base the change on; look again")
    if seen.change_version != str(vm.version):
        raise VersionConflict("the VM has changed; look again")


def _check_awake(vm: FakeVm) -> None:
    """The devices of a suspended VM are part of what it goes on with."""
    if vm.power is Power.SUSPENDED:
        raise StepFailed(f"{vm.name} is suspended", "power_state")


def _check_listed(seen: VmFacts, disk: Disk) -> None:
    if replace(seen, disks=seen.disks or ()).lists(disk) is not True:
        raise Refused(f"{disk.path} is not listed; look again")


def _check_fits(vm: FakeVm, disk: Disk) -> None:
    if dict(vm.controllers).get(disk.bus) != disk.controller:
        raise Refused(f"no {disk.controller} controller on bus {disk.bus}", "controller")
    if (disk.bus, disk.unit) in vm.slots():
        raise Refused(f"slot {disk.bus}:{disk.unit} is taken", "slot_taken")
