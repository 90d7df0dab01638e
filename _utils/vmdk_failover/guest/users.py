"""
Who uses a file system, from /proc alone: links are read and never followed, so the disk is not touched.

``/proc/PID/maps`` can block behind a process that is stuck in a page fault: ask for it in a disposable child only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vmdk_failover.guest.mounts import Line, of_process, unescape
from vmdk_failover.guest.places import HERE, Places, names, read

#: Programs whose work on a device must not be disturbed, by the beginning of their names.
TOOLS = (
    "fsck", "e2fsck", "xfs_repair", "xfs_db", "xfs_metadump", "btrfs", "mkfs", "mke2fs", "tune2fs",
    "resize2fs", "e2image", "debugfs", "badblocks", "dd", "ddrescue", "partclone", "fdisk", "sfdisk", "gdisk",
    "sgdisk", "parted", "wipefs", "blkdiscard", "pvcreate", "cryptsetup", "qemu",
)  # fmt: skip


_KERNEL_THREAD = 0x00200000


@dataclass(frozen=True)
class User:
    """A process and what it has of the file system: ``fd``, ``cwd``, ``root``, ``exe``, ``map``, in that order."""

    pid: int
    started: int
    command: str
    what: str

    def __str__(self) -> str:
        return f"{self.command} (pid {self.pid}, {self.what})"


@dataclass(frozen=True)
class Namespace:
    """A foreign mount namespace that sees the file system, one process in it, and the mount points there."""

    ident: str
    pid: int
    mountpoints: tuple[str, ...]


@dataclass(frozen=True)
class Opener:
    """A process that has a device node open."""

    pid: int
    command: str
    path: str
    writes: bool

    def __str__(self) -> str:
        return f"{self.command} (pid {self.pid}) has {self.path} open"


def _pids(places: Places) -> Iterator[int]:
    own = os.getpid()
    return (int(name) for name in names(places.proc) if name.isdigit() and int(name) != own)


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def command(pid: int, places: Places = HERE) -> str:
    """A process' name as the kernel keeps it (15 characters); its command line could block."""
    return read(places.proc / str(pid) / "comm") or "a process"


def started(pid: int, places: Places = HERE) -> int:
    """When a process started, in clock ticks since boot: with the pid it names it for good. 0 if there is none."""
    try:
        return int((read(places.proc / str(pid) / "stat") or "").rpartition(")")[2].split()[19])
    except (IndexError, ValueError):
        return 0


def waiting(places: Places = HERE) -> tuple[tuple[int, str], ...]:
    """Processes (pid, command) in uninterruptible sleep, the kernel's own left out; what they wait for cannot be seen."""
    return tuple((pid, command(pid, places)) for pid in _pids(places) if _is_waiting(pid, places))


def _is_waiting(pid: int, places: Places) -> bool:
    words = (read(places.proc / str(pid) / "stat") or "").rpartition(")")[2].split()
    return len(words) > 6 and words[0] == "D" and not int(words[6]) & _KERNEL_THREAD


class _Mounts:
    """The mounts that are asked about, looked up once per mount namespace."""

    def __init__(self, is_ours: Callable[[Line], bool], places: Places) -> None:
        self._is_ours, self._places = is_ours, places
        self.seen: dict[str, tuple[Line, ...]] = {}
        self.first: dict[str, int] = {}

    def of(self, pid: int) -> tuple[Line, ...]:
        ident = _link(self._places.proc / str(pid) / "ns/mnt")
        if not ident:
            return ()
        if ident not in self.seen:
            lines = of_process(pid, self._places)
            self.seen[ident] = tuple(line for line in lines if self._is_ours(line))
            self.first[ident] = pid
        return self.seen[ident]


def users(is_ours: Callable[[Line], bool], *, maps: bool = False, places: Places = HERE) -> tuple[User, ...]:
    """
    Processes that use a file system, in any mount namespace; the calling process is left out.

    :param is_ours: whether a mount is one of those that are asked about.
    :param maps: look for mapped files too. Only in a disposable child.
    """
    mounts = _Mounts(is_ours, places)
    found = []
    for pid in _pids(places):
        what = _uses(pid, mounts.of(pid), maps, places)
        if what:
            found.append(User(pid, started(pid, places), command(pid, places), ", ".join(what)))
    return tuple(found)


def users_of(numbers: frozenset[str], *, maps: bool = False, places: Places = HERE) -> tuple[User, ...]:
    """Processes that use the file systems on devices ``major:minor``; as :func:`users`."""
    return users(lambda line: line.number in numbers, maps=maps, places=places)


