"""
A resource's disks in the guest: found by UUID, never by name, and without touching them.

udev's links ``wwn-0x<uuid>`` and ``scsi-3<uuid>`` come first; where there are none, sysfs' ``wwid`` says the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vmdk_failover.guest import mapped
from vmdk_failover.guest.mounts import Line, superblock_alive, visible
from vmdk_failover.guest.places import HERE, Places, names, read
from vmdk_failover.model import Disk, Resource

_LINKS = ("wwn-0x{}", "scsi-3{}", "scsi-0VMware_Virtual_disk_{}", "scsi-SVMware_Virtual_disk_{}")
#: Links whose name the disk itself has given; what is on it (``lvm-pv-uuid-``) says nothing of which disk it is.
_BY_THE_DISK = ("wwn-", "scsi-", "ata-", "usb-")


@dataclass(frozen=True)
class Device:
    """
    A disk that this node sees.

    :param name: kernel name of the disk, such as ``sdb``.
    :param number: ``major:minor`` of the disk.
    :param stack: kernel name → ``major:minor`` of the disk, its partitions and what is stacked on them.
    """

    disk: Disk
    name: str
    number: str
    stack: tuple[tuple[str, str], ...]


def find(disk: Disk, places: Places = HERE) -> Device | None:
    """Find a disk by its UUID; ``None`` if this node does not see it."""
    name = _by_link(disk.uuid, places) or _by_wwid(disk.uuid, places)
    number = read(places.block(name) / "dev") if name else None
    if not name or not number:
        return None
    return Device(disk, name, number, _stack(name, number, places))


def _by_link(uuid: str, places: Places) -> str:
    for pattern in _LINKS:
        try:
            name = os.path.basename(os.readlink(places.by_id / pattern.format(uuid)))
        except OSError:
            continue
        if _wwid(name, places) in ("", uuid) and _is_there(name, places):
            return name
    return ""


def _is_there(name: str, places: Places) -> bool:
    """A loop device stays in sysfs when its file is taken away; it is then no disk any more."""
    directory = places.block(name)
    return directory.exists() and ((directory / "loop").exists() or not name.startswith("loop"))


def _wwid(name: str, places: Places) -> str:
    """The disk's own word on its identity; empty if it gives none. The kernel has it cached."""
    word = read(places.block(name) / "device/wwid") or ""
    return word[4:].lower() if word.startswith("naa.") else ""


def _by_wwid(uuid: str, places: Places) -> str:
    disks = (name for name in names(places.sys / "block") if name.startswith("sd"))
    return next((name for name in disks if _wwid(name, places) == uuid), "")


def _stack(name: str, number: str, places: Places) -> tuple[tuple[str, str], ...]:
    found, todo = {name: number}, [name]
    while todo:
        directory = places.block(todo.pop())
        for above in (*_partitions(directory), *names(directory / "holders")):
            if above not in found:
                found[above] = read(places.block(above) / "dev") or ""
                todo.append(above)
    return tuple(found.items())


def _partitions(directory: Path) -> list[str]:
    own = [name for name in names(directory) if name.startswith(directory.name)]
    return [name for name in own if (directory / name / "partition").exists()]


def holders(device: Device, places: Places = HERE) -> tuple[str, ...]:
    """Kernel names of what is stacked on the disk or its partitions (dm, md, bcache)."""
    return tuple(above for name, _ in device.stack for above in names(places.block(name) / "holders"))


def all_disks_identified(places: Places = HERE) -> bool:
    """Whether every SCSI disk of this node says who it is, so that a UUID nobody shows is a disk that is not there."""
    told = (link for link in names(places.by_id) if link.startswith(_BY_THE_DISK))
    linked = {os.path.basename(os.path.realpath(places.by_id / link)) for link in told}
    disks = (name for name in names(places.sys / "block") if name.startswith("sd"))
    return all(name in linked or read(places.block(name) / "device/wwid") for name in disks)


