"""
One at a time per resource, one power-off or reconfigure at a time per node, and one fence per ESXi host: advisory file locks
of this master.

A lock belongs to a process: the kernel gives it back when the process ends, however it ends. What its holder does is
written into the file for whoever comes second.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from vmdk_failover.errors import Busy, JournalError

#: So many bytes of a lock's file tell what its holder does.
_LONGEST = 1000


class FileLock:
    """
    The ``Lock`` port over a directory of lock files.

    :param directory: made if it is missing, mode 0700.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @contextlib.contextmanager
    def resource(self, name: str, doing: str, wait: float = 0.0) -> Iterator[None]:
        """Hold the lock of a resource; if it is not free within ``wait`` seconds, ``Busy`` with what its holder does."""
        with self._open(f"resource-{name}") as handle:
            if not _try_for(handle, wait):
                raise Busy(
                    f"{_words(handle)} is already under way for {name}; watch it with 'salt-run vmdk.status {name}'"
                )
            _write(handle, doing)
            yield

    @contextlib.contextmanager
    def node(self, minion: str, wait: float) -> Iterator[bool]:
        """Hold the lock of a node; waits ``wait`` seconds at most. Gives whether it was free at once."""
        with self._one("node", minion, "write to its VM", wait) as at_once:
            yield at_once

    @contextlib.contextmanager
    def host(self, name: str, wait: float) -> Iterator[bool]:
        """Hold the lock of an ESXi host; waits ``wait`` seconds at most. Gives whether it was free at once."""
        with self._one("host", name, "fence", wait) as at_once:
            yield at_once

    @contextlib.contextmanager
    def _one(self, kind: str, name: str, doing: str, wait: float) -> Iterator[bool]:
        with self._open(f"{kind}-{name.replace('/', '_')}") as handle:
            at_once = _try(handle)
            if not at_once and not _try_for(handle, wait):
                raise Busy(
                    f"another move is at work on {name} ({_words(handle)}) since more than {wait:.0f} s"
                )
            _write(handle, doing)
            yield at_once

    def is_free(self, name: str) -> bool:
        """Whether nobody holds the lock of a resource at this moment."""
        with self._open(f"resource-{name}") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    @contextlib.contextmanager
    def _open(self, name: str) -> Iterator[int]:
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self.directory / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as err:
            raise JournalError(
                f"the lock {self.directory / name}.lock cannot be opened: {err.strerror}"
            ) from err
        try:
            yield handle
        finally:
            os.close(handle)


def _try_for(handle: int, wait: float) -> bool:
    deadline = time.monotonic() + wait
    while not _try(handle):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True


def _try(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(handle: int, doing: str) -> None:
    """Over what stood there: on a full disk the space of a file that was emptied is somebody else's at once."""
    said = json.dumps({"doing": doing, "pid": os.getpid(), "since": time.time()}).encode()
    # if it cannot be told it is held all the same, and whoever comes second is told so in fewer words
    with contextlib.suppress(OSError):
        os.pwrite(handle, said.ljust(_LONGEST), 0)


def _words(handle: int) -> str:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        said = json.loads(os.pread(handle, _LONGEST, 0))
        return f"a {said['doing']} (process {said['pid']})"
    return "a move"
