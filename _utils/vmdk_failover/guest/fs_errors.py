"""
What a file system itself reports as broken: fanotify's ``FAN_FS_ERROR`` (Linux 5.16; ext4 alone sends it so far).

The mark does not keep the file system mounted and vanishes with it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass

#: File systems that send it. Others take the mark and stay silent.
SENDERS = frozenset({"ext2", "ext3", "ext4"})
_CLOEXEC, _NONBLOCK, _REPORT_FID = 0x1, 0x2, 0x200
_ADD, _FILESYSTEM, _FS_ERROR, _AT_FDCWD = 0x1, 0x100, 0x8000, -100
_HEAD, _RECORD = struct.Struct("=IBBHQii"), struct.Struct("=BBH")
_FID, _ERROR = 1, 5


@dataclass(frozen=True)
class Report:
    """``fsid`` as ``statvfs`` gives it, the error's name, and how many there have been since the last report."""

    fsid: int
    error: str
    count: int


def parse(events: bytes) -> tuple[Report, ...]:
    """Read what the kernel has sent; what is not understood is left out."""
    found, at = [], 0
    while at + _HEAD.size <= len(events):
        length, _, _, head, mask, _, _ = _HEAD.unpack_from(events, at)
        if length < _HEAD.size or at + length > len(events):
            break
        report = _report(events[at + head : at + length]) if mask & _FS_ERROR else None
        if report:
            found.append(report)
        at += length
    return tuple(found)


def _report(records: bytes) -> Report | None:
    parts = dict(_records(records))
    if len(parts.get(_FID, b"")) < 8 or len(parts.get(_ERROR, b"")) < 8:
        return None
    code, count = struct.unpack_from("=iI", parts[_ERROR])
    fsid = int(struct.unpack_from("=Q", parts[_FID])[0])
    return Report(fsid, errno.errorcode.get(abs(code), str(code)), count)


def _records(records: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _RECORD.size <= len(records):
        kind, _, length = _RECORD.unpack_from(records, at)
        if length < _RECORD.size:
            return
        yield kind, records[at + _RECORD.size : at + length]
        at += length


def fsid(fs_uuid: str) -> int:
    """What ``statvfs`` says of an ext file system; it would wait for the disk, on some kernels."""
    first, second = struct.unpack("<QQ", uuid.UUID(fs_uuid).bytes)
    return int(first ^ second)


class FsErrors:
    """
    A listener, in as many fanotify groups as it takes.

    A report names its file system by its UUID alone. What is left of an earlier mount of the same disk, kept by a
    bind mount or an open file, must not speak for the one that is mounted now: a file system that a group has
    listened to before gets another group, and a group whose mounts are all gone is closed.

    :raises OSError: if this kernel does not offer it.
    """

    def __init__(self) -> None:
        self._groups: list[_Group] = []
        self._epoll = select.epoll()
        self._open()
        #: Readable when there is something to read.
        self.fd = self._epoll.fileno()

    def add(self, mountpoint: str, fs_uuid: str) -> None:
        """
        Listen to the file system that is mounted there.

        :raises OSError: if that cannot be done.
        """
        number = fsid(fs_uuid)
        self._group_for(number).add(number, mountpoint)

    def _group_for(self, number: int) -> _Group:
        unheard = (group for group in self._groups if number not in group.heard)
        return next(unheard, None) or self._open()

    def _open(self) -> _Group:
        group = _Group()
        self._groups.append(group)
        self._epoll.register(group.fd, select.EPOLLIN)
        return group

    def keep(self, mountpoints: Collection[str]) -> None:
        """Forget all others."""
        for group in self._groups:
            group.where = {number: where for number, where in group.where.items() if where in mountpoints}
        for group in [one for one in self._groups if one.heard and not one.where]:
            self._groups.remove(group)
            os.close(group.fd)

    def read(self) -> list[tuple[str, str]]:
        """Mount point and error of what has come in. Does not wait."""
        return [said for group in self._groups for said in group.read()]

    def close(self) -> None:
        """Stop listening."""
        self._epoll.close()
        for group in self._groups:
            os.close(group.fd)


class _Group:
    """One fanotify group. heard: every file system it has ever listened to. where: the mount points of today."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd = _checked(self._libc.fanotify_init(_CLOEXEC | _NONBLOCK | _REPORT_FID, os.O_RDONLY))
        self.heard: set[int] = set()
        self.where: dict[int, str] = {}

    def add(self, number: int, mountpoint: str) -> None:
        mask, path = ctypes.c_uint64(_FS_ERROR), os.fsencode(mountpoint)
        _checked(self._libc.fanotify_mark(self.fd, _ADD | _FILESYSTEM, mask, _AT_FDCWD, path))
        self.heard.add(number)
        self.where[number] = mountpoint

    def read(self) -> list[tuple[str, str]]:
        try:
            reports = parse(os.read(self.fd, 1 << 16))
        except BlockingIOError:
            return []
        return [(self.where[one.fsid], one.error) for one in reports if one.fsid in self.where]


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
