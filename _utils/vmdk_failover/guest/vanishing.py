"""
That a device node is deleted, and that a file system has ended for good: by inotify, if ``pyinotify`` is installed.

``IN_UNMOUNT`` belongs to the superblock: it comes when the last mount, user and namespace has let go, not before.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


class Vanishing:
    """
    A listener.

    :param hear: told the name of a device node that was deleted, or ``""`` when a watched file system has ended.
    :raises ImportError: if pyinotify is not installed, or lacks asyncore (Python 3.12 and newer).
    :raises OSError: if the kernel gives no inotify.
    """

    def __init__(self, dev: Path, hear: Callable[[str], None]) -> None:
        import pyinotify

        self._kinds, self._hear = pyinotify, hear
        self._manager = pyinotify.WatchManager()
        self._notifier = pyinotify.Notifier(self._manager, default_proc_fun=self._happened)
        self.fd = int(self._manager.get_fd())
        self._manager.add_watch(str(dev), pyinotify.IN_DELETE)

    def add(self, mountpoint: str) -> None:
        """Tell when the file system that is mounted there has ended."""
        mask = self._kinds.IN_UNMOUNT | self._kinds.IN_ONLYDIR
        self._manager.add_watch(mountpoint, mask)

    def _happened(self, event: Any) -> None:
        if event.mask & self._kinds.IN_UNMOUNT:
            self._hear("")
        elif event.mask & self._kinds.IN_DELETE:
            self._hear(str(event.name))

    def read(self) -> None:
        """Pass on what has come in. Call it when ``fd`` is readable."""
        self._notifier.read_events()
        self._notifier.process_events()
