"""
The ``Hypervisor`` port on vCenter.

One call looks at all VMs of a resource with their hosts and tasks. A write is one request that carries the
``changeVersion`` of the look it is based on; it is never repeated, and after it nothing is assumed: the next
look tells.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pyVmomi import vim, vmodl

from vmdk_failover.errors import FailoverError, OutcomeUnknown, Refused, StepFailed
from vmdk_failover.model import (
    Disk,
    DiskFacts,
    HypervisorFacts,
    Node,
    Outcome,
    Resource,
    Result,
    Step,
    StepKind,
    VmFacts,
)
from vmdk_failover.vsphere import devices, sight, tasks
from vmdk_failover.vsphere.properties import Read, retrieve
from vmdk_failover.vsphere.session import Login, Session

#: Where the epoch is written in a VM's extraConfig.
SEAL_KEY = "vmdk.epoch"


class VCenter:
    """
    See the module; several threads may share one.

    :param session: the login to work with; it stays the caller's to close.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._refs: dict[str, str] = {}  # instance UUID → managed object id, as last found
        self._keys: dict[tuple[str, str], dict[int, int]] = {}  # (VM, changeVersion) → controller key by bus

    def observe(self, resource: Resource) -> HypervisorFacts:
        """Look at all nodes' VMs: one call, and one more for each VM that was never found before."""
        try:
            return HypervisorFacts(readable=True, vms=self._look(resource))
        except FailoverError as err:
            return HypervisorFacts(readable=False, reason=err.reason)

    def power_off(self, resource: Resource, node: Node, seen: VmFacts) -> Outcome:
        """Power the VM off; one that is off already is done."""
        doing = f"powering off {_called(node, seen)}"

        def act() -> None:
            _require(node, seen)
            try:
                tasks.run(self._session, seen.ref, doing, _power_off, resource.timeouts.fence)
            except StepFailed as err:
                if err.code != "already_off":
                    raise

        return self._outcome(Step(StepKind.FENCE, node.minion), doing, act)

    def detach(self, resource: Resource, node: Node, seen: VmFacts, disks: Sequence[Disk]) -> Outcome:
        """Take the disks out of the VM in one reconfigure; each must be listed by path and UUID."""
        doing = f"detaching {_named(disks)} from {_called(node, seen)}"

        def act() -> None:
            _require(node, seen, disks)
            listed = [_listed(seen, disk) for disk in disks]
            spec = devices.detach_spec(listed, seen.change_version)
            try:
                self._reconfigure(seen, doing, spec, resource.timeouts.detach)
            except StepFailed as err:
                if err.code == "device_refused" and seen.snapshot:
                    raise StepFailed(
                        f"{err.reason}; a snapshot keeps the disk, remove it", "snapshot"
                    ) from err
                raise

        return self._outcome(Step(StepKind.DETACH, node.minion), doing, act)

    def attach(self, resource: Resource, node: Node, seen: VmFacts, disks: Sequence[Disk]) -> Outcome:
        """Add the disks where they were recorded, in one reconfigure; slot and controller must fit."""
        doing = f"attaching {_named(disks)} to {_called(node, seen)}"

        def act() -> None:
            _require(node, seen, disks)
            for disk in disks:
                _check_slot(seen, disk)
            spec = devices.attach_spec(disks, self._controller_keys(seen), seen.change_version)
            self._reconfigure(seen, doing, spec, resource.timeouts.attach)

        return self._outcome(Step(StepKind.ATTACH, node.minion), doing, act)

    def seal(self, resource: Resource, node: Node, seen: VmFacts, epoch: int) -> Outcome:
        """Change the VM's version by writing the epoch into its extraConfig; no device is touched."""
        doing = f"sealing {_called(node, seen)}"

        def act() -> None:
            _require(node, seen)
            if not seen.change_version:
                raise Refused(f"the version of {_called(node, seen)} could not be read; look again")
            # the basis makes each value a new one: to write the same again would change nothing
            mark = vim.option.OptionValue(
                key=SEAL_KEY, value=f"{epoch} {resource.name} {seen.change_version}"
            )
            spec = vim.vm.ConfigSpec(changeVersion=seen.change_version, extraConfig=[mark])
            self._reconfigure(seen, doing, spec, resource.timeouts.seal)

        return self._outcome(Step(StepKind.SEAL, node.minion), doing, act)

    def power_on(self, resource: Resource, node: Node, seen: VmFacts) -> Outcome:
        """Power the VM on; one that is on already is done."""
        doing = f"powering on {_called(node, seen)}"

        def act() -> None:
            _require(node, seen)
            try:
                tasks.run(self._session, seen.ref, doing, _power_on, resource.timeouts.power_on)
            except StepFailed as err:
                if err.code != "already_on":
                    raise

        return self._outcome(Step(StepKind.POWER_ON, node.minion), doing, act)

    def _reconfigure(self, seen: VmFacts, doing: str, spec: Any, within: float) -> None:
        tasks.run(self._session, seen.ref, doing, lambda vm: vm.ReconfigVM_Task(spec), within)

    def _outcome(self, step: Step, doing: str, act: Callable[[], None]) -> Outcome:
        began = self._session.clock()

        def ended(result: Result, evidence: str, code: str = "") -> Outcome:
            return Outcome(step, result, evidence, code, round(self._session.clock() - began, 3))

        try:
            act()
        except OutcomeUnknown as err:
            return ended(Result.UNKNOWN, err.reason, err.code)
        except FailoverError as err:
            return ended(Result.FAILED, err.reason, err.code)
        return ended(Result.DONE, f"{doing}: done")

    def _controller_keys(self, seen: VmFacts) -> dict[int, int]:
        with self._lock:
            keys = self._keys.get((seen.ref, seen.change_version))
        if keys is None:
            raise Refused(f"{seen.name or seen.minion} was not looked at in this state; look again")
        return keys

    def _look(self, resource: Resource) -> tuple[VmFacts, ...]:
        """Look once; if a VM is not where it was found before, find it and look at all of them again."""
        until = self._session.clock() + self._session.settings.read_deadline
        uuids = [node.vm_uuid.lower() for node in resource.nodes]
        known = all(uuid in self._refs for uuid in uuids)
        refs = {uuid: self._find(uuid, until) for uuid in uuids}
        answer = self._read(refs, until)
        if known and not _all_true(refs, answer):
            with self._lock:
                for uuid in uuids:
                    self._refs.pop(uuid, None)
            refs = {uuid: self._find(uuid, until) for uuid in uuids}
            answer = self._read(refs, until)
        found = [
            self._facts(node, refs[node.vm_uuid.lower()], answer, resource.disks) for node in resource.nodes
        ]
        if not resource.host_fence:
            return tuple(found)
        there: dict[str, dict[str, Read]] = {}
        return tuple(self._with_neighbours(vm, answer, there, until) for vm in found)

    def _with_neighbours(
        self, vm: VmFacts, answer: dict[str, Read], there: dict[str, dict[str, Read]], until: float
    ) -> VmFacts:
        """
        What else vCenter last saw on a host that is gone, and how many others are; what cannot be read stays unknown.

        :param there: what is known by host; each is asked for once.
        """
        on = answer[vm.ref].get("runtime.host") if vm.ref in answer else None
        if on is None or vm.connected is not False or vm.host_connected is not False:
            return vm
        host = on._GetMoId()
        if host not in there:
            there[host] = self._read_host(host, until)
        beside, hosts = sight.neighbours(vm.ref, host, there[host]), sight.hosts_gone(host, there[host])
        return replace(vm, beside=beside, hosts=hosts)

    def _read_host(self, host: str, until: float) -> dict[str, Read]:
        def ask(login: Login) -> dict[str, Read]:
            return retrieve(login, sight.spec_for_host(login.host(host)))

        try:
            return self._session.read(ask, until - self._session.clock())
        except (FailoverError, vmodl.fault.ManagedObjectNotFound):
            return {}

    def _find(self, uuid: str, until: float) -> tuple[str, ...]:
        """Managed object ids of the VMs with this instance UUID; only a single one is remembered."""
        with self._lock:
            if uuid in self._refs:
                return (self._refs[uuid],)
        found = self._session.read(lambda login: _search(login, uuid), until - self._session.clock())
        if len(found) == 1:
            with self._lock:
                self._refs[uuid] = found[0]
        return found

    def _read(self, refs: dict[str, tuple[str, ...]], until: float) -> dict[str, Read]:
        single = [found[0] for found in refs.values() if len(found) == 1]
        if not single:
            return {}

        def ask(login: Login) -> dict[str, Read]:
            return retrieve(login, sight.spec_for([login.vm(ref) for ref in single]))

        try:
            return self._session.read(ask, until - self._session.clock())
        except vmodl.fault.ManagedObjectNotFound:
            return {}

    def _facts(
        self, node: Node, found: tuple[str, ...], answer: dict[str, Read], disks: Sequence[Disk]
    ) -> VmFacts:
        if not found:
            return VmFacts(minion=node.minion, present=False)
        if len(found) > 1:
            return VmFacts(minion=node.minion, copies=len(found))
        if not _is_vm(answer.get(found[0]), node.vm_uuid.lower()):
            return VmFacts(minion=node.minion, ref=found[0])
        facts = sight.facts_of(node.minion, found[0], answer, disks)
        self._remember_keys(facts, answer[found[0]].get("config.hardware.device"))
        return facts

    def _remember_keys(self, facts: VmFacts, hardware: Any) -> None:
        with self._lock:
            for known in [known for known in self._keys if known[0] == facts.ref]:
                del self._keys[known]
            if hardware is not None and facts.change_version:
                self._keys[facts.ref, facts.change_version] = devices.controller_keys(hardware)


