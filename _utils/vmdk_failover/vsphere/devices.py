"""
VMs' device lists as the product's values, and reconfigure specs from them. Pure: nothing here talks to
vCenter.

The detach spec has no file operation, and no function here takes one: a disk's file is never deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pyVmomi import vim

from vmdk_failover.model import Disk, DiskFacts

_D = vim.vm.device

#: ``DiskFacts.bus`` of a disk that hangs on no SCSI controller (SATA, NVMe, IDE): never a recorded slot.
NOT_SCSI = -1

_TYPES: tuple[tuple[Any, str], ...] = (
    (_D.ParaVirtualSCSIController, "pvscsi"),
    (_D.VirtualLsiLogicSASController, "lsisas"),
    (_D.VirtualLsiLogicController, "lsilogic"),
    (_D.VirtualBusLogicController, "buslogic"),
)


def normal_uuid(text: str | None) -> str:
    """A disk's UUID in the product's form: lower case hex digits, no dashes or blanks."""
    return "".join(char for char in (text or "").lower() if char not in "- ")


def controller_keys(devices: Iterable[Any]) -> dict[int, int]:
    """SCSI bus number → device key of its controller."""
    return {one.busNumber: one.key for one in _scsi(devices)}


def controllers(devices: Iterable[Any]) -> tuple[tuple[int, str], ...]:
    """(bus, type) of the SCSI controllers, by bus; the type of a kind we do not know is its class name."""
    return tuple(sorted((one.busNumber, _type_of(one)) for one in _scsi(devices)))


def slots(devices: Sequence[Any]) -> frozenset[tuple[int, int]]:
    """
    (bus, unit) pairs taken on the SCSI controllers, by whatever device, the controllers' own units
    included.
    """
    scsi = {one.key: one for one in _scsi(devices)}
    taken = {
        (scsi[one.controllerKey].busNumber, one.unitNumber)
        for one in devices
        if one.controllerKey in scsi and one.unitNumber is not None
    }
    own = {(one.busNumber, _own_unit(one)) for one in scsi.values()}
    return frozenset(taken | own)


def disks(devices: Sequence[Any]) -> tuple[DiskFacts, ...]:
    """All virtual disks, in the order of the list."""
    buses = {one.key: one.busNumber for one in _scsi(devices)}
    return tuple(_disk(one, buses) for one in _disks(devices))


def on_older_files(devices: Iterable[Any]) -> set[int]:
    """Keys of the disks whose file lies on top of another: a snapshot made it so."""
    return {one.key for one in _disks(devices) if getattr(one.backing, "parent", None) is not None}


def independent(devices: Iterable[Any]) -> set[int]:
    """Keys of the disks that no snapshot touches."""
    return {
        one.key
        for one in _disks(devices)
        if str(getattr(one.backing, "diskMode", "")).startswith("independent")
    }


def recorded(facts: DiskFacts, kinds: Mapping[int, str]) -> Disk:
    """The disk as ``protect`` records it; ``kinds`` are the VM's controller types by bus."""
    return Disk(
        path=facts.path,
        uuid=facts.uuid,
        bus=facts.bus,
        unit=facts.unit,
        controller=kinds.get(facts.bus, ""),
        mode=facts.mode,
        sharing=facts.sharing,
    )


def detach_spec(listed: Sequence[DiskFacts], change_version: str) -> Any:
    """Take these disks out of the VM, keeping their files, if it is still at ``change_version``."""
    return vim.vm.ConfigSpec(changeVersion=change_version, deviceChange=[_removal(one) for one in listed])


def attach_spec(wanted: Sequence[Disk], keys: Mapping[int, int], change_version: str) -> Any:
    """
    Add these disks, existing files, at their bus and unit, if the VM is still at ``change_version``.

    :param keys: device key of the controller by bus; :raises KeyError: a disk's bus is not among them.
    """
    changes = [_addition(one, keys[one.bus], -1 - nth) for nth, one in enumerate(wanted)]
    return vim.vm.ConfigSpec(changeVersion=change_version, deviceChange=changes)


def _removal(listed: DiskFacts) -> Any:
    # the key alone says which; a server that compares the backing as well can only refuse a mistake
    backing = _D.VirtualDisk.FlatVer2BackingInfo(fileName=listed.path, diskMode=listed.mode)
    return _D.VirtualDeviceSpec(operation="remove", device=_D.VirtualDisk(key=listed.key, backing=backing))


def _addition(wanted: Disk, controller: int, key: int) -> Any:
    # no uuid here: in a spec it would be written into the file
    backing = _D.VirtualDisk.FlatVer2BackingInfo(
        fileName=wanted.path, diskMode=wanted.mode, sharing=wanted.sharing
    )
    disk = _D.VirtualDisk(key=key, controllerKey=controller, unitNumber=wanted.unit, backing=backing)
    return _D.VirtualDeviceSpec(operation="add", device=disk)


def _disks(devices: Iterable[Any]) -> list[Any]:
    return [one for one in devices if isinstance(one, _D.VirtualDisk)]


def _scsi(devices: Iterable[Any]) -> list[Any]:
    return [one for one in devices if isinstance(one, _D.VirtualSCSIController)]


def _type_of(controller: Any) -> str:
    for kind, name in _TYPES:
        if isinstance(controller, kind):
            return name
    return type(controller).__name__.rsplit(".", 1)[-1]


def _own_unit(controller: Any) -> int:
    return 7 if controller.scsiCtlrUnitNumber is None else int(controller.scsiCtlrUnitNumber)


def _uuid(backing: Any) -> str:
    """Of a disk's file; of the nearest one below it, where a snapshot's delta tells none of its own."""
    while backing is not None:
        if own := normal_uuid(getattr(backing, "uuid", None)):
            return own
        backing = getattr(backing, "parent", None)
    return ""


def _disk(device: Any, buses: Mapping[int, int]) -> DiskFacts:
    backing = device.backing
    return DiskFacts(
        path=getattr(backing, "fileName", None) or "",
        uuid=_uuid(backing),
        bus=buses.get(device.controllerKey, NOT_SCSI),
        unit=NOT_SCSI if device.unitNumber is None else device.unitNumber,
        key=device.key,
        mode=getattr(backing, "diskMode", None) or "persistent",
        sharing=getattr(backing, "sharing", None) or "sharingNone",
    )
