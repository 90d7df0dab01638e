"""Which file system is on which of a resource's devices, as their superblocks say. Touches the disks: in children only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vmdk_failover.guest import children, mapped, superblock
from vmdk_failover.guest.children import Child
from vmdk_failover.guest.devices import Holding
from vmdk_failover.guest.places import Places, names
from vmdk_failover.guest.steps import Course, GiveUp
from vmdk_failover.model import Mount, Resource


@dataclass(frozen=True)
class FileSystem:
    """
    A file system and the devices to mount it from: several with btrfs, else one.

    :param note: what its superblock notes of errors, as part of a sentence; empty if nothing.
    """

    uuid: str
    kind: str
    devices: tuple[str, ...]
    note: str = ""


def file_systems(
    holding: Holding, course: Course, watch: Callable[[Child], str], places: Places
) -> dict[str, FileSystem]:
    """
    Read the superblock of every device of the resource.

    :param watch: told a child that may be stuck; a non-empty answer is the reason to give up at once.
    :return: UUID → file system, of all that are there.
    :raises GiveUp: if a device cannot be read, or what a mount needs is not there.
    """
    found: dict[str, FileSystem] = {}
    stack = {name for device in holding.found for name, _ in device.stack}
    for name in sorted(stack):
        one = _read(name, course, watch, places)
        before = found.get(one.uuid) if one else None
        if one:
            devices = (*before.devices, name) if before else (name,)
            found[one.uuid] = FileSystem(
                one.uuid, one.kind, devices, one.note or (before.note if before else "")
            )
    whole = {uuid: _mountable(one, places) for uuid, one in found.items()}
    for mount in holding.resource.mounts:
        _check(mount, whole, holding.resource)
    return whole


def _read(name: str, course: Course, watch: Callable[[Child], str], places: Places) -> FileSystem | None:
    path = f"{places.dev}/{name}"
    ended = children.call(lambda: superblock.of_device(path), course.left, watch)
    if ended.error:
        raise GiveUp(
            f"{name} cannot be read: {ended.error}", "mount_stuck" if ended.stuck else "mount_failed"
        )
    if not ended.value:
        return None
    kind, uuid, note = ended.value
    return FileSystem(uuid, kind, (name,), note)


def _mountable(one: FileSystem, places: Places) -> FileSystem:
    """Leave out what only carries the file system for another device: a mapping's lower layer, a snapshot of it."""
    tops = [
        name
        for name in one.devices
        if not names(places.block(name) / "holders") and not _is_snapshot(name, places)
    ]
    return FileSystem(one.uuid, one.kind, tuple(tops) or one.devices, one.note)


def _is_snapshot(name: str, places: Places) -> bool:
    below = (mapped.volume(slave, places) for slave in names(places.block(name) / "slaves"))
    return any(one is not None and one.layer == "cow" for one in below)


def _check(mount: Mount, found: Mapping[str, FileSystem], resource: Resource) -> None:
    one = found.get(mount.fs_uuid)
    if one is None or not superblock.same_kind(one.kind, mount.fstype):
        seen = ", ".join(f"{x.kind} {x.uuid} on {' and '.join(x.devices)}" for x in found.values())
        raise GiveUp(
            f"{mount.fstype} file system {mount.fs_uuid} is not on the disks of {resource.name}; found: {seen or 'none'}",
            "wrong_filesystem",
        )
    if len(one.devices) > 1 and one.kind != "btrfs":
        where = " and ".join(one.devices)
        raise GiveUp(
            f"{mount.fstype} file system {mount.fs_uuid} is there twice, on {where}; take the copy away",
            "wrong_filesystem",
        )


def options(mount: Mount, one: FileSystem, places: Places) -> str:
    """Mount options: the mount's own, and for btrfs on several devices their names, so that no scan is needed."""
    own = mount.options or "defaults"
    several: Sequence[str] = one.devices if len(one.devices) > 1 else ()
    return ",".join([own, *(f"device={places.dev}/{name}" for name in several)])