@dataclass(frozen=True)
class Holding:
    """
    What of a resource is in this kernel.

    :param devices: one entry per disk of the resource, ``None`` where this node does not see it.
    :param remembered: kernel name → ``major:minor`` of devices that it was mounted from since boot, and of volumes of its
        volume groups, should their disks have vanished.
    :param mappings: names in /dev/mapper of its volumes.
    """

    resource: Resource
    devices: tuple[Device | None, ...]
    remembered: tuple[tuple[str, str], ...] = ()
    mappings: frozenset[str] = frozenset()

    @property
    def complete(self) -> bool:
        """Every disk of the resource is visible."""
        return all(device is not None for device in self.devices)

    @property
    def found(self) -> tuple[Device, ...]:
        """The disks that are visible."""
        return tuple(device for device in self.devices if device is not None)

    @property
    def missing(self) -> str:
        """UUID of a disk that is not visible, empty if all are."""
        pairs = zip(self.resource.disks, self.devices, strict=True)
        return next((disk.uuid for disk, device in pairs if device is None), "")

    @property
    def blocks(self) -> dict[str, str]:
        """Kernel name → ``major:minor`` of everything that belongs to the resource or did so when it was mounted."""
        return {**dict(self.remembered), **{n: m for device in self.found for n, m in device.stack}}

    @property
    def of_a_new_mount(self) -> dict[str, str]:
        """What a new mount lies on: a name that an earlier one had may be somebody else's by now."""
        return {n: m for one in self.found for n, m in one.stack} if self.complete else self.blocks

    def is_ours(self, line: Line) -> bool:
        """Whether a mount is of the resource's disks. btrfs shows a number of its own, but names its device."""
        blocks = self.blocks
        if line.number in blocks.values():
            return True
        source = os.path.basename(line.source)
        return line.number.startswith("0:") and (source in blocks or source in self.mappings)

    def superblocks(self, places: Places = HERE) -> tuple[str, ...]:
        """Kernel names of its devices whose file system is alive in the kernel."""
        return tuple(name for name in self.blocks if superblock_alive(name, places))


def holding(resource: Resource, places: Places = HERE, remembered: Iterable[tuple[str, str]] = ()) -> Holding:
    """
    Look for a resource's disks.

    :param remembered: devices of an earlier mount of this boot; a name that another disk has by now is left out.
    """
    devices = tuple(find(disk, places) for disk in resource.disks)
    still = [(name, number) for name, number in remembered if _may_be_of(name, number, resource, places)]
    still += [(one.name, one.number) for one in mapped.of_groups(resource.vgs, places)]
    stacked = [name for device in devices if device is not None for name, _ in device.stack]
    volumes = (mapped.volume(name, places) for name in {*dict(still), *stacked} if name.startswith("dm-"))
    return Holding(resource, devices, tuple(still), frozenset(one.mapping for one in volumes if one))


def _may_be_of(name: str, number: str, resource: Resource, places: Places) -> bool:
    """Whether a device may still be the resource's: nothing that lies below it says that it is another disk's."""
    if read(places.block(name) / "dev") not in (None, number):
        return False
    uuids = {disk.uuid for disk in resource.disks}
    return all(_wwid(disk, places) in ("", *uuids) for disk in bottom(name, places))


def bottom(name: str, places: Places) -> tuple[str, ...]:
    """The disks that a device lies on: itself, the disk of a partition, what a mapping is made of."""
    found, todo = {name}, [name]
    disks = []
    while todo:
        directory = places.block(todo.pop())
        below = names(directory / "slaves")
        if (directory / "partition").exists():
            below.append(Path(os.path.realpath(directory)).parent.name)
        todo += [one for one in below if one not in found]
        found.update(below)
        if not below:
            disks.append(directory.name)
    return tuple(disks)


def orphans(holding: Holding, lines: Sequence[Line], places: Places = HERE) -> tuple[tuple[str, str], ...]:
    """
    Devices mounted on the resource's mount points that may be its disks although those are not found by their UUID.

    :return: kernel name and ``major:minor``; empty while every disk is found.
    """
    if holding.complete:
        return ()
    seen = ((mount, visible(lines, mount.mountpoint)) for mount in holding.resource.mounts)
    pairs = ((os.path.basename(x.source), x.number) for mount, x in seen if x and x.fstype == mount.fstype)
    return tuple(pair for pair in pairs if _may_be_of(*pair, holding.resource, places))
