"""The system calls of the lab that Python's standard library does not have. Linux >= 5.12, root, little-endian."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

_FSOPEN, _FSCONFIG, _FSMOUNT, _MOUNT_SETATTR = 430, 431, 432, 442
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 1, 6
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_MOUNT_ATTR_RDONLY = 1
_PR_SET_PDEATHSIG = 1
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK = 0x8913, 0x8914, 0x8916, 0x891C
_IFF_UP = 1
_SIOCADDRT = 0x890B
_RTF_UP = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)


def mount(source: str | None, target: str, fstype: str | None = None, flags: int = 0, data: str = "") -> None:
    """mount(2). Raises OSError that names the target."""
    _checked(_libc.mount(_bytes(source), _bytes(target), _bytes(fstype), flags, _bytes(data or None)), target)


def umount(target: str, flags: int = 0) -> None:
    """umount2(2). Raises OSError that names the target."""
    _checked(_libc.umount2(_bytes(target), flags), target)


def bind(source: str, target: str, read_only: bool = False) -> None:
    """Show `source` (file or directory) at `target` as well."""
    mount(source, target, None, MS_BIND)
    if read_only:
        mount(None, target, None, MS_BIND | MS_REMOUNT | MS_RDONLY)


def unshare(flags: int) -> None:
    """unshare(2) for the calling thread; call it before any other thread exists."""
    _checked(_libc.unshare(flags), "unshare")


def setns(fd: int, flags: int) -> None:
    """setns(2): enter the namespace that `fd` stands for."""
    _checked(_libc.setns(fd, flags), "setns")


def die_with_parent(sign: int = signal.SIGKILL) -> None:
    """Have the kernel send `sign` to this process when the thread that forked it ends."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, sign, 0, 0, 0), "prctl")


def make_private(path: str = "/") -> None:
    """Stop mounts below `path` from travelling to and from other mount namespaces."""
    mount(None, path, None, MS_REC | MS_PRIVATE)


def make_read_only(path: str = "/") -> None:
    """Make every mount at and below `path` read-only in this mount namespace alone (the file systems stay as they are)."""
    attributes = struct.pack("=QQQQ", _MOUNT_ATTR_RDONLY, 0, 0, 0)
    _checked(
        _libc.syscall(
            _MOUNT_SETATTR, _AT_FDCWD, os.fsencode(path), _AT_RECURSIVE, attributes, len(attributes)
        ),
        f"mount_setattr {path}",
    )


def fuse_file_mount(fuse_fd: int, source: str) -> int:
    """Mount a FUSE file system whose root is one regular file, in no mount table at all.

    fuse_fd: an open /dev/fuse. source: the name to show. Returns a descriptor of the mount: while it, or a file opened
    through it, lives, so does the file system. Nothing has to be unmounted after a crash.
    """
    context = _checked(_libc.syscall(_FSOPEN, b"fuse", _FSOPEN_CLOEXEC), "fsopen fuse")
    try:
        options = {
            "source": source,
            "fd": str(fuse_fd),
            "rootmode": "100600",
            "user_id": "0",
            "group_id": "0",
        }
        for key, value in options.items():
            words = (_FSCONFIG_SET_STRING, key.encode(), value.encode(), 0)
            _checked(_libc.syscall(_FSCONFIG, context, *words), f"fsconfig {key}")
        _checked(_libc.syscall(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0), "fsconfig create")
        return _checked(_libc.syscall(_FSMOUNT, context, _FSMOUNT_CLOEXEC, 0), "fsmount fuse")
    finally:
        os.close(context)


def punch_hole(fd: int, offset: int, length: int) -> None:
    """Give back a range of a file; it reads as zeros from then on."""
    keep_size_and_punch = 0x01 | 0x02
    arguments = (fd, keep_size_and_punch, ctypes.c_long(offset), ctypes.c_long(length))
    _checked(_libc.fallocate(*arguments), "fallocate")


@contextmanager
def _inet() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        yield sock


def _flags(sock: socket.socket, name: str, change: Callable[[int], int]) -> None:
    request = struct.pack("16sH22x", name.encode(), 0)
    flags = struct.unpack_from("H", fcntl.ioctl(sock, _SIOCGIFFLAGS, request), 16)[0]
    fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), change(flags)))


def loopback_up() -> None:
    """Bring up `lo` of this network namespace."""
    with _inet() as sock:
        _flags(sock, "lo", lambda flags: flags | _IFF_UP)


def add_address(label: int, address: str) -> None:
    """Give `lo` one more IPv4 address, under the alias `lo:<label>`."""
    name = f"lo:{label}".encode()
    with _inet() as sock:
        for call, value in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, "255.255.255.255")):
            request = struct.pack("16sHH4s16x", name, socket.AF_INET, 0, socket.inet_aton(value))
            fcntl.ioctl(sock, call, request)


def route_to_nowhere(network: str, mask: str) -> None:
    """Have `lo` swallow what goes to addresses of `network` that nobody has, as a switch does: no answer, no error."""
    device = ctypes.create_string_buffer(b"lo")
    parts = [
        struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(one)) for one in (network, "0.0.0.0", mask)
    ]
    request = struct.pack("=Q48sHhxxxxQQhxxxxxxQQQHxxxxxx", 0, b"".join(parts), _RTF_UP, 0, 0, 0, 0,
                          ctypes.addressof(device), 0, 0, 0)  # fmt: skip
    with _inet() as sock:
        fcntl.ioctl(sock, _SIOCADDRT, request)


def drop_address(label: int) -> None:
    """Take the alias `lo:<label>` away; its address answers nothing from then on. No error when it is not there."""
    with _inet() as sock:
        try:
            _flags(sock, f"lo:{label}", lambda flags: flags & ~_IFF_UP)
        except OSError:
            return  # it is not there


def wait_until(condition: Callable[[], bool], seconds: float, pause: float = 0.005) -> bool:
    """Look until `condition` holds, for at most `seconds`. Returns whether it held."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
    return True
