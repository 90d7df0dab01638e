"""What keeps a node that halts itself from halting the user's machine.

A node's /proc/sysrq-trigger and watchdogs must lead to a pipe of the lab; a byte written there is the guest's halt.
"""

from __future__ import annotations

import os
import select
import stat
import threading
from collections.abc import Callable
from pathlib import Path

from lab.cell import LabError

TRIGGER = "/proc/sysrq-trigger"


def _is(path: Path, fifo: os.stat_result) -> bool:
    found = path.stat()
    return stat.S_ISFIFO(found.st_mode) and (found.st_dev, found.st_ino) == (fifo.st_dev, fifo.st_ino)


def _dangers(root: Path) -> list[Path]:
    watchdogs = sorted((root / "dev").glob("watchdog*"))
    trigger = root / TRIGGER.lstrip("/")
    return [path for path in (trigger, *watchdogs) if path.exists()]


def check(name: str, root: Path, fifo: Path) -> None:
    """Refuse a node whose sysrq trigger or watchdog is the machine's own.

    name: of the node. root: its file tree as seen from outside. fifo: the lab's pipe. Raises LabError.
    """
    ours = fifo.stat()
    if not stat.S_ISFIFO(ours.st_mode):
        raise LabError(
            f"node {name}: {fifo} is no pipe, so a halt of the node has nowhere to go; run `python -m lab cleanup`"
        )
    for path in _dangers(root):
        if not _is(path, ours):
            inside = "/" + str(path.relative_to(root))
            raise LabError(
                f"node {name}: {inside} is not the lab's pipe, so its programs could reboot this machine; "
                "the lab starts none of them (please report this with the kernel's version)"
            )


class HaltPipe:
    """Reads a node's pipe. on_halt: called in a thread with `o` (power off) or `b` (reset) when one is written there."""

    def __init__(self, fifo: Path, on_halt: Callable[[str], None]) -> None:
        self._fd = os.open(fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._stop, self._stopper = os.pipe()
        self._on_halt = on_halt
        self._thread = threading.Thread(target=self._read, name=f"halt {fifo}", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while True:
            ready = select.select([self._fd, self._stop], [], [])[0]
            if self._stop in ready:
                return
            wanted = [letter for letter in os.read(self._fd, 4096).decode(errors="replace") if letter in "ob"]
            if wanted:
                self._on_halt(wanted[0])

    def close(self) -> None:
        """Stop reading."""
        os.close(self._stopper)
        if threading.current_thread() is not self._thread:
            self._thread.join(5)
            os.close(self._fd)
            os.close(self._stop)
