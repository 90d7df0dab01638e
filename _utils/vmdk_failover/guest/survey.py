"""
What ``protect`` asks of a node: which file system is mounted at a place, on which VMDKs, and what is in the way there.

The disk is expected to be healthy now; what may touch it is done in a disposable child all the same.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from vmdk_failover.config import normal_disk_uuid
from vmdk_failover.errors import CannotObserve, Refused
from vmdk_failover.guest import children, facts, mounts, superblock
from vmdk_failover.guest.mounts import Line
from vmdk_failover.guest.places import HERE, Places, names, read
from vmdk_failover.model import Mount

#: Seconds for reading two blocks of the disk.
READ_S = 3.0
#: Options that mountinfo shows by itself, or that belong to this one mount and not to the file system's use.
_OWN = frozenset({"rw", "ro", "relatime", "seclabel", "attr2", "inode64", "noquota"})


@dataclass(frozen=True)
class Survey:
    """
    A node as ``protect`` sees it.

    :param mounted: something is mounted at ``mountpoint``.
    :param disk_uuids: the VMDKs below it; empty if they show no UUID (disk.EnableUUID).
    :param all_disk_uuids: every VMDK that this node sees.
    :param unready: what would keep this node from taking the file system, one phrase each.
    """

    mountpoint: str
    mounted: bool
    device: str = ""
    fstype: str = ""
    fs_uuid: str = ""
    options: str = "defaults"
    disk_uuids: tuple[str, ...] = ()
    all_disk_uuids: tuple[str, ...] = ()
    unready: tuple[str, ...] = ()


def survey(mountpoint: str, places: Places = HERE) -> Survey:
    """
    Look at ``mountpoint``.

    :param mountpoint: absolute path; ``""`` looks at the disks alone.
    :raises Refused: if what is mounted there cannot be protected.
    :raises CannotObserve: if its disk cannot be read within a few seconds.
    """
    every = tuple(sorted(set(_identities(places).values())))
    line = mounts.visible(mounts.of_process(places=places), mountpoint) if mountpoint else None
    if line is None:
        return Survey(mountpoint, False, all_disk_uuids=every, unready=tuple(_in_the_way(mountpoint, places)))
    name = os.path.basename(os.path.realpath(places.sys / "dev/block" / line.number))
    if not (places.sys / "dev/block" / line.number).exists():
        raise Refused(
            f"{line.source} at {mountpoint} is a {line.fstype} and no file system on a disk", "not_a_disk"
        )
    uuids = _uuids_below(name, places)
    fs_uuid = _fs_uuid(str(places.dev / name), line)
    options = ",".join(sorted(o for o in line.options if o not in _OWN and "=" not in o)) or "defaults"
    found = Mount(mountpoint, fs_uuid, line.fstype)
    unready = (*facts.missing_tools([found]), *facts.fstab_lines([found], places))
    return Survey(mountpoint, True, name, line.fstype, fs_uuid, options, uuids, every, unready)


def _in_the_way(mountpoint: str, places: Places) -> list[str]:
    if not mountpoint:
        return []
    there = Mount(mountpoint, "", "")
    return [*facts.mountpoint_faults(mountpoint), *facts.fstab_lines([there], places)]


def _identities(places: Places) -> dict[str, str]:
    """Kernel name → UUID of every VMDK that this node sees, by udev's links and by the disks' own word."""
    found = {}
    for link in names(places.by_id):
        kind, _, rest = link.partition("-")
        text = rest.removeprefix("0x") if kind == "wwn" else rest[1:] if rest.startswith("3") else ""
        uuid = normal_disk_uuid(text)
        if len(uuid) == 32:
            found[os.path.basename(os.path.realpath(places.by_id / link))] = uuid
    for name in names(places.sys / "block"):
        word = read(places.block(name) / "device/wwid") or ""
        if word.startswith("naa.") and len(normal_disk_uuid(word[4:])) == 32:
            found[name] = normal_disk_uuid(word[4:])
    return found


def _uuids_below(name: str, places: Places) -> tuple[str, ...]:
    """UUIDs of the VMDKs that a device lies on: itself, the disk of a partition, what a mapping is made of."""
    identities, todo, disks, seen = _identities(places), [name], [], set()
    while todo:
        one = todo.pop()
        if one in seen:
            continue
        seen.add(one)
        below = names(places.block(one) / "slaves")
        if (places.block(one) / "partition").exists():
            below.append(os.path.basename(os.path.dirname(os.path.realpath(places.block(one)))))
        todo += below
        if not below:
            disks.append(one)
    if any(disk not in identities for disk in disks):
        return ()
    return tuple(sorted(identities[disk] for disk in disks))


def _fs_uuid(path: str, line: Line) -> str:
    read_it = children.call(lambda: superblock.of_device(path), READ_S)
    if read_it.error:
        raise CannotObserve(f"the superblock of {path} ({line.mountpoint}) cannot be read: {read_it.error}")
    kind, uuid = read_it.value or ("", "")
    return str(uuid) if kind and superblock.same_kind(str(kind), line.fstype) else ""
