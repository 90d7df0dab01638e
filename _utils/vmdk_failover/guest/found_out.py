"""
What a child that nobody waits for has found out on this node: told from a small file for each resource, renewed when it is
due.

What may take its time, or hang, is never asked by whoever answers the master. A question without an answer says nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vmdk_failover.guest import memory
from vmdk_failover.model import Resource

#: It is asked again when its last word is so many seconds old; that counts for a few times as long.
AGAIN_S = 60.0
COUNTS_S = 300.0

Leave = Callable[[Callable[[], Any]], Any]


@dataclass(frozen=True)
class Notes:
    """
    The files of one kind.

    :param suffix: of their names; the key of what was found, too. :param boot_id: of an earlier boot nothing counts.
    :param soon_s: seconds after which it is asked again where something was found; a person may be mending it.
    """

    state_dir: Path
    suffix: str
    boot_id: str
    soon_s: float = AGAIN_S

    def told(self, name: str, now: float) -> tuple[str, ...]:
        """
        What was found of a resource in the last minutes.

        :param now: seconds since boot.
        """
        found = self._read(name)
        at, words = found.get("at"), found.get(self.suffix)
        if not isinstance(at, float) or not 0 <= now - at <= COUNTS_S or not isinstance(words, list):
            return ()
        return tuple(str(one) for one in words)

    def renew(
        self,
        resources: Iterable[Resource],
        find: Callable[[Resource], Sequence[str] | None],
        clock: Callable[[], float],
        leave: Leave,
    ) -> None:
        """
        Have it found out again where that is due, for all of them by one child.

        :param find: called in the child; ``None`` if it cannot be found out: then the word before counts on.
        """
        due = [one for one in resources if self._is_due(one.name, clock())]
        try:
            for one in due:
                self._write(one.name, {**self._read(one.name), "asked": clock()})
            if due:
                leave(lambda: self._find_out(due, find, clock))
        except OSError:  # no place, or no process: it stays unknown
            return

    def _find_out(
        self,
        resources: Sequence[Resource],
        find: Callable[[Resource], Sequence[str] | None],
        clock: Callable[[], float],
    ) -> None:
        for one in resources:
            at, words = clock(), find(one)
            if words is not None:
                self._write(one.name, {"asked": at, "at": at, self.suffix: list(words)})

    def _is_due(self, name: str, now: float) -> bool:
        found = self._read(name)
        asked, again = found.get("asked"), self.soon_s if found.get(self.suffix) else AGAIN_S
        return not isinstance(asked, float) or not 0 <= now - asked < again

    def _read(self, name: str) -> dict[str, Any]:
        """What was written in this boot; empty if nothing was, or it is damaged."""
        try:
            found = json.loads(self._path(name).read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) and found.get("boot_id") == self.boot_id else {}

    def _write(self, name: str, body: dict[str, Any]) -> None:
        memory.write(self._path(name), {**body, "boot_id": self.boot_id})

    def _path(self, name: str) -> Path:
        return self.state_dir / f"{quote(name, safe='')}.{self.suffix}"
