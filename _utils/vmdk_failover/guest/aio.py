"""
Reads that never block the one who asks: Linux AIO by system call, no library.

``RWF_NOWAIT`` keeps even the submission from sleeping: with a full queue a read completes with ``-EAGAIN`` instead. A
process with a request that hangs cannot exit before it ends, so only the prober, which nobody waits for, uses this.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct

#: machine → numbers of io_setup, io_submit, io_getevents
_CALLS = {"x86_64": (206, 209, 208), "aarch64": (0, 2, 4)}
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


class Reader:
    """
    Asynchronous reads of one block each.

    :param size: how many may be under way at once.
    :raises OSError: if the kernel gives no AIO context, or on an unknown machine.
    """

    def __init__(self, size: int = 128, block: int = 4096) -> None:
        machine = os.uname().machine
        if machine not in _CALLS:
            raise OSError(f"asynchronous reads are not known for {machine}")
        self._setup, self._submit, self._getevents = _CALLS[machine]
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._size, self._block = size, block
        self._context = ctypes.c_uint64(0)
        self._events = ctypes.create_string_buffer(_EVENT.size * size)
        self._under_way: dict[int, tuple[_Iocb, mmap.mmap]] = {}
        self._free: list[tuple[_Iocb, mmap.mmap]] = []
        self.eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._call(self._setup, size, ctypes.byref(self._context))

    def _call(self, number: int, *arguments: object) -> int:
        result = int(self._libc.syscall(ctypes.c_long(number), *arguments))
        if result < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        return result

    def start(self, tag: int, fd: int, offset: int) -> None:
        """
        Start a read; ``eventfd`` becomes readable when one has ended.

        :param tag: number of the read, returned by :meth:`ended`; not one that is under way.
        :raises OSError: if the kernel refuses it at once.
        """
        block, buffer = self._free.pop() if self._free else self._block_of_ours()
        block.data, block.fd, block.offset = tag, fd, offset
        self._under_way[tag] = (block, buffer)  # the kernel writes to it until the read has ended
        try:
            pointers = (ctypes.POINTER(_Iocb) * 1)(ctypes.pointer(block))
            self._call(self._submit, self._context, ctypes.c_long(1), pointers)
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
        """Reads that have ended: (tag, bytes read or -errno, data). Does not wait."""
        try:
            os.eventfd_read(self.eventfd)
        except BlockingIOError:
            return []
        now = _Timespec(0, 0)
        count = self._call(
            self._getevents,
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
