"""
Whether a VM has the place for a resource's disks: the recorded bus and unit on the recorded kind of controller. Pure.
"""

from __future__ import annotations

from vmdk_failover.model import Disk, Resource, VmFacts


def is_taken(vm: VmFacts, disk: Disk) -> bool:
    """Whether the VM lists a disk at its recorded bus and unit."""
    return any(d.path == disk.path and (d.bus, d.unit) == (disk.bus, disk.unit) for d in vm.disks or ())


def misfit(resource: Resource, vm: VmFacts, listed: tuple[Disk, ...]) -> tuple[str, ...]:
    """Why a VM has no place for disks that it does not list: missing or other controllers, taken slots. Empty if it has."""
    found = []
    controllers = None if vm.controllers is None else dict(vm.controllers)
    for disk in resource.disks:
        if disk in listed:
            continue
        if controllers is None or vm.slots is None:
            return ("vCenter does not show its SCSI controllers",)
        kind = controllers.get(disk.bus)
        if kind is None:
            found.append(f"its VM has no SCSI controller {disk.bus} (add a {disk.controller} one)")
        elif kind != disk.controller:
            found.append(f"its SCSI controller {disk.bus} is {kind}, recorded is {disk.controller}")
        elif (disk.bus, disk.unit) in vm.slots:
            found.append(f"its SCSI slot {disk.bus}:{disk.unit} is taken by another disk")
    return tuple(dict.fromkeys(found))
