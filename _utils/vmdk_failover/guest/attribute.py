"""One small file of sysfs that is read again and again: kept open, since that is several times as cheap."""

from __future__ import annotations

import os
from pathlib import Path


class Attribute:
    """
    A file of sysfs. To have it open keeps nothing mounted and no device there.

    :param path: it need not exist.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._fd = -1

    @property
    def was_there(self) -> bool:
        """It could be opened; if it cannot be read now, what it was of has gone."""
        return self._fd >= 0

    def read(self) -> str | None:
        """What it says now, without white space around it; ``None`` if it is not there or has gone since."""
        if self._fd < 0:
            return None
        try:
            return os.pread(self._fd, 4096, 0).decode(errors="replace").strip()
        except OSError:
            return None

    def close(self) -> None:
        """Let go of it."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
