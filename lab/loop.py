"""Loop devices: configured in one call, marked as the lab's, given back by the kernel when nobody has them open."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from lab.linux import wait_until

MARK = "vmdk-lab:"

_CONFIGURE, _STATUS64, _CLEAR, _GET_FREE = 0x4C0A, 0x4C05, 0x4C01, 0x4C82
_AUTOCLEAR, _DIRECT_IO = 4, 16
_INFO = struct.Struct("=5Q4I64s64s32s2Q")  # struct loop_info64
_CONFIG = struct.Struct(f"=2I{_INFO.size}s8Q")  # struct loop_config
_TRIES = 20


@dataclass(frozen=True)
class Loop:
    """One configured loop device. fd: an open descriptor that keeps it; while nobody has one, the kernel clears it."""

    number: int
    fd: int

    @property
    def name(self) -> str:
        """The kernel's name, such as loop7."""
        return f"loop{self.number}"

    @property
    def path(self) -> str:
        """The device file of the machine."""
        return f"/dev/{self.name}"


def _node(number: int) -> str:
    path = f"/dev/loop{number}"
    if not os.path.exists(path):  # no devtmpfs here
        os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(7, number))
    return path


def _configure(number: int, file_fd: int, mark: str, direct_io: bool) -> Loop | None:
    device = os.open(_node(number), os.O_RDWR | os.O_CLOEXEC)
    flags = _AUTOCLEAR | (_DIRECT_IO if direct_io else 0)
    info = _INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, flags, mark.encode()[:63], b"", b"", 0, 0)
    try:
        fcntl.ioctl(device, _CONFIGURE, _CONFIG.pack(file_fd, 0, info, *(0,) * 8))
    except OSError as error:
        os.close(device)
        if error.errno == errno.EBUSY:  # somebody else was faster
            return None
        raise
    return Loop(number, device)


def create(file_fd: int, mark: str, direct_io: bool = True) -> Loop:
    """Put a free loop device on an open file.

    mark: what it is for; leftovers are found by it (at most 54 characters). Raises OSError.
    """
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_TRIES):
            loop = _configure(fcntl.ioctl(control, _GET_FREE), file_fd, MARK + mark, direct_io)
            if loop is not None:
                return loop
    finally:
        os.close(control)
    raise OSError(
        errno.EBUSY, "no free loop device in 20 tries; are others taking them?", "/dev/loop-control"
    )


def release(loop: Loop) -> None:
    """Let go of it; it is cleared as soon as nothing is mounted from it."""
    os.close(loop.fd)


def is_configured(name: str) -> bool:
    """Whether loop device `name` still has a file below it."""
    return os.path.exists(f"/sys/block/{name}/loop/backing_file")


def has_superblock(name: str) -> bool:
    """Whether the kernel still keeps a file system of device `name`, mounted or not."""
    return any(os.path.exists(f"/sys/fs/{fs}/{name}") for fs in ("ext4", "xfs"))


def configuration(name: str) -> int:
    """A number that stands for what is configured on loop device `name` now; 0 when nothing is.

    It changes when the device is cleared and taken again, by this lab or by somebody else.
    """
    try:
        return os.stat(f"/sys/block/{name}/loop").st_ino
    except FileNotFoundError:
        return 0


def wait_gone(name: str, was: int, seconds: float) -> bool:
    """Wait until `name` no longer is what `configuration` said it was: the kernel clears a loop device only after the
    last file system on it is gone. Returns whether that came true in time."""
    return wait_until(lambda: configuration(name) != was, seconds)


def mark_of(number: int) -> str | None:
    """The lab's mark on loop device `number`; None when it is not the lab's or not in use."""
    try:
        device = os.open(f"/dev/loop{number}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        answer = fcntl.ioctl(device, _STATUS64, bytes(_INFO.size))
    except OSError:
        return None
    finally:
        os.close(device)
    mark = _INFO.unpack(answer)[9].split(b"\0")[0].decode(errors="replace")
    return mark[len(MARK) :] if mark.startswith(MARK) else None


def ours() -> Iterator[tuple[int, str]]:
    """Every loop device that carries the lab's mark: (number, mark)."""
    for name in os.listdir("/sys/block"):
        if name.startswith("loop") and is_configured(name):
            number = int(name[4:])
            mark = mark_of(number)
            if mark is not None:
                yield number, mark


def clear(number: int) -> None:
    """Take the file away from loop device `number`, now or when its last user lets go."""
    device = os.open(f"/dev/loop{number}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(device, _CLEAR)
    except OSError as error:
        if error.errno != errno.ENXIO:  # ENXIO: it is clear already
            raise
    finally:
        os.close(device)
