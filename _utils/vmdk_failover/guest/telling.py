"""What the prober tells: changes at once to all readers, a heartbeat each second, and a file with its latest word."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vmdk_failover import __version__
from vmdk_failover.guest import channel, memory
from vmdk_failover.guest.latest import FILE
from vmdk_failover.guest.watched import Watched, report


class Telling:
    """
    The prober's mouth, and its ear for its readers.

    :param live: what is listened to, by source; looked at again and again.
    :raises OSError: if the socket cannot be made.
    """

    def __init__(self, state_dir: Path, slot: int, live: Mapping[str, str]) -> None:
        self._dir, self._live = state_dir, live
        self._readers = channel.Server(state_dir, slot)
        self._told: dict[str, tuple[str, str]] = {}
        self._last: dict[str, dict[str, Any]] = {}
        self._written: dict[str, str] = {}
        self._seq = 0
        self.boot_id = ""

    def fileno(self) -> int:
        """Readable when a reader speaks, comes or goes."""
        return self._readers.fileno()

    @property
    def has_readers(self) -> bool:
        """Somebody reads."""
        return self._readers.count > 0

    def words(self) -> list[str]:
        """What readers have said; new ones are told everything."""
        return self._readers.serve(lambda: list(self._last.values()))

    def forget(self, name: str) -> None:
        """A resource is not watched any more."""
        self._last.pop(name, None)
        self._told.pop(name, None)

    def tell(self, now: float, ones: Iterable[Watched]) -> None:
        """Push what has changed of some resources."""
        changed = []
        for one in ones:
            name, sign = one.resource.name, one.verdict.current(now)
            if self._told.get(name) != (sign.condition, sign.evidence):
                self._told[name] = (sign.condition, sign.evidence)
                self._seq += 1
                self._last[name] = dict(report(name, one, now, self.boot_id, self._seq))
                changed.append(self._last[name])
        if changed:
            for one_report in changed:  # at once; the file is for those who ask later
                self._readers.push(one_report)
            self._write(now)

    def beat(self, now: float) -> None:
        """Say that the prober lives and that its latest word still holds."""
        self._readers.catch_up(list(self._last.values()))
        self._readers.push({"heartbeat": round(now, 3), "boot_id": self.boot_id, "version": __version__})
        try:
            if self._live == self._written:
                return os.utime(self._dir / FILE, (now, now))
        except FileNotFoundError:
            pass
        self._write(now)

    def _write(self, now: float) -> None:
        of_itself = {"pid": os.getpid(), "version": __version__, "sources": self._live}
        word = {"boot_id": self.boot_id, "at": now, "reports": self._last, **of_itself}
        memory.write(self._dir / FILE, word)
        self._written = dict(self._live)
