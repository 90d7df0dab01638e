"""
A running engine finds out that a sync or an installation has brought another version of itself.

Salt starts an engine once, with the minion, and again when it ends. So the engine of an older version ends, and the minion,
which goes on, starts the newer one some seconds later; meanwhile the beacon reports.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from vmdk_failover.guest import places

#: Seconds for which the files must have been left alone: others of the same version may be on their way.
SETTLED_S = 3.0
_VERSION = re.compile(r'^(?:__version__|_WANT) = "([^"]+)"$', re.MULTILINE)


class Renewal:
    """
    What the files of this extension say by now. Reads them only when one of them was replaced.

    :param files: files of this extension that say their version: the library's and the engine's own.
    :param version: the version that runs.
    :param clock: any clock that rises, seconds.
    """

    def __init__(self, *files: Path, version: str, clock: Callable[[], float] = places.boot_clock) -> None:
        self._files, self._version, self._clock = files, version, clock
        self._seen, self._since = self._marks(), float("inf")

    def is_due(self) -> bool:
        """Whether all files have agreed for some seconds on one version, and it is another than the one that runs."""
        marks, now = self._marks(), self._clock()
        if marks != self._seen:
            self._seen, self._since = marks, now
        if now - self._since < SETTLED_S:
            return False
        self._since = float("inf")
        found = {_version_in(path) for path in self._files}
        return len(found) == 1 and found.isdisjoint({"", self._version})

    def _marks(self) -> list[tuple[int, int, int]]:
        return [_mark(path) for path in self._files]


def _mark(path: Path) -> tuple[int, int, int]:
    """Differs after a file was replaced or written; zeroes while there is none."""
    try:
        seen = path.stat()
    except OSError:
        return (0, 0, 0)
    return (seen.st_ino, seen.st_mtime_ns, seen.st_size)


def _version_in(path: Path) -> str:
    found = _VERSION.search(places.read(path) or "")
    return found.group(1) if found else ""
