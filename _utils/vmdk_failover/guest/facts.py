"""What a node can say of a resource without touching a disk: /proc, /sys and the names of links."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vmdk_failover.errors import CannotObserve
from vmdk_failover.guest import devices, mapped, memory, mounts, namespace, trees, users
from vmdk_failover.guest.devices import Holding
from vmdk_failover.guest.memory import Memory
from vmdk_failover.guest.mounts import Line, unescape
from vmdk_failover.guest.places import HERE, Places, boot_clock, read
from vmdk_failover.model import Condition, Mount, MountState, NodeFacts, Resource, VolumeGroup

_TOOLS = {"ext4": "fsck.ext4", "ext3": "fsck.ext3", "xfs": "xfs_repair", "btrfs": "btrfs"}
_LVM_TOOLS = frozenset({"lvm", "dmsetup"})
_TOOL_DIRS = ("/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/local/bin")


def node_facts(
    resource: Resource,
    *,
    minion: str,
    state_dir: Path,
    prober: Mapping[str, Any] | None,
    places: Places = HERE,
    uptime: Callable[[], float] = boot_clock,
    services: bool | None = None,
    version: str = "",
    smbios: str = "",
) -> NodeFacts:
    """
    Look at this node. Never blocks and opens no device.

    :param prober: the prober's fresh report on the resource, ``None`` if there is none (see ``latest``).
    :param uptime: seconds since boot, by the clock that permits count on.
    :param services: every service of the resource runs; passed through, as is the machine's ``smbios`` UUID.
    """
    boot_id = read(places.boot_id) or ""
    remembered, trouble = _remembered(state_dir, resource, boot_id)
    holding = devices.holding(resource, places, remembered.blocks)
    lines = mounts.of_process(places=places)
    mounted = mount_state(holding, lines, remembered, places)
    alive = bool(holding.superblocks(places)) or mounted in (MountState.MOUNTED, MountState.PARTLY)
    condition, evidence = _condition(prober, mounted, holding)
    kept = not holding.found or _is_kept(remembered)
    return NodeFacts(
        minion=minion,
        boot_id=boot_id,
        uptime=uptime(),
        epoch=remembered.epoch,
        device=holding.complete,
        mounted=mounted,
        superblock=alive,
        busy=_busy(holding, mounted, places),
        condition=condition,
        evidence=evidence,
        released=remembered.released if mounted is MountState.UNMOUNTED and not alive and kept else None,
        unready=(*trouble, *_unready(holding, lines, mounted, places)),
        services=services,
        version=version,
        smbios=smbios,
    )


def _remembered(state_dir: Path, resource: Resource, boot_id: str) -> tuple[Memory, tuple[str, ...]]:
    try:
        return memory.load(state_dir, resource.name, boot_id), ()
    except CannotObserve as err:
        return Memory(boot_id=boot_id), (err.reason,)


def mount_state(
    holding: Holding, lines: Sequence[Line], remembered: Memory, places: Places = HERE
) -> MountState:
    """State of all the resource's mount points together."""
    states = {
        _one_state(holding, mounts.visible(lines, m.mountpoint), m, remembered, places)
        for m in holding.resource.mounts
    }
    for decisive in (MountState.FOREIGN, MountState.UNKNOWN):
        if decisive in states:
            return decisive
    return states.pop() if len(states) == 1 else MountState.PARTLY


def _one_state(
    holding: Holding, line: Line | None, mount: Mount, remembered: Memory, places: Places
) -> MountState:
    if line is None:
        return MountState.UNMOUNTED
    known = dict(remembered.uuids).get(line.number)
    if holding.is_ours(line):
        is_it = known in (None, mount.fs_uuid) and not trees.strange(mount, line)
        return MountState.MOUNTED if is_it else MountState.FOREIGN
    # a disk that is not seen under its UUID: a mount whose device has vanished is its remains
    if not devices.orphans(holding, (line,), places):
        return MountState.FOREIGN
    return MountState.MOUNTED if mounts.is_vanished(line, places) else MountState.UNKNOWN


def _condition(
    prober: Mapping[str, Any] | None, mounted: MountState, holding: Holding
) -> tuple[Condition, str]:
    if prober is not None:
        word = str(prober.get("condition", "unknown"))
        evidence = str(prober.get("evidence", ""))
        if word in set(Condition):
            return Condition(word), evidence
        if word == "standby":
            return Condition.UNMOUNTED, evidence
    if mounted is MountState.UNMOUNTED:
        where = "the disk is here" if holding.complete else "the disk is not in this node"
        return Condition.UNMOUNTED, f"nothing is mounted, {where}; the prober says nothing"
    return Condition.UNKNOWN, "the prober says nothing"


def _is_kept(remembered: Memory) -> bool:
    """A disk that is still, or again, to be seen here is released only while our own processes have it exclusively."""
    return bool(remembered.holders) and all(users.started(pid) == since for pid, since in remembered.holders)


