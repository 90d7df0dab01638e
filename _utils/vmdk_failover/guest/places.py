"""Where a node's kernel and system keep what is read here; tests and labs may point elsewhere."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Places:
    """
    Directories and files of the system.

    :param by_id: links from a disk's identity to its device node, kept by udev.
    :param boot_id: file with the kernel's boot id.
    """

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    dev: Path = Path("/dev")
    by_id: Path = Path("/dev/disk/by-id")
    fstab: Path = Path("/etc/fstab")
    boot_id: Path = Path("/proc/sys/kernel/random/boot_id")

    def block(self, name: str) -> Path:
        """The kernel's directory of a block device, disk or partition."""
        return self.sys / "class/block" / name


HERE = Places()


def read(path: Path | str) -> str | None:
    """Text of a small file of the kernel without white space around it; ``None`` if it is not there or not readable."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        parts = list(iter(lambda: os.read(fd, 1 << 16), b""))
    except OSError:
        return None
    finally:
        os.close(fd)
    return b"".join(parts).decode(errors="surrogateescape").strip()


def names(directory: Path) -> list[str]:
    """What a directory of the kernel lists; empty if it is not there."""
    try:
        return sorted(entry.name for entry in directory.iterdir())
    except OSError:
        return []


def boot_clock() -> float:
    """Seconds since the node booted, sleep included: the clock that permits count on."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
