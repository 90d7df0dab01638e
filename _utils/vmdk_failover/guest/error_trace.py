"""
Every request that a block device fails, at once: the kernel's tracepoint ``block_rq_error`` (Linux 5.18) by perf events.

The kernel's log says the same, but no more than ten lines in five seconds for all disks together: a failing neighbour
would hide ours. Nothing of this outlives the process: the tracefs is mounted for it alone, and invisibly.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import re
import struct
from dataclasses import dataclass, field

from vmdk_failover.guest import syscalls
from vmdk_failover.guest.counters import READ, WRITE

_EVENT = "events/block/block_rq_error"
_FSCONFIG_CREATE, _CLOEXEC = 6, 1
_TRACEPOINT, _RAW_SAMPLE, _PERF_CLOEXEC = 2, 1 << 10, 8
_RECORD_SAMPLE, _SET_FILTER = 9, 0x40082406
_HEAD, _TAIL, _PAGES = 1024, 1032, 8
_FILTER_LIMIT = 4000
#: Errors by which a disk says that it cannot write zeroes by itself, or not so many; the kernel writes them one by one then.
_CANNOT_ZERO = frozenset({errno.EOPNOTSUPP, errno.EREMOTEIO})
_FIELD = re.compile(r"field:(?:[\w ]+?) (dev|sector|error|rwbs)(?:\[\d+\])?;\s+offset:(\d+);\s+size:(\d+);")


@dataclass(frozen=True)
class Failure:
    """
    A request that failed.

    :param number: the disk's ``major:minor``.
    :param about: ``read`` or ``write``.
    :param sector: where on the disk (in 512 bytes), -1 if the kernel does not say so.
    """

    number: str
    about: str
    error: str
    sector: int = field(default=-1, compare=False)


def _private_tracefs() -> int:
    """A tracefs that is mounted nowhere; the caller closes it."""
    context = syscalls.call("fsopen", b"tracefs", ctypes.c_int(_CLOEXEC))
    try:
        syscalls.call(
            "fsconfig", ctypes.c_int(context), ctypes.c_int(_FSCONFIG_CREATE), None, None, ctypes.c_int(0)
        )
        return syscalls.call("fsmount", ctypes.c_int(context), ctypes.c_int(_CLOEXEC), ctypes.c_int(0))
    finally:
        os.close(context)


def _describe() -> tuple[int, str]:
    """The event's number and the text that describes its record."""
    root = _private_tracefs()
    try:
        texts = []
        for part in ("id", "format"):
            fd = os.open(f"{_EVENT}/{part}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=root)
            with os.fdopen(fd) as file:
                texts.append(file.read())
        return int(texts[0]), texts[1]
    finally:
        os.close(root)


def fields(description: str) -> dict[str, tuple[int, int]]:
    """
    Offset and size of the fields of a record.

    :raises ValueError: if one that is needed is not there.
    """
    found = {name: (int(offset), int(size)) for name, offset, size in _FIELD.findall(description)}
    if not {"dev", "error", "rwbs"} <= set(found):
        raise ValueError(f"the kernel's description of {_EVENT} is not understood")
    return found


def failure(raw: bytes, where: dict[str, tuple[int, int]]) -> Failure | None:
    """Read one record; ``None`` for what harms nobody (a failed discard, a refusal to write zeroes)."""
    if len(raw) < max(at + size for at, size in where.values()):
        return None
    device, code = (struct.unpack_from("=i", raw, where[name][0])[0] for name in ("dev", "error"))
    at, size = where["rwbs"]
    kind = raw[at : at + size].split(b"\0")[0].decode(errors="replace")
    if kind.startswith("D") or (kind.startswith(("N", "WZ")) and abs(code) in _CANNOT_ZERO):
        return None
    about = READ if "R" in kind and "W" not in kind else WRITE
    number = f"{(device & 0xFFFFFFFF) >> 20}:{device & 0xFFFFF}"
    place = int(struct.unpack_from("=q", raw, where["sector"][0])[0]) if "sector" in where else -1
    return Failure(number, about, errno.errorcode.get(abs(code), str(code)), place)


class _Ring:
    """The failures that one processor has seen."""

    def __init__(self, event: int, cpu: int) -> None:
        attributes = struct.pack("=IIQQQQQII", _TRACEPOINT, 64, event, 1, _RAW_SAMPLE, 0, 0, 1, 0)
        self.fd = syscalls.call(
            "perf_event_open",
            attributes,
            ctypes.c_int(-1),
            ctypes.c_int(cpu),
            ctypes.c_int(-1),
            ctypes.c_ulong(_PERF_CLOEXEC),
        )
        try:
            self._map = mmap.mmap(self.fd, (1 + _PAGES) * mmap.PAGESIZE, mmap.MAP_SHARED)
        except OSError:
            os.close(self.fd)
            raise

    def close(self) -> None:
        """Give the ring back."""
        self._map.close()
        os.close(self.fd)

    def _bytes(self, at: int, length: int) -> bytes:
        size = _PAGES * mmap.PAGESIZE
        start = at % size
        first = self._map[mmap.PAGESIZE + start : mmap.PAGESIZE + min(start + length, size)]
        return first + self._map[mmap.PAGESIZE : mmap.PAGESIZE + length - len(first)]

    def records(self) -> list[bytes]:
        """Raw records since the last call."""
        (head,) = struct.unpack_from("=Q", self._map, _HEAD)
        (tail,) = struct.unpack_from("=Q", self._map, _TAIL)
        found = []
        while tail < head:
            kind, _, size = struct.unpack("=IHH", self._bytes(tail, 8))
            if kind == _RECORD_SAMPLE:
                (length,) = struct.unpack("=I", self._bytes(tail + 8, 4))
                found.append(self._bytes(tail + 12, length))
            tail += size
        struct.pack_into("=Q", self._map, _TAIL, tail)
        return found


class ErrorTrace:
    """
    A listener for failed requests of some disks alone: others may fail thousands of times a second.

    :param numbers: ``major:minor`` of the disks. The kernel takes them once: for others make a new listener.
    :raises OSError, ValueError, KeyError: if this kernel or machine does not offer it.
    """

    def __init__(self, numbers: frozenset[str]) -> None:
        event, description = _describe()
        self._where = fields(description)
        self._rings: dict[int, _Ring] = {}
        try:
            for cpu in _cpus():
                ring = _Ring(event, cpu)
                self._rings[ring.fd] = ring
                fcntl.ioctl(ring.fd, _SET_FILTER, _filter(numbers))
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Stop listening."""
        for ring in self._rings.values():
            ring.close()
        self._rings = {}

    def filenos(self) -> tuple[int, ...]:
        """Descriptors that become readable when a request has failed, one per processor."""
        return tuple(self._rings)

    def read(self, fd: int) -> list[Failure]:
        """The failures that have come in on one descriptor. Does not wait."""
        found = (failure(raw, self._where) for raw in self._rings[fd].records())
        return [one for one in found if one is not None]


def _filter(numbers: frozenset[str]) -> bytearray:
    pairs = (number.partition(":") for number in numbers)
    wanted = sorted(int(major) << 20 | int(minor) for major, _, minor in pairs) or [0]
    words = " || ".join(f"dev == {one}" for one in wanted)
    if len(words) >= _FILTER_LIMIT:  # the reader sorts out what is not meant
        words = f"dev >= {wanted[0]} && dev <= {wanted[-1]}"
    return bytearray(words.encode() + b"\0")  # Python passes no more than 1024 immutable bytes


def _cpus() -> list[int]:
    """Processors that are online."""
    with open("/sys/devices/system/cpu/online", encoding="ascii") as file:
        ranges = [part.split("-") for part in file.read().strip().split(",")]
    return [cpu for part in ranges for cpu in range(int(part[0]), int(part[-1]) + 1)]
