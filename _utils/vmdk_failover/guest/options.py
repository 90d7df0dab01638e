"""Mount options, as recorded and as the kernel shows them: what was changed by somebody, and what the kernel itself did. Pure."""

from __future__ import annotations

from vmdk_failover.guest import trees
from vmdk_failover.guest.mounts import GIVEN_UP, Line
from vmdk_failover.model import Mount

#: Options that mountinfo always shows when they are set. What else stands in a recorded line may have no trace there.
_FLAGS = frozenset({"ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "sync", "dirsync"})
#: What an option of mount(8) sets besides.
_IMPLIED = {
    **dict.fromkeys(("user", "users"), frozenset({"nosuid", "nodev", "noexec"})),
    **dict.fromkeys(("owner", "group"), frozenset({"nosuid", "nodev"})),
}


def given_up(line: Line) -> str:
    """
    What shows that the kernel has given up a file system, empty if nothing does.

    A read-only superblock under a mount that may write is the kernel's own doing; a remount changes both.
    """
    bad = sorted(GIVEN_UP & line.options)
    if "ro" in line.of_fs and "ro" not in line.of_mount:
        bad.append("ro")
    return ", ".join(bad)


def changed(mount: Mount, line: Line, first: frozenset[str]) -> str:
    """
    How a mount's options differ from what they should be, as part of a sentence; empty if they do not.

    :param first: options of the superblock when the mount was first seen: what mount(8) leaves to the kernel.
    """
    recorded = frozenset(mount.options.split(","))
    implied = frozenset[str]().union(*(_IMPLIED.get(option, ()) for option in recorded))
    shown = line.of_mount | (line.of_fs - {"ro"})
    more = (_FLAGS & shown) - recorded - implied
    less = (_FLAGS & recorded) - shown
    moved = ((line.of_fs ^ first) - GIVEN_UP - {"ro", "rw"}) - _FLAGS
    words = [f"{one} is set" for one in sorted(more)] + [f"{one} is missing" for one in sorted(less)]
    words += [f"{one} has {'come' if one in line.of_fs else 'gone'}" for one in sorted(moved)]
    if trees.unnamed(mount) and line.root != "/":
        words.append(f"the subvolume {line.root} is mounted, which is not recorded")
    return ", ".join(words)
