"""
Following the histories of all resources as they grow, line by line, also across the beginning of a new part.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class _Place:
    """How far a history was read: which file, how many bytes of it."""

    inode: int = 0
    offset: int = 0


@dataclass
class Follower:
    """
    Reads everything at first, then what is new.

    :param directory: the journal's.
    """

    directory: Path
    places: dict[str, _Place] = field(default_factory=dict)

    def news(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Resource and entry of each whole line that was not read yet; what cannot be read comes the next time."""
        with contextlib.suppress(OSError):
            for path in sorted(self.directory.glob("*.log")):
                for line in self._lines(path):
                    with contextlib.suppress(ValueError, RecursionError):
                        entry = json.loads(line)
                        if isinstance(entry, dict):
                            yield path.stem, entry

    def _lines(self, path: Path) -> Iterator[bytes]:
        place = self.places.setdefault(path.stem, _Place())
        old = path.with_suffix(".log.old")
        with contextlib.suppress(OSError):
            before = os.stat(old).st_ino
            if place.inode in (0, before):  # read from the start, or to its end after a new part was begun
                yield from self._rest(old, place)
        with contextlib.suppress(OSError):
            if os.stat(path).st_ino != place.inode:
                place.inode, place.offset = os.stat(path).st_ino, 0
            yield from self._rest(path, place)

    def _rest(self, path: Path, place: _Place) -> Iterator[bytes]:
        with open(path, "rb") as file:
            place.inode = os.fstat(file.fileno()).st_ino
            file.seek(place.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                place.offset += len(line)
                yield line