def _busy(holding: Holding, mounted: MountState, places: Places) -> str:
    paths = frozenset(f"{places.dev}/{name}" for device in holding.found for name, _ in device.stack)
    idle = mounted is MountState.UNMOUNTED and not holding.superblocks(places)
    opened = users.openers(paths, places) if paths else ()
    busy = [str(one) for one in opened if users.is_tool(one) or (idle and one.writes)]
    if busy:
        return busy[0]
    if idle:
        for device in holding.found:
            above = _strange(device, holding.resource, places)
            if above:
                return f"{above[0]} is stacked on {device.name}"
    return ""


def _strange(device: devices.Device, resource: Resource, places: Places) -> list[str]:
    """What is stacked on a disk and is no volume of the resource's own groups: those a release deactivates."""
    found = ((name, mapped.volume(name, places)) for name in devices.holders(device, places))
    return [name for name, one in found if not one or not any(mapped.is_of(one, vg) for vg in resource.vgs)]


def _unready(holding: Holding, lines: Sequence[Line], mounted: MountState, places: Places) -> tuple[str, ...]:
    wanted = holding.resource.mounts
    groups = holding.resource.vgs
    found = [
        *missing_tools(wanted, groups),
        *fstab_lines(wanted, places, groups),
        *mapped.namesakes(groups, places),
        *([apart] if (apart := namespace.fault(places)) else []),
    ]
    for mount in wanted:
        if mounted is MountState.FOREIGN:
            line = mounts.visible(lines, mount.mountpoint)
            if line is not None and not holding.is_ours(line):
                found.append(f"{line.source} is mounted on {mount.mountpoint}")
            elif line is not None and (other := trees.strange(mount, line)):
                found.append(f"on {mount.mountpoint} {other}")
        elif mounted is MountState.UNMOUNTED and not _is_inside(mount, wanted):
            found += mountpoint_faults(mount.mountpoint)
    return tuple(found)


def _is_inside(mount: Mount, others: Sequence[Mount]) -> bool:
    return any(mount.mountpoint.startswith(other.mountpoint + "/") for other in others)


def mountpoint_faults(path: str) -> list[str]:
    """Nothing is mounted there, so this looks at the file system of the node itself."""
    if fault := behind_a_link(path):
        return [fault]
    try:
        with os.scandir(path) as entries:
            return [f"mount point {path} is not empty"] if next(entries, None) is not None else []
    except FileNotFoundError:
        return [f"mount point {path} does not exist"]
    except NotADirectoryError:
        return [f"mount point {path} is not a directory"]
    except OSError as err:
        return [f"mount point {path} cannot be read: {err.strerror}"]


def behind_links(wanted: Sequence[Mount]) -> list[str]:
    """Faults of mount points that cannot be mounted on for that; one inside of another is on a disk and not looked at."""
    outer = (one.mountpoint for one in wanted if not _is_inside(one, wanted))
    return [fault for fault in map(behind_a_link, outer) if fault]


def behind_a_link(path: str) -> str:
    """A mount goes to the real path, and the kernel's table shows it there: at ``path`` nothing would ever be seen."""
    real = os.path.realpath(path)
    words = f"mount point {path} is, or lies below, a symbolic link (it leads to {real})"
    return f"{words}: use a path that is a real one on every node" if real != path else ""


def needed_tools(wanted: Sequence[Mount], groups: Sequence[VolumeGroup] = ()) -> set[str]:
    """Programs without which the file systems cannot be mounted and checked."""
    of_files = {_TOOLS[mount.fstype] for mount in wanted if mount.fstype in _TOOLS}
    return {"mount"} | of_files | (_LVM_TOOLS if groups else set())


def installed_tools() -> list[str]:
    """All programs of this node that a resource could need."""
    known = {"mount", *_TOOLS.values(), *_LVM_TOOLS}
    return sorted(
        tool for tool in known if any(os.access(f"{place}/{tool}", os.X_OK) for place in _TOOL_DIRS)
    )


def missing_tools(wanted: Sequence[Mount], groups: Sequence[VolumeGroup] = ()) -> list[str]:
    missing = needed_tools(wanted, groups).difference(installed_tools())
    return [f"{tool} is not installed" for tool in sorted(missing)]


def fstab_lines(wanted: Sequence[Mount], places: Places, groups: Sequence[VolumeGroup] = ()) -> list[str]:
    found = []
    volumes = tuple(
        word
        for group in groups
        for word in (f"/dev/{group.name}/".lower(), f"/dev/mapper/{group.name.replace('-', '--')}-".lower())
    )
    for row in (read(places.fstab) or "").splitlines():
        fields = row.split()
        if len(fields) < 2 or fields[0].startswith("#"):
            continue
        spec, where = fields[0].replace('"', "").lower(), unescape(fields[1]).rstrip("/")
        for mount in wanted:
            uuids = (f"uuid={mount.fs_uuid}", f"/dev/disk/by-uuid/{mount.fs_uuid}")
            named = spec in map(str.lower, uuids) or spec.startswith(volumes)
            if where == mount.mountpoint or named:
                found.append(f"fstab has a line for {fields[0]} on {fields[1]}, remove it")
    return found