def _search(login: Login, uuid: str) -> tuple[str, ...]:
    found = login.content.searchIndex.FindAllByUuid(None, uuid, True, True)
    return tuple(vm._GetMoId() for vm in found or () if isinstance(vm, vim.VirtualMachine))


def _power_off(vm: Any) -> Any:
    return vm.PowerOffVM_Task()


def _power_on(vm: Any) -> Any:
    return vm.PowerOnVM_Task()


def _is_vm(read: Read | None, uuid: str) -> bool:
    return read is not None and str(read.get("config.instanceUuid") or "").lower() == uuid


def _all_true(refs: dict[str, tuple[str, ...]], answer: dict[str, Read]) -> bool:
    return all(len(found) == 1 and _is_vm(answer.get(found[0]), uuid) for uuid, found in refs.items())


def _require(node: Node, seen: VmFacts, disks: Sequence[Disk] | None = None) -> None:
    """
    Refuse a write whose basis is missing: the VM itself and, for a reconfigure, its version and device
    list.
    """
    if seen.minion != node.minion or not seen.ref or seen.present is not True:
        raise Refused(f"the VM of {node.minion} is not known; look again")
    if disks is None:
        return
    if not disks or seen.disks is None or not seen.change_version:
        raise Refused(
            f"version or devices of {_called(node, seen)} could not be read, or no disk is named; look again"
        )


