"""
Keeping a released disk for ourselves: a small process that has it open exclusively, so that nothing else can use it.

It ends when the disk vanishes from the node, when this node mounts the resource again, or after ten minutes. Opening for
reading is enough to be exclusive, and unlike opening for writing it wakes no udev rule when it is closed.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import signal
import time
from collections.abc import Iterable

from vmdk_failover.guest import children, pidfd, users
from vmdk_failover.guest.devices import Device, find
from vmdk_failover.guest.places import HERE, Places

KEEP_S = 600.0
#: Name of the process, so that one is known whose release was killed before it could be remembered.
NAME = "vmdk-holder"
_PR_SET_NAME = 15
_FLUSH = 0x1261  # BLKFLSBUF: write out and forget what the kernel has cached of the device
_FAST_S, _FAST_FOR_S, _SLOW_S = 0.02, 60.0, 0.2


def take(device: Device, deadline_s: float, places: Places = HERE) -> children.Ended:
    """
    Open a disk exclusively and keep it so.

    :return: ``value`` is (pid, start time) of the process that keeps it, or ``None`` while somebody else has it exclusively;
        ``error`` if it cannot be opened.
    """
    ended = children.call(lambda: _open_and_stay(device, places), deadline_s)
    if ended.value is None:
        return ended
    pid = int(ended.value)
    return children.Ended(value=(pid, users.started(pid)), took=ended.took)


def _open_and_stay(device: Device, places: Places) -> int | None:
    """In a child: open, and leave a grandchild that keeps the descriptor. Returns its pid."""
    try:
        fd = os.open(places.dev / device.name, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as err:
        if err.errno == errno.EBUSY:
            return None
        raise
    fcntl.ioctl(fd, _FLUSH, 0)
    pid = os.fork()
    if pid == 0:
        _stay(fd, device, places)
    return pid


def _stay(fd: int, device: Device, places: Places) -> None:
    try:
        os.setsid()
        ctypes.CDLL(None).prctl(_PR_SET_NAME, NAME.encode(), 0, 0, 0)
        for other in os.listdir("/proc/self/fd"):
            if int(other) > 2 and int(other) != fd:
                _close(int(other))
        began = time.monotonic()
        while (age := time.monotonic() - began) < KEEP_S and _still_there(device, places):
            time.sleep(_FAST_S if age < _FAST_FOR_S else _SLOW_S)
    finally:
        os._exit(0)


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        return  # the directory that was just listed


def _still_there(device: Device, places: Places) -> bool:
    now = find(device.disk, places)
    return now is not None and now.name == device.name


def let_go(holders: Iterable[tuple[int, int]], deadline_s: float = 1.0) -> bool:
    """
    End the processes that :func:`take` left.

    :param holders: their (pid, start time); a pid that another process has by now is left alone.
    :return: whether all have ended in time.
    """
    end = time.monotonic() + deadline_s
    ended = [_end(pid, started, end) for pid, started in holders]
    return all(ended)


def left(device: Device, places: Places = HERE) -> tuple[tuple[int, int], ...]:
    """Processes (pid, start time) that :func:`take` left on a disk, whether they are remembered or not."""
    openers = users.openers(frozenset({f"{places.dev}/{device.name}"}), places)
    found = (one for one in openers if one.command == NAME)
    return tuple((one.pid, users.started(one.pid, places)) for one in found)


def _end(pid: int, started: int, end: float) -> bool:
    try:
        process = pidfd.Handle(pid)
    except ProcessLookupError:
        return True
    try:
        if users.started(pid) != started:
            return True
        process.send(signal.SIGKILL)
        return bool(select.select([process], [], [], max(0.0, end - time.monotonic()))[0])
    except ProcessLookupError:
        return True
    finally:
        process.close()
