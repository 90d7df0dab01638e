"""
Halting this machine without touching a hung disk.

``reboot``, ``poweroff`` and even sysrq ``o`` sync or flush every disk first and hang with a hung one for minutes (measured on
Linux 6.1 with a write-back SCSI disk). Sysrq ``b`` touches nothing. So: a disk with a volatile write cache means ``b``; without
one ``o`` is a real power-off, with ``b`` behind it. The order is carried out by a child of its own, so that the answer to the
master can still be given.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from vmdk_failover.errors import StepFailed
from vmdk_failover.guest import children
from vmdk_failover.guest.places import HERE, Places, names, read

#: Seconds between the answer and the halt, and between ``o`` and ``b``.
DELAY = 0.1
BACKSTOP = 5.0


def words(places: Places = HERE) -> tuple[str, ...]:
    """What to write to the sysrq trigger, in order."""
    caches = (read(places.sys / "class/scsi_disk" / disk / "cache_type") for disk in names(places.sys / "class/scsi_disk"))
    return ("b",) if any(cache == "write back" for cache in caches) else ("o", "b")


def halt(path: Path, places: Places = HERE, delay: float = DELAY, backstop: float = BACKSTOP) -> None:
    """
    Start the end of this machine and return.

    :param path: the sysrq trigger.
    :param delay: seconds until the first word is written.
    :raises StepFailed: if the trigger cannot be opened for writing; then nothing was started.
    """
    try:
        trigger = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as err:
        raise StepFailed(f"this machine cannot halt itself: {path} cannot be written ({err.strerror})", "no_sysrq") from err
    order = words(places)
    children.leave(lambda: _write(path, order, delay, backstop))
    os.close(trigger)


def _write(path: Path, order: Iterable[str], delay: float, backstop: float) -> None:
    time.sleep(delay)
    for word in order:
        with open(path, "w", buffering=1, encoding="ascii") as trigger:
            trigger.write(word)
        time.sleep(backstop)