def _listed(seen: VmFacts, disk: Disk) -> DiskFacts:
    for mine in seen.disks or ():
        if (mine.path, mine.uuid) == (disk.path, disk.uuid):
            return mine
    if seen.snapshot and any(mine.uuid == disk.uuid for mine in seen.disks or ()):
        text = f"a snapshot of {seen.name or seen.minion} keeps {disk.path} from being detached; remove the snapshot"
        raise Refused(text, "snapshot")
    raise Refused(f"{seen.name or seen.minion} does not list {disk.path} with UUID {disk.uuid}; look again")


def _check_slot(seen: VmFacts, disk: Disk) -> None:
    where, vm = f"SCSI {disk.bus}:{disk.unit}", seen.name or seen.minion
    kind = dict(seen.controllers or ()).get(disk.bus)
    if kind != disk.controller:
        has = f"a {kind} controller" if kind else "no SCSI controller"
        raise Refused(
            f"{vm} has {has} on bus {disk.bus}; give it a {disk.controller} controller", "controller"
        )
    if seen.slots is None or (disk.bus, disk.unit) in seen.slots:
        raise Refused(f"{where} of {vm} is not free for {disk.path}; free it", "slot_taken")
    if any(mine.path == disk.path or mine.uuid == disk.uuid for mine in seen.disks or ()):
        raise Refused(f"{vm} lists {disk.path} already; look again")


def _called(node: Node, seen: VmFacts) -> str:
    return f"{node.minion} (VM {seen.name})" if seen.name and seen.name != node.minion else node.minion


def _named(disks: Sequence[Disk]) -> str:
    return ", ".join(disk.path for disk in disks) or "no disk"
