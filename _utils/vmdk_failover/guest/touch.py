"""What touches a file system or a disk: each may hang with it, so all of it is called in disposable processes only."""

from __future__ import annotations

import mmap
import os
import random

from vmdk_failover.guest import superblock

#: Written to by the write probe; nobody reads it.
FILE = ".vmdk-probe"


def read(path: str) -> str:
    """
    Read who is on a device, and one block somewhere on it, past every cache.

    :return: UUID of the file system, empty if there is none that is known.
    :raises OSError: if it cannot be read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    try:
        found = [superblock.identify(at, superblock.read_block(fd, at)) for at in superblock.BLOCKS]
        blocks = max(1, os.lseek(fd, 0, os.SEEK_END) // superblock.BLOCK)
        superblock.read_block(fd, random.randrange(blocks) * superblock.BLOCK)
    finally:
        os.close(fd)
    return next((one[1] for one in found if one), "")


def used(mountpoint: str, mount_id: int) -> float:
    """
    How full a file system is, in percent, as ``df`` shows it.

    :param mount_id: of the mount that is meant, from mountinfo.
    :raises OSError: if it cannot be told, also with another mount there.
    """
    fd = _open(mountpoint, mount_id)
    try:
        os.fstat(fd)
        said = os.fstatvfs(fd)
    finally:
        os.close(fd)
    taken = said.f_blocks - said.f_bfree
    return 100.0 * taken / (taken + said.f_bavail) if taken + said.f_bavail else 0.0


def write(mountpoint: str, mount_id: int) -> None:
    """
    Write one block through to the disk. Nothing stays open.

    :param mount_id: of the mount that is meant: what lies below it, should it be gone, is not written to.
    :raises OSError: if the write fails.
    """
    there = _open(mountpoint, mount_id)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_DIRECT | os.O_DSYNC | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(FILE, flags, 0o600, dir_fd=there)
        try:
            with mmap.mmap(-1, superblock.BLOCK) as block:
                os.pwrite(fd, block, 0)
        finally:
            os.close(fd)
    finally:
        os.close(there)


def _open(mountpoint: str, mount_id: int) -> int:
    fd = os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        rows = dict(row.split(":", 1) for row in file if ":" in row)
    if int(rows["mnt_id"]) != mount_id:
        os.close(fd)
        raise FileNotFoundError(2, "the mount has just gone", mountpoint)
    return fd