def _uses(pid: int, lines: tuple[Line, ...], maps: bool, places: Places) -> list[str]:
    if not lines:
        return []
    base = places.proc / str(pid)
    what = ["fd"] if _has_open(base, {line.mount_id for line in lines}) else []
    tops = [line.mountpoint for line in lines if line.mountpoint != "/"]
    for link in ("cwd", "root", "exe"):
        target = _link(base / link)
        if any(target == top or target.startswith(top + "/") for top in tops):
            what.append(link)
    if maps and _has_mapped(base, {line.number for line in lines}):
        what.append("map")
    return what


def _has_open(base: Path, mount_ids: set[int]) -> bool:
    return any(_mount_id(base / "fdinfo" / fd) in mount_ids for fd in names(base / "fdinfo"))


def held(is_ours: Callable[[Line], bool], pid: int, limit: int = 8, places: Places = HERE) -> tuple[str, ...]:
    """What a process has open on a file system, ``fd 5: /srv/x/file`` each, ``limit`` at most. Touches no disk."""
    ids = {line.mount_id for line in of_process(pid, places) if is_ours(line)}
    base = places.proc / str(pid)
    ours = [fd for fd in names(base / "fdinfo") if ids and _mount_id(base / "fdinfo" / fd) in ids]
    found = [f"fd {fd}: {_link(base / 'fd' / fd)}" for fd in sorted(ours, key=int)[:limit]]
    return (*found, f"and {len(ours) - limit} more") if len(ours) > limit else tuple(found)


def _mount_id(fdinfo: Path) -> int:
    for row in (read(fdinfo) or "").splitlines():
        if row.startswith("mnt_id:"):
            return int(row[7:])
    return -1


def _has_mapped(base: Path, numbers: set[str]) -> bool:
    wanted = {"{:02x}:{:02x}".format(*map(int, number.split(":"))) for number in numbers}
    rows = ((read(base / "maps") or "").splitlines()) if wanted else []
    return any(row.split(maxsplit=4)[3] in wanted for row in rows if row.count(" ") >= 4)


def namespaces(is_ours: Callable[[Line], bool], places: Places = HERE) -> tuple[Namespace, ...]:
    """Foreign mount namespaces that keep the file system mounted."""
    own = _link(places.proc / "self/ns/mnt")
    mounts = _Mounts(is_ours, places)
    for pid in _pids(places):
        mounts.of(pid)
    return tuple(
        Namespace(ident, mounts.first[ident], tuple(line.mountpoint for line in lines))
        for ident, lines in mounts.seen.items()
        if lines and ident != own
    )


def openers(paths: frozenset[str], places: Places = HERE) -> tuple[Opener, ...]:
    """Processes that have one of the device nodes open."""
    return tuple(opener for pid in _pids(places) for opener in _opened(pid, paths, places))


def _opened(pid: int, paths: frozenset[str], places: Places) -> Iterator[Opener]:
    base = places.proc / str(pid)
    for fd in names(base / "fd"):
        path = _link(base / "fd" / fd).removesuffix(" (deleted)")
        if path in paths:
            yield Opener(pid, command(pid, places), path, _writes(base / "fdinfo" / fd))


def _writes(fdinfo: Path) -> bool:
    for row in (read(fdinfo) or "").splitlines():
        if row.startswith("flags:"):
            return int(row[6:], 8) & os.O_ACCMODE != os.O_RDONLY
    return True


def is_tool(opener: Opener) -> bool:
    """Whether it is a program that works on a file system from outside (check, repair, copy, make)."""
    return opener.command.startswith(TOOLS)


def in_kernel(mountpoints: frozenset[str], places: Places = HERE) -> tuple[str, ...]:
    """Swap files, loop devices and NFS exports on a file system: they keep it busy and are no processes."""
    tops = tuple(mountpoint + "/" for mountpoint in mountpoints)
    rows = (read(places.proc / "swaps") or "").splitlines()[1:]
    swaps = [f"swap on {path}" for row in rows if (path := unescape(row.split()[0])).startswith(tops)]
    backing = (
        (name, read(places.block(name) / "loop/backing_file") or "") for name in names(places.sys / "block")
    )
    loops = [f"{name} on {path}" for name, path in backing if path.startswith(tops)]
    exported = (row.split()[0] for row in (read(places.proc / "fs/nfsd/exports") or "").splitlines() if row)
    exports = [f"the NFS export of {unescape(path)}" for path in exported if f"{path}/".startswith(tops)]
    return (*swaps, *loops, *exports)
