"""A device that the prober reads from."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping

from vmdk_failover.guest import superblock

_IDENTIFY_EVERY, _SECTOR = 60, 512
_REMEMBERED = 4

#: Offset on the device → offset in the file system, and the UUID that should be found there.
Marks = Mapping[int, tuple[int, str]]


class Probe:
    """
    One device, at most one read at a time.

    :ivar pending: when the read that is under way was started (boot clock, seconds), ``None`` if none is.
    :ivar good: good reads since the last error.
    :ivar doubt: what the last read failed with, while that is to be confirmed at the same place; empty if it was good.
    """

    def __init__(self, path: str, marks: Marks, identify_only: bool) -> None:
        """
        Open it.

        :param marks: the blocks that tell who is there.
        :param identify_only: nothing but these is read: its disks are probed themselves.
        :raises OSError: if the device cannot be opened.
        """
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_NONBLOCK | os.O_CLOEXEC)
        self.name, self._marks, self.identify_only = os.path.basename(path), dict(marks), identify_only
        self.blocks = max(1, os.lseek(self.fd, 0, os.SEEK_END) // superblock.BLOCK)
        self.pending: float | None = None
        self.offset = 0
        self.good = 0
        self.doubt = ""
        self._count = -1
        self._sectors: deque[int] = deque(maxlen=_REMEMBERED)

    def next_offset(self) -> int | None:
        """
        Where to read now: the blocks that tell who it is now and then, else others all over the device, so that no cache
        answers; while in doubt the same place again. ``None``: nothing this time.
        """
        if not self.doubt:
            self._count += 1
            turn = self._count % _IDENTIFY_EVERY
            if turn < len(self._marks):
                self.offset = sorted(self._marks)[turn]
            elif self.identify_only:
                return None
            else:
                self.offset = self._count * 2654435761 % self.blocks * superblock.BLOCK
        self._sectors.append(self.offset // _SECTOR)
        return self.offset

    def has_read(self, name: str, sector: int) -> bool:
        """Whether a request to a disk was one of our own reads of late: the kernel reports those too when they fail."""
        if self.identify_only:  # where on the disks it reads is the mapping's business
            return self.pending is not None
        return name == self.name and sector in self._sectors

    def other_filesystem(self, data: bytes) -> tuple[str, str]:
        """UUIDs of the file system that was just read of and of the one that should be there, if they differ."""
        where, wanted = self._marks.get(self.offset, (0, ""))
        found = superblock.identify(where, data) if wanted else None
        return (found[1], wanted) if found and found[1] != wanted else ("", "")

    def close(self) -> None:
        """Let go of the device; a read that is under way keeps it until it ends."""
        os.close(self.fd)
