"""
What ``protect`` asks of a node: which file system is mounted at a place, on which VMDKs, and what is in the way there.

The disk is expected to be healthy now; what may touch it is done in a disposable child all the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vmdk_failover.errors import CannotObserve, Refused
from vmdk_failover.guest import children, devices, facts, lvm, mapped, mounts, superblock, trees
from vmdk_failover.guest.mounts import Line
from vmdk_failover.guest.places import HERE, Places, names, read
from vmdk_failover.judgement.config import normal_disk_uuid
from vmdk_failover.model import Mount, VolumeGroup

#: Seconds for reading two blocks of the disk, and for LVM's look at its disks.
READ_S = 3.0
#: Options that mountinfo shows by itself, or that belong to this one mount and not to the file system's use.
_OWN = frozenset({"rw", "ro", "relatime", "seclabel", "attr2", "inode64", "noquota"})
#: Options with a value that somebody chose, and that mount(8) takes as the kernel shows them.
_CHOSEN = frozenset({"errors", "data", "commit", "compress", "compress-force", "allocsize"})
#: Those that the kernel finds out by itself; ``subvol`` is recorded by what the mount shows.
_FOUND = frozenset(
    {"subvol", "subvolid", "space_cache", "discard", "logbufs", "logbsize", "sunit", "swidth", "stripe"}
)


@dataclass(frozen=True)
class Survey:
    """
    A node as ``protect`` sees it.

    :param mounted: something is mounted at ``mountpoint``.
    :param disk_uuids: the VMDKs below it, with LVM all of its volume group; empty if they show no UUID (disk.EnableUUID).
    :param lvm: the volume groups below it, as the configuration has them.
    :param all_disk_uuids: every VMDK that this node sees.
    :param tools: programs of this node that a resource could need.
    :param unready: what would keep this node from taking the file system, one phrase each.
    :param elsewhere: further places where the same file system, or a part of it, is mounted.
    :param unrecorded: options of the mount that ``options`` leaves out although somebody may have chosen them.
    :param shown: all options that the kernel shows of it.
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
    lvm: tuple[dict[str, str], ...] = ()
    tools: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    unrecorded: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()


def survey(mountpoint: str, places: Places = HERE, tools: lvm.Tools = lvm.TOOLS) -> Survey:
    """
    Look at ``mountpoint``.

    :param mountpoint: absolute path; ``""`` looks at the disks alone.
    :raises Refused: if what is mounted there cannot be protected, or is mounted behind a symbolic link.
    :raises CannotObserve: if its disk cannot be read within a few seconds.
    """
    every = tuple(sorted(set(_identities(places).values())))
    lines = mounts.of_process(places=places)
    line = mounts.visible(lines, mountpoint) if mountpoint else None
    if line is None:
        _not_behind_a_link(lines, mountpoint)
        return Survey(
            mountpoint,
            False,
            all_disk_uuids=every,
            unready=tuple(_in_the_way(mountpoint, places)),
            tools=tuple(facts.installed_tools()),
        )
    tree = trees.option(line)
    below = _below(line, places)
    groups = _groups(below, tools, places)
    parts = [part for group in groups for part in group.parts]
    uuids = _uuids_below([*below, *parts], places)
    fs_uuid = _fs_uuid(str(places.dev / below[0]), line)
    options, unrecorded = _options(line, tree)
    found = Mount(mountpoint, fs_uuid, line.fstype)
    vgs = [VolumeGroup(group.name, group.uuid) for group in groups]
    unready = (*facts.missing_tools([found], vgs), *facts.fstab_lines([found], places, vgs))
    recorded = tuple({"vg": group.name, "uuid": group.uuid} for group in groups)
    return Survey(
        mountpoint,
        True,
        below[0],
        line.fstype,
        fs_uuid,
        options,
        uuids,
        every,
        unready,
        recorded,
        elsewhere=tuple(
            sorted({x.mountpoint for x in lines if x.number == line.number and x.mountpoint != mountpoint})
        ),
        unrecorded=unrecorded,
        shown=tuple(sorted(line.options)),
    )


def _not_behind_a_link(lines: Sequence[Line], mountpoint: str) -> None:
    """The kernel's table has the real path: under that it has to be known on all nodes."""
    real = os.path.realpath(mountpoint) if mountpoint else ""
    if real != mountpoint and mounts.visible(lines, real) is not None:
        raise Refused(
            f"{mountpoint} is, or lies below, a symbolic link, and the file system is mounted at {real}: use that path",
            "not_mounted",
        )


def _options(line: Line, tree: str) -> tuple[str, tuple[str, ...]]:
    """Options to mount it with on another node, and those that are left out although they may matter."""
    flags = sorted(one for one in line.options if one not in _OWN and "=" not in one)
    valued = sorted(one for one in line.options if "=" in one)
    chosen = [one for one in valued if one.partition("=")[0] in _CHOSEN]
    left = [one for one in valued if one.partition("=")[0] not in _CHOSEN | _FOUND]
    return ",".join([*flags, *chosen, *([tree] if tree else [])]) or "defaults", tuple(left)


def _below(line: Line, places: Places) -> list[str]:
    """Kernel names of the devices that a file system is on: one, or with btrfs several."""
    if line.fstype == "btrfs":
        source = os.path.basename(os.path.realpath(line.source))
        for uuid in names(places.sys / "fs/btrfs"):
            members = names(places.sys / "fs/btrfs" / uuid / "devices")
            if source in members:
                return [source, *(one for one in members if one != source)]
    if not (places.sys / "dev/block" / line.number).exists():
        raise Refused(
            f"{line.source} at {line.mountpoint} is a {line.fstype} and no file system on a disk",
            "not_a_disk",
        )
    return [os.path.basename(os.path.realpath(places.sys / "dev/block" / line.number))]


def _groups(below: list[str], tools: lvm.Tools, places: Places) -> list[lvm.Group]:
    """The volume groups that the devices are of, with all their physical volumes."""
    found = [one for name in below if (one := mapped.volume(name, places))]
    if not found:
        return []
    wanted = sorted({one.group_uuid for one in found})
    return [lvm.group(uuid, lambda argv: children.command(argv, READ_S), tools) for uuid in wanted]


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


def _uuids_below(below: Iterable[str], places: Places) -> tuple[str, ...]:
    """UUIDs of the VMDKs that devices lie on; none if one of them shows none."""
    identities = _identities(places)
    disks = {disk for name in below for disk in devices.bottom(name, places)}
    if any(disk not in identities for disk in disks):
        return ()
    return tuple(sorted(identities[disk] for disk in disks))


def _fs_uuid(path: str, line: Line) -> str:
    read_it = children.call(lambda: superblock.of_device(path), READ_S)
    if read_it.error:
        raise CannotObserve(f"the superblock of {path} ({line.mountpoint}) cannot be read: {read_it.error}")
    kind, uuid, _ = read_it.value or ("", "", "")
    return str(uuid) if kind and superblock.same_kind(str(kind), line.fstype) else ""
