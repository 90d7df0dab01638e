"""A mounted device that the prober reads from."""

from __future__ import annotations

import os

from vmdk_failover.guest import superblock
from vmdk_failover.model import Mount

_IDENTIFY_EVERY = 60


class Probe:
    """
    One device, at most one read at a time.

    :ivar pending: when the read that is under way was started (boot clock, seconds), ``None`` if none is.
    :ivar good: good reads since the last error.
    """

    def __init__(self, path: str, mount: Mount) -> None:
        """Raises ``OSError`` if the device cannot be opened."""
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_NONBLOCK | os.O_CLOEXEC)
        self.name, self.mount = os.path.basename(path), mount
        self.blocks = max(1, os.lseek(self.fd, 0, os.SEEK_END) // superblock.BLOCK)
        self.pending: float | None = None
        self.offset = 0
        self.good = 0
        self._count = 0

    def next_offset(self) -> int:
        """Now and then the blocks that tell who it is, else others all over the device, so that no cache answers."""
        turn = self._count % _IDENTIFY_EVERY
        if turn < len(superblock.BLOCKS):
            self.offset = superblock.BLOCKS[turn]
        else:
            self.offset = self._count * 2654435761 % self.blocks * superblock.BLOCK
        self._count += 1
        return self.offset

    def other_filesystem(self, data: bytes) -> str:
        """UUID of the file system that was just read of, if it is not the one that should be there."""
        found = superblock.identify(self.offset, data) if self.offset in superblock.BLOCKS else None
        return found[1] if found and found[1] != self.mount.fs_uuid else ""

    def close(self) -> None:
        """Let go of the device; a read that is under way keeps it until it ends."""
        os.close(self.fd)
