"""
Finding a node's VM for ``protect``: by its SMBIOS UUID *and* by a disk that its guest sees.

The SMBIOS UUID alone is not proof: clones share it, and firmware shows it in two byte orders. Names are never
looked at. What is recorded, and used from then on, is the instance UUID.
"""

from __future__ import annotations

import uuid as uuids
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim, vmodl

from vmdk_failover.errors import CannotObserve, Refused
from vmdk_failover.model import Disk
from vmdk_failover.vsphere import devices
from vmdk_failover.vsphere.properties import Read, filter_spec, retrieve
from vmdk_failover.vsphere.session import Login, Session

_PATHS = ("name", "config.instanceUuid", "config.hardware.device")


@dataclass(frozen=True)
class FoundVm:
    """
    A VM as ``protect`` records it.

    :param ref: managed object id, good for this vCenter only.
    :param instance_uuid: lower case, with dashes.
    :param disks: all its virtual disks; ``bus`` is -1 for a disk on no SCSI controller.
    """

    ref: str
    name: str
    instance_uuid: str
    disks: tuple[Disk, ...]

    def disk(self, disk_uuid: str) -> Disk:
        """The disk with this UUID, in any spelling; :raises Refused: the VM has none or several."""
        wanted = devices.normal_uuid(disk_uuid)
        found = [disk for disk in self.disks if disk.uuid == wanted]
        if len(found) != 1:
            raise Refused(
                f"VM {self.name} lists {len(found)} disks with UUID {wanted}, not one; check its settings",
                "disk",
            )
        return found[0]


def smbios_forms(text: str) -> tuple[str, ...]:
    """
    Both spellings of an SMBIOS UUID, as vCenter writes them: as given, and with the first three fields' bytes
    swapped.

    :raises Refused: it is no UUID, or one that firmware uses for "none".
    """
    try:
        given = uuids.UUID(text.strip())
    except ValueError as err:
        raise Refused(f"{text!r} is no SMBIOS UUID; look at the node's product_uuid", "vm_uuid") from err
    if given.int in (0, 2**128 - 1):
        raise Refused("the node's SMBIOS UUID is empty; give its VM a uuid.bios", "vm_uuid")
    return tuple(dict.fromkeys((str(given), str(uuids.UUID(bytes=given.bytes_le)))))


def find_vm(session: Session, smbios_uuid: str, disk_uuids: Sequence[str]) -> FoundVm:
    """
    Find the VM with this SMBIOS UUID that lists all of these disks.

    :param smbios_uuid: as the guest shows it, in either byte order and case.
    :param disk_uuids: UUIDs of disks that the guest sees, at least one.
    :raises Refused: there is not exactly one such VM.
    :raises CannotObserve: vCenter cannot be read.
    """
    wanted = {devices.normal_uuid(one) for one in disk_uuids}
    if not wanted or "" in wanted:
        raise Refused(
            "no UUID of a disk is known; set disk.EnableUUID on the VM and restart it", "enable_uuid"
        )
    forms = smbios_forms(smbios_uuid)

    def ask(login: Login) -> list[FoundVm]:
        refs = list(dict.fromkeys(ref for form in forms for ref in _search(login, form)))
        return [_found(read) for read in _details(login, refs)]

    try:
        return _the_one(session.read(ask), forms[0], wanted)
    except vmodl.fault.ManagedObjectNotFound as err:
        raise CannotObserve(
            f"the VM with SMBIOS UUID {forms[0]} went away while it was looked at; try again"
        ) from err


def _search(login: Login, form: str) -> list[str]:
    found = login.content.searchIndex.FindAllByUuid(None, form, True, False)
    return [vm._GetMoId() for vm in found or () if isinstance(vm, vim.VirtualMachine)]


def _details(login: Login, refs: Iterable[str]) -> list[Read]:
    vms = [login.vm(ref) for ref in refs]
    if not vms:
        return []
    return list(retrieve(login, filter_spec(vms, {vim.VirtualMachine: _PATHS})).values())


def _found(read: Read) -> FoundVm:
    hardware: Sequence[Any] | None = read.get("config.hardware.device")
    instance = str(read.get("config.instanceUuid") or "").lower()
    if hardware is None or not instance:
        raise CannotObserve(
            f"the devices of VM {read.get('name') or read.ref} cannot be read; check its host and our rights"
        )
    kinds = dict(devices.controllers(hardware))
    disks = tuple(devices.recorded(disk, kinds) for disk in devices.disks(hardware))
    return FoundVm(read.ref, read.get("name") or "", instance, disks)


def _the_one(found: list[FoundVm], form: str, wanted: set[str]) -> FoundVm:
    if not found:
        raise Refused(
            f"vCenter shows no VM with SMBIOS UUID {form}; check that the account may see it", "vm_not_found"
        )
    if len(found) > 1:
        names = ", ".join(sorted(vm.name for vm in found))
        raise Refused(
            f"the VMs {names} have the same SMBIOS UUID {form}; give the clones a uuid.bios of their own",
            "vm_duplicate",
        )
    lacking = wanted - {disk.uuid for disk in found[0].disks}
    if lacking:
        raise Refused(
            f"VM {found[0].name} has the node's SMBIOS UUID not the node's disk {', '.join(sorted(lacking))}; "
            "it is another VM, or the disk is no VMDK",
            "vm_mismatch",
        )
    return found[0]
