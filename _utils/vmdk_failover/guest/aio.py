"""
Reads that never block the one who asks: Linux AIO by system call, no library.

``RWF_NOWAIT`` keeps even the submission from sleeping: with a full queue a read completes with ``-EAGAIN`` instead. A
process with a request that hangs cannot exit before it ends, so only the prober, which nobody waits for, uses this.
Where there is no AIO (a sandbox, all contexts taken, an unknown machine) each read gets a thread.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
import threading
from collections import deque
from typing import Protocol

from vmdk_failover.guest import syscalls

_PREAD, _RESFD, _NOWAIT = 0, 1, 8
_EVENT = struct.Struct("<QQqq")


class _Iocb(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_uint64),
        ("key", ctypes.c_uint32),
        ("rw_flags", ctypes.c_int32),
        ("opcode", ctypes.c_uint16),
        ("priority", ctypes.c_int16),
        ("fd", ctypes.c_uint32),
        ("buffer", ctypes.c_uint64),
        ("length", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("reserved", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("resfd", ctypes.c_uint32),
    )


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class Reads(Protocol):
    """Reads of one block each that are started now and looked at later."""

    eventfd: int

    def start(self, tag: int, fd: int, offset: int) -> None:
        """
        Start a read; ``eventfd`` becomes readable when one has ended.

        :param tag: number of the read, returned by :meth:`ended`; not one that is under way.
        :raises OSError: if the kernel refuses it at once.
        """

    def ended(self) -> list[tuple[int, int, bytes]]:
        """Reads that have ended: (tag, bytes read or -errno, data). Does not wait."""


def open_reads() -> tuple[Reads, str]:
    """The best there is on this machine, and why it is not AIO; empty if it is."""
    try:
        return Reader(), ""
    except OSError as err:
        return ThreadReader(), str(err.strerror or err)


class Reader:
    """
    Asynchronous reads of one block each, by AIO.

    :param size: how many may be under way at once.
    :raises OSError: if the kernel gives no AIO context, or on an unknown machine.
    """

    def __init__(self, size: int = 128, block: int = 4096) -> None:
        self._size, self._block = size, block
        self._context = ctypes.c_uint64(0)
        self._events = ctypes.create_string_buffer(_EVENT.size * size)
        self._under_way: dict[int, tuple[_Iocb, mmap.mmap]] = {}
        self._free: list[tuple[_Iocb, mmap.mmap]] = []
        syscalls.call("io_setup", size, ctypes.byref(self._context))
        self.eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def start(self, tag: int, fd: int, offset: int) -> None:
        """As :meth:`Reads.start`."""
        block, buffer = self._free.pop() if self._free else self._block_of_ours()
        block.data, block.fd, block.offset = tag, fd, offset
        self._under_way[tag] = (block, buffer)  # the kernel writes to it until the read has ended
        try:
            pointers = (ctypes.POINTER(_Iocb) * 1)(ctypes.pointer(block))
            syscalls.call("io_submit", self._context, ctypes.c_long(1), pointers)
        except OSError:
            self._free.append(self._under_way.pop(tag))
            raise

    def _block_of_ours(self) -> tuple[_Iocb, mmap.mmap]:
        buffer = mmap.mmap(-1, self._block)
        block = _Iocb(
            rw_flags=_NOWAIT,
            opcode=_PREAD,
            buffer=ctypes.addressof(ctypes.c_char.from_buffer(buffer)),
            length=self._block,
            flags=_RESFD,
            resfd=self.eventfd,
        )
        return block, buffer

    def ended(self) -> list[tuple[int, int, bytes]]:
        """As :meth:`Reads.ended`."""
        try:
            os.eventfd_read(self.eventfd)
        except BlockingIOError:
            return []
        now = _Timespec(0, 0)
        count = syscalls.call(
            "io_getevents",
            self._context,
            ctypes.c_long(0),
            ctypes.c_long(self._size),
            self._events,
            ctypes.byref(now),
        )
        return [self._one(index) for index in range(count)]

    def _one(self, index: int) -> tuple[int, int, bytes]:
        tag, _, result, _ = _EVENT.unpack_from(self._events, _EVENT.size * index)
        block, buffer = self._under_way.pop(tag)
        self._free.append((block, buffer))
        return tag, result, bytes(buffer[: max(0, result)])


class ThreadReader:
    """The same with a thread for each read: dearer, and as harmless to whoever asks."""

    def __init__(self, block: int = 4096) -> None:
        self._block = block
        self._done: deque[tuple[int, int, bytes]] = deque()
        self.eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def start(self, tag: int, fd: int, offset: int) -> None:
        """As :meth:`Reads.start`."""
        own = os.dup(fd)  # the one who asks may close his while the read hangs
        try:
            threading.Thread(target=self._read, args=(tag, own, offset), daemon=True).start()
        except RuntimeError as err:
            os.close(own)
            raise OSError(errno.EAGAIN, str(err)) from err

    def _read(self, tag: int, fd: int, offset: int) -> None:
        try:
            with mmap.mmap(-1, self._block) as buffer:
                count = os.preadv(fd, [buffer], offset)
                said = (tag, count, bytes(buffer[:count]))
        except OSError as err:
            said = (tag, -(err.errno or errno.EIO), b"")
        finally:
            os.close(fd)
        self._done.append(said)
        os.eventfd_write(self.eventfd, 1)

    def ended(self) -> list[tuple[int, int, bytes]]:
        """As :meth:`Reads.ended`."""
        try:
            os.eventfd_read(self.eventfd)
        except BlockingIOError:
            return []
        return [self._done.popleft() for _ in range(len(self._done))]
