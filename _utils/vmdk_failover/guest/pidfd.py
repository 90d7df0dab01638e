"""
Holding on to one process: to signal it and to wait for its end without ever meeting another that has got its number.

By pidfd (Linux 5.3). Older kernels have none, nor have some sandboxes: there a thread looks at the process' start time.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

_LOOK_S = 0.01


def stat(pid: int) -> tuple[str, int]:
    """A process' state letter and its start time (clock ticks since boot); ``("", 0)`` if there is no such process."""
    try:
        words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return words[0].decode(), int(words[19])
    except (OSError, IndexError, ValueError):
        return "", 0


class Handle:
    """
    One process. Its descriptor is readable as soon as the process has ended, buried or not.

    :raises ProcessLookupError: if there is no such process.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._exact = True
        try:
            self._fd = os.pidfd_open(pid)
        except ProcessLookupError:
            raise
        except (OSError, AttributeError):  # AttributeError: a Python that was built on an old kernel
            self._exact = False
            self._fd = self._watched()

    def _watched(self) -> int:
        self._started = stat(self.pid)[1]
        if not self._started:
            raise ProcessLookupError(self.pid)
        fd = os.eventfd(0, os.EFD_CLOEXEC)
        threading.Thread(target=_watch, args=(self.pid, self._started, os.dup(fd)), daemon=True).start()
        return fd

    def fileno(self) -> int:
        """For ``select`` and ``poll``."""
        return self._fd

    def send(self, number: int) -> None:
        """Signal the process. Raises ``ProcessLookupError`` if it has ended."""
        if self._exact and hasattr(signal, "pidfd_send_signal"):
            signal.pidfd_send_signal(self._fd, number)
        elif self._exact or stat(self.pid)[1] == self._started:
            os.kill(self.pid, number)
        else:
            raise ProcessLookupError(self.pid)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)


def _watch(pid: int, started: int, fd: int) -> None:
    """``fd`` is ours: the holder may have closed its own, and the number may be another file's by then."""
    try:
        while True:
            state, since = stat(pid)
            if since != started or state in ("Z", "X"):
                break
            time.sleep(_LOOK_S)
        os.eventfd_write(fd, 1)
    finally:
        os.close(fd)
