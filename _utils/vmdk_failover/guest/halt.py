"""
Halting this machine without touching a hung disk.

``reboot``, ``poweroff`` and even sysrq ``o`` sync or flush every disk first and hang with a hung one for minutes
(measured on Linux 6.1 with a write-back SCSI disk). Sysrq ``b`` touches nothing. So: a disk with a volatile write cache
means ``b``; without one ``o`` is a real power-off, with ``b`` behind it. The order is carried out by a child of its own,
so that the answer to the master can still be given.

A watchdog, if the node has one that nobody else feeds, is armed first and never fed: should the kernel take no order any more,
the (virtual) hardware resets the machine. It is opened at no other time, since opening it starts it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import struct
import time
from collections.abc import Sequence
from pathlib import Path

from vmdk_failover.errors import StepFailed
from vmdk_failover.guest import children, devices, mounts
from vmdk_failover.guest.places import HERE, Places, names, read
from vmdk_failover.model import Resource

#: Seconds between the answer and the halt, for writing out what is healthy, and between ``o`` and ``b``.
DELAY = 0.1
SYNC = 0.3
BACKSTOP = 5.0
#: Seconds after which an armed watchdog resets the machine; more than all the rest may take.
WATCHDOG = 10
_SETTIMEOUT = 0xC0045706  # WDIOC_SETTIMEOUT
_SYNCED = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs"})


def words(places: Places = HERE) -> tuple[str, ...]:
    """What to write to the sysrq trigger, in order."""
    disks = places.sys / "class/scsi_disk"
    caches = [read(disks / disk / "cache_type") or "" for disk in names(disks)]
    return ("b",) if any("write back" in cache for cache in caches) else ("o", "b")


def halt(
    path: Path,
    places: Places = HERE,
    delay: float = DELAY,
    backstop: float = BACKSTOP,
    resource: Resource | None = None,
    watchdog: Path | None = None,
) -> None:
    """
    Start the end of this machine and return.

    :param path: the sysrq trigger.
    :param delay: seconds until the first word is written.
    :param backstop: seconds until the next word is written, should the first have had no effect.
    :param resource: the resource whose disks are not to be touched; the other file systems are synced in the meantime,
        for 0.3 s at most. ``None``: nothing is synced.
    :param watchdog: device that is armed as the backstop of all this; ``None`` if the node has none.
    :raises StepFailed: if the trigger cannot be opened for writing; then nothing was started.
    """
    try:
        os.close(_open(path))
    except OSError as err:
        why = f"this machine cannot halt itself: {path} cannot be written ({err.strerror}); power it off from outside"
        raise StepFailed(why, "no_sysrq") from err
    order, others = words(places), healthy(resource, places) if resource else ()
    children.leave(lambda: _end(path, order, others, delay, backstop, watchdog))


def healthy(resource: Resource, places: Places = HERE) -> tuple[str, ...]:
    """Mount points of this node's other writable file systems on disks, one per file system."""
    held = devices.holding(resource, places)
    lines = mounts.of_process(places=places)
    ours = {mount.mountpoint for mount in resource.mounts}
    wanted = [x for x in lines if x.fstype in _SYNCED and "rw" in x.options and not held.is_ours(x)]
    return tuple({x.number: x.mountpoint for x in wanted if x.mountpoint not in ours}.values())


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def _end(
    path: Path,
    order: Sequence[str],
    others: Sequence[str],
    delay: float,
    backstop: float,
    watchdog: Path | None,
) -> None:
    """In a child that nobody waits for."""
    ctypes.CDLL(None).mlockall(1)  # no page of this may have to be read from a disk
    trigger = _open(path)
    if watchdog is not None:
        with contextlib.suppress(OSError):  # somebody else feeds it; the rest goes on without
            _arm(watchdog)
    at = time.monotonic() + delay
    _sync(others)
    time.sleep(max(0.0, at - time.monotonic()))
    for word in order:
        with contextlib.suppress(OSError):  # whoever took the first word may be gone
            os.write(trigger, word.encode())
        time.sleep(backstop)


def _arm(path: Path) -> None:
    """Start a watchdog. Closing it again, as the end of this process does, does not stop it: that needs a written ``V``."""
    watchdog = _open(path)
    with contextlib.suppress(OSError):  # a fixed timeout; then it takes longer
        fcntl.ioctl(watchdog, _SETTIMEOUT, struct.pack("i", WATCHDOG))


def _sync(mountpoints: Sequence[str]) -> None:
    """All at once, each in a child of its own that is left behind if it takes too long."""
    pids = {children.leave(lambda path=path: _sync_one(path)) for path in mountpoints}  # type: ignore[misc]
    end = time.monotonic() + SYNC
    while any(children.state(pid) not in ("", "Z") for pid in pids) and time.monotonic() < end:
        time.sleep(0.01)


def _sync_one(mountpoint: str) -> None:
    fd = os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    ctypes.CDLL(None).syncfs(fd)
