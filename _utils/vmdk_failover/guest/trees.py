"""
Which part of a file system a mount shows: all of it, a subvolume of btrfs, or a directory that was bound there. Pure.

Device and UUID are the same for each of them, so a service that finds the wrong part finds another tree without a word.
"""

from __future__ import annotations

from vmdk_failover.errors import Refused
from vmdk_failover.guest.mounts import Line, unescape
from vmdk_failover.model import Mount

_BTRFS = "btrfs"
#: What would not come through the list of options of mount(8) as it is.
_UNSAFE = frozenset(',"\\')


def option(line: Line) -> str:
    """
    The mount option that leads to the same tree again on another node, also where the file system has another default.

    :return: ``subvol=/…`` for btrfs, else ``""``.
    :raises Refused: ``bind_mount`` if a directory is mounted there, which no option leads to; ``subvolume`` if its name cannot
        stand in a list of options.
    """
    if line.fstype != _BTRFS:
        if line.root != "/":
            raise _bound(line)
        return ""
    shown = [unescape(one)[len("subvol=") :] for one in line.of_fs if one.startswith("subvol=")]
    if _UNSAFE & set(line.root):
        raise Refused(
            f"the subvolume {line.root} of {line.source} has a comma, quote or backslash in its name; rename it",
            "subvolume",
        )
    if shown and line.root not in shown:
        raise _bound(line)
    return f"subvol={line.root}"


def _bound(line: Line) -> Refused:
    words = f"{line.mountpoint} shows only the directory {line.root} of {line.source} (a bind mount)"
    return Refused(
        f"{words}, which no other node would have: mount the file system itself and protect that",
        "bind_mount",
    )


def strange(mount: Mount, line: Line) -> str:
    """
    How the tree that is visible is not the recorded one, as a phrase; ``""`` if it is.

    Of a btrfs whose record names no subvolume any one is taken: what its default is, only the disk knows.
    """
    if mount.fstype != _BTRFS:
        return f"{line.source} shows its directory {line.root} (a bind mount)" if line.root != "/" else ""
    wanted = _recorded(mount)
    if "subvol" in wanted and "/" + wanted["subvol"].strip("/") != line.root:
        return f"{line.source} shows its subvolume {line.root}, recorded is {wanted['subvol']}"
    if "subvolid" in wanted and f"subvolid={wanted['subvolid']}" not in line.of_fs:
        return (
            f"{line.source} shows its subvolume {line.root}, recorded is the one of id {wanted['subvolid']}"
        )
    return ""


def instead(mount: Mount, line: Line, ours: bool) -> str:
    """
    What is mounted in place of what is recorded, as a sentence; ``""`` if nothing is.

    :param ours: it is of the resource's own disks.
    """
    if not ours:
        return f"{line.source} ({line.fstype}) is mounted on {mount.mountpoint}"
    other = strange(mount, line)
    return f"on {mount.mountpoint} {other}" if other else ""


def unnamed(mount: Mount) -> bool:
    """Whether every node shows what is the file system's default then, because the record names no subvolume of a btrfs."""
    return mount.fstype == _BTRFS and not _recorded(mount)


def _recorded(mount: Mount) -> dict[str, str]:
    pairs = (one.partition("=") for one in mount.options.split(","))
    return {key: value for key, equals, value in pairs if equals and key in ("subvol", "subvolid")}
