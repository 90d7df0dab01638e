"""What is mounted, from mountinfo and sysfs alone: nothing here touches a disk, so nothing here can hang on one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from vmdk_failover.guest.places import HERE, Places, names, read

_OCTAL = re.compile(r"\\([0-7]{3})")
#: Options that a superblock shows when the kernel has given up on it (ext4 since 6.12; xfs never says so).
GIVEN_UP = frozenset({"emergency_ro", "shutdown"})


@dataclass(frozen=True)
class Line:
    """
    One mount as mountinfo shows it.

    :param number: ``major:minor``.
    :param options: the mount's own, ``of_mount``, and the superblock's, ``of_fs``, together.
    """

    mount_id: int
    parent: int
    number: str
    root: str
    mountpoint: str
    fstype: str
    source: str
    of_mount: frozenset[str]
    of_fs: frozenset[str]

    @property
    def options(self) -> frozenset[str]:
        return self.of_mount | self.of_fs


def unescape(text: str) -> str:
    """Undo mountinfo's and fstab's octal escapes of blank, tab, newline and backslash."""
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), text)


def parse(text: str) -> tuple[Line, ...]:
    """Read a mountinfo; lines that are not of its form are left out."""
    return tuple(line for line in map(_line, text.split("\n")) if line is not None)


def _line(text: str) -> Line | None:
    left, separator, right = text.partition(" - ")
    fields, tail = left.split(" "), right.split(" ")
    whole = separator and len(fields) >= 6 and len(tail) >= 3
    if not whole or not (fields[0] + fields[1]).isdecimal() or not fields[0] or not fields[1]:
        return None
    return Line(
        mount_id=int(fields[0]),
        parent=int(fields[1]),
        number=fields[2],
        root=unescape(fields[3]),
        mountpoint=unescape(fields[4]),
        fstype=tail[0],
        source=unescape(tail[1]),
        of_mount=frozenset(fields[5].split(",")),
        of_fs=frozenset(tail[2].split(",")),
    )


def of_process(pid: int | str = "self", places: Places = HERE) -> tuple[Line, ...]:
    """Mounts that a process sees; none if it has ended."""
    return parse(read(places.proc / str(pid) / "mountinfo") or "")


def covering(lines: Sequence[Line], path: str) -> Line | None:
    """
    The mount that a path leads into, found as the kernel walks: an overmount hides what lies below it.

    :param path: absolute, without a trailing slash.
    """
    ids = {line.mount_id for line in lines}
    current = next((line for line in lines if line.mountpoint == "/" and line.parent not in ids), None)
    steps = path.strip("/").split("/") if path != "/" else []
    for depth in range(len(steps) + 1):
        current = _topmost(lines, current, "/" + "/".join(steps[:depth]))
    return current


def _topmost(lines: Sequence[Line], current: Line | None, prefix: str) -> Line | None:
    while True:
        above = [x for x in lines if x.mountpoint == prefix and x is not current and _is_on(x, current)]
        if not above:
            return current
        current = above[-1]


def _is_on(line: Line, below: Line | None) -> bool:
    return below is None or line.parent == below.mount_id


def visible(lines: Sequence[Line], mountpoint: str) -> Line | None:
    """The mount that one sees at a mount point, ``None`` if nothing is mounted there."""
    found = covering(lines, mountpoint)
    return found if found is not None and found.mountpoint == mountpoint else None


def is_vanished(line: Line, places: Places = HERE) -> bool:
    """Whether the block device of a mount is no longer in the kernel's list."""
    return not line.number.startswith("0:") and not (places.sys / "dev/block" / line.number).exists()


def below(lines: Sequence[Line], tops: Iterable[Line]) -> tuple[Line, ...]:
    """The mounts ``tops`` and all that is mounted inside them, in the order in which they have to be unmounted."""
    wanted = {line.mount_id for line in tops}
    while True:
        more = {line.mount_id for line in lines if line.parent in wanted} - wanted
        if not more:
            break
        wanted |= more
    depth = _depths(lines)
    inside = [line for line in lines if line.mount_id in wanted]
    return tuple(sorted(inside, key=lambda line: -depth[line.mount_id]))


def _depths(lines: Sequence[Line]) -> dict[int, int]:
    parents = {line.mount_id: line.parent for line in lines}
    depths: dict[int, int] = {}
    for line in lines:
        depth, at = 0, line.parent
        while at in parents and depth <= len(parents):
            depth, at = depth + 1, parents[at]
        depths[line.mount_id] = depth
    return depths


def superblock_alive(name: str, places: Places = HERE) -> bool:
    """
    Whether the kernel keeps a file system of a block device, mounted, lazily unmounted or being unmounted.

    :param name: kernel name such as ``sdb1``. Knows ext2-4, xfs, f2fs and btrfs.
    """
    if any((places.sys / "fs" / kind / name).exists() for kind in ("ext4", "xfs", "f2fs")):
        return True
    btrfs = places.sys / "fs/btrfs"
    return any((btrfs / uuid / "devices" / name).exists() for uuid in names(btrfs))


def generation(name: str, fstype: str, places: Places = HERE) -> int:
    """
    A number of the file system that the kernel keeps of a block device: another one after it was unmounted and mounted again.

    :param name: kernel name such as ``sdb1``.
    :return: 0 if the kernel keeps none, or none that it shows.
    """
    directory = places.sys / "fs" / ("ext4" if fstype.startswith("ext") else fstype)
    for path in directory.glob(f"*/devices/{name}") if fstype == "btrfs" else [directory / name]:
        with suppress(OSError):
            return (path.parent.parent if fstype == "btrfs" else path).stat().st_ino
    return 0
