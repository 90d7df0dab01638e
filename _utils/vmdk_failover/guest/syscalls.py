"""
System calls that libc has no function for: their numbers on each machine, in one table.

A number of the wrong machine is another call, so what is not in the table is not tried: the feature is off and says so.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Mapping

#: machine, as ``uname -m`` says it → call → number
NUMBERS: Mapping[str, Mapping[str, int]] = {
    "x86_64": {
        "io_setup": 206,
        "io_getevents": 208,
        "io_submit": 209,
        "perf_event_open": 298,
        "fsopen": 430,
        "fsconfig": 431,
        "fsmount": 432,
    },
    "aarch64": {
        "io_setup": 0,
        "io_submit": 2,
        "io_getevents": 4,
        "perf_event_open": 241,
        "fsopen": 430,
        "fsconfig": 431,
        "fsmount": 432,
    },
}
_libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> int:
    """
    Make a system call; its result is not negative.

    :param arguments: as ctypes takes them: plain integers are passed as C's ``int``.
    :raises OSError: with the kernel's errno, ``ENOSYS`` if the call is not known for this machine.
    """
    machine = os.uname().machine
    number = NUMBERS.get(machine, {}).get(name)
    if number is None or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise OSError(errno.ENOSYS, f"{name} is not known for {machine}")
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
