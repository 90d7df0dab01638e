"""Why a mount was refused, from what mount(8) and the kernel said, and what a person can do about it. Nothing here repairs."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from vmdk_failover.guest.places import Places

_CHECKS = {"xfs": "xfs_repair -n", "btrfs": "btrfs check --readonly"}
#: mount(8) on a file system that is known to be there, and whose options the kernel does not complain of.
_DAMAGED = ("structure needs cleaning", "bad superblock", "can't read superblock", "needs_check")
_OPTION = re.compile(r"[Uu]nknown parameter|mount option|[Bb]ad value|[Ii]nvalid option|Bad option")
_TRANSFER = re.compile(r"I/O error,? (?:on )?dev")


class KernelWords:
    """What the kernel writes to its log from now on."""

    def __init__(self, places: Places) -> None:
        try:
            self._fd = os.open(places.dev / "kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._fd, 0, os.SEEK_END)
        except OSError:
            self._fd = -1

    def about(self, names: tuple[str, ...], fstype: str) -> tuple[str, ...]:
        """
        The different lines that name a device, or begin with the file system's kind as complaints about mount options do.
        Ends the listening.
        """
        devices = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in names))
        said = (text for text in self._read() if devices.search(text) or text.startswith(f"{fstype}: "))
        return tuple(dict.fromkeys(said))

    def _read(self) -> list[str]:
        found: list[str] = []
        try:
            while self._fd >= 0:
                record = os.read(self._fd, 8192).decode(errors="replace")
                found.append(record.partition(";")[2].partition("\n")[0].strip())
        except OSError:  # no more, or lines were overwritten before they were read
            os.close(self._fd)
            self._fd = -1
        return found


def needs_check(output: str, kernel: Sequence[str]) -> bool:
    """
    Whether the file system itself is what the mount failed for.

    :param output: what mount(8) said.
    :param kernel: what the kernel said meanwhile.
    """
    damaged = any(word in output.lower() for word in _DAMAGED)
    return damaged and not any(_OPTION.search(line) or _TRANSFER.search(line) for line in kernel)


def advice(fstype: str, device: str) -> str:
    """What to do about a file system that needs more than its journal."""
    command = "e2fsck -n" if fstype.startswith("ext") else _CHECKS.get(fstype, f"fsck.{fstype}")
    return f"look at it with '{command} {device}' and repair it by hand"
