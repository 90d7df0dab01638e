"""
LVM's volumes in this kernel, from sysfs alone: a mapping's uuid is ``LVM-`` and the UUIDs of its volume group and volume,
so which group is active here is known without running anything, also while its disks hang or have vanished.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from vmdk_failover.guest.places import Places, names, read
from vmdk_failover.resource import VolumeGroup

_UUID = re.compile(r"LVM-(\w{32})\w{32}(?:-(\w+))?\Z")
#: ``group-volume`` in /dev/mapper, where a dash within a name is doubled.
_GROUP = re.compile(r"((?:[^-]|--)+)-(?!-)")


@dataclass(frozen=True)
class Volume:
    """
    A mapping of LVM.

    :param name: kernel name, such as ``dm-0``.
    :param mapping: its name in /dev/mapper.
    :param uuid: the mapping's uuid.
    :param group_uuid: UUID of its volume group without dashes.
    :param layer: what it is below a volume (``cow``, ``real``, ``tdata`` …), empty for a volume itself.
    """

    name: str
    number: str
    mapping: str
    uuid: str
    group_uuid: str
    layer: str = ""

    @property
    def group(self) -> str:
        """Name of its volume group."""
        found = _GROUP.match(self.mapping)
        return (found[1] if found else self.mapping).replace("--", "-")


def volume(name: str, places: Places) -> Volume | None:
    """What a block device is as a volume; ``None`` if it is none of LVM's."""
    directory = places.block(name)
    uuid = read(directory / "dm/uuid") or ""
    found = _UUID.match(uuid)
    if not found:
        return None
    number, mapping = read(directory / "dev") or "", read(directory / "dm/name") or ""
    return Volume(name, number, mapping, uuid, found[1], found[2] or "")


def volumes(places: Places) -> tuple[Volume, ...]:
    """Every volume that is active in this kernel."""
    mappings = (name for name in names(places.sys / "class/block") if name.startswith("dm-"))
    return tuple(one for one in (volume(name, places) for name in mappings) if one)


def plain(uuid: str) -> str:
    """A volume group's UUID without dashes, as the kernel has it; LVM's upper and lower case differ."""
    return uuid.replace("-", "")


def is_of(one: Volume, group: VolumeGroup) -> bool:
    """Whether a volume belongs to a group: by UUID if that is recorded, else by name."""
    return one.group_uuid == plain(group.uuid) if group.uuid else one.group == group.name


def of_groups(groups: Iterable[VolumeGroup], places: Places) -> tuple[Volume, ...]:
    """Active volumes of the groups that are recorded with their UUID, whatever disks they are on."""
    known = [group for group in groups if group.uuid]
    return tuple(one for one in volumes(places) if any(is_of(one, group) for group in known)) if known else ()


def namesakes(groups: Iterable[VolumeGroup], places: Places) -> list[str]:
    """Active volume groups of this node that have the name of one of ``groups`` and another UUID, a phrase each."""
    active = {(one.group, one.group_uuid): one for one in volumes(places)}
    return [
        f"another volume group named {group.name} is active on this node ({one.name}); rename it with vgrename"
        for group in groups
        for (name, uuid), one in active.items()
        if group.uuid and name == group.name and uuid != plain(group.uuid)
    ]
