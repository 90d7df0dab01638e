"""Which file system a block device holds, from the bytes of its superblock: no mount, no blkid, no cache."""

from __future__ import annotations

import mmap
import os
import uuid
from collections.abc import Callable

BLOCK = 4096
#: Offsets of the blocks that tell: ext4 and xfs begin in the first one, btrfs 64 KiB further.
BLOCKS = (0, 65536)
_WITH_ERRORS = 2  # EXT2_ERROR_FS


def identify(offset: int, block: bytes) -> tuple[str, str] | None:
    """
    Kind (``ext``, ``xfs``, ``btrfs``) and UUID of the file system that a block belongs to.

    :param offset: where on the device the block was read, one of :data:`BLOCKS`.
    """
    if len(block) < BLOCK:
        return None
    if offset == 0 and block[:4] == b"XFSB":
        return "xfs", str(uuid.UUID(bytes=block[32:48]))
    if offset == 0 and block[1024 + 0x38 : 1024 + 0x3A] == b"\x53\xef":
        return "ext", str(uuid.UUID(bytes=block[1024 + 0x68 : 1024 + 0x78]))
    if offset == 65536 and block[0x40:0x48] == b"_BHRfS_M":
        return "btrfs", str(uuid.UUID(bytes=block[0x20:0x30]))
    return None


def same_kind(kind: str, fstype: str) -> bool:
    """Whether a kind of :func:`identify` may be mounted as ``fstype``."""
    return fstype.startswith("ext") if kind == "ext" else kind == fstype


def read_block(fd: int, offset: int) -> bytes:
    """Read one block past the page cache from a device opened with ``O_DIRECT``. May hang with the disk."""
    with mmap.mmap(-1, BLOCK) as buffer:
        count = os.preadv(fd, [buffer], offset)
        return bytes(buffer[:count])


def noted(kind: str, block: bytes) -> str:
    """What a superblock notes of errors, as part of a sentence; empty if nothing. Only ext4 keeps such notes."""
    if kind != "ext":
        return ""
    state = int.from_bytes(block[1024 + 0x3A : 1024 + 0x3C], "little")
    errors = int.from_bytes(block[1024 + 0x194 : 1024 + 0x198], "little")
    return f"notes {errors or 'some'} errors of before" if state & _WITH_ERRORS or errors else ""


def of_device(path: str, read: Callable[[int, int], bytes] = read_block) -> tuple[str, str, str] | None:
    """
    Kind and UUID of the file system on a device, and what it notes of errors. May hang with the disk: call it in a
    disposable child.

    :raises OSError: if the device cannot be read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    try:
        for offset in BLOCKS:
            block = read(fd, offset)
            found = identify(offset, block)
            if found:
                return (*found, noted(found[0], block))
        return None
    finally:
        os.close(fd)
