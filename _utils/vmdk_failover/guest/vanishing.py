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

    :param hear: told the name of a device node that was deleted, or ``""`` when a watched file system has ended or the
        links to disks have changed.
    :raises ImportError: if pyinotify is not installed, or lacks asyncore (Python 3.12 and newer).
    :raises OSError: if the kernel gives no inotify.
    """

    def __init__(self, dev: Path, links: Path, hear: Callable[[str], None]) -> None:
        import pyinotify

        self._kinds, self._hear = pyinotify, hear
        self._manager = pyinotify.WatchManager()
        self._notifier = pyinotify.Notifier(self._manager, default_proc_fun=self._happened)
        self.fd = int(self._manager.get_fd())
        self._heard: set[str] = set()
        self._of_links = -1
        self._manager.add_watch(str(dev), pyinotify.IN_DELETE)
        changes = pyinotify.IN_CREATE | pyinotify.IN_MOVED_TO | pyinotify.IN_DELETE | pyinotify.IN_ONLYDIR
        if links.is_dir():
            self._of_links = self._manager.add_watch(str(links), changes)[str(links)]

    def add(self, mountpoint: str) -> None:
        """Tell when the file system that is mounted there has ended."""
        mask = self._kinds.IN_UNMOUNT | self._kinds.IN_ONLYDIR
        self._manager.add_watch(mountpoint, mask)

    def _happened(self, event: Any) -> None:
        if event.wd == self._of_links or event.mask & self._kinds.IN_UNMOUNT:
            self._heard.add("")
        elif event.mask & self._kinds.IN_DELETE:
            self._heard.add(str(event.name))

    def read(self) -> None:
        """Pass on what has come in, each word once. Call it when ``fd`` is readable."""
        self._notifier.read_events()
        self._notifier.process_events()
        heard, self._heard = self._heard, set()
        for word in sorted(heard):
            self._hear(word)
