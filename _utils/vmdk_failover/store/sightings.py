"""
Who saw what before anything was decided: hints as they came, for the picture of an incident.

Hints can be forged and may be lost; nothing is decided by this file. It is written by the watches, is small, and begins anew when
it is full; one older part is kept.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vmdk_failover.store import durable

FOLDER = "sightings"
#: Bytes of one part.
LIMIT = 128 << 10
#: The same of the same is written down so many seconds apart.
APART = 10.0
#: No text is kept longer than this.
LONGEST = 300


@dataclass
class Sightings:
    """Writes them down. :param state_dir: the master's."""

    state_dir: Path
    wall: Callable[[], float] = time.time
    last: dict[tuple[str, ...], float] = field(default_factory=dict)

    def note(self, resource: str, who: str, what: str, words: str = "", node: str = "") -> None:
        """
        Write down that ``who`` (``vcenter``, a minion id, ``engine``) told of ``what``; never raises.

        :param words: evidence, as it was told. :param node: whose VM ``vcenter`` told of.
        """
        now = self.wall()
        which = (resource, who, what, node)
        if 0 <= now - self.last.get(which, float("-inf")) < APART:
            return
        self.last[which] = now
        entry = {"at": now, "who": who[:LONGEST], "what": what[:LONGEST], "words": words[:LONGEST]}
        with contextlib.suppress(OSError):
            durable.append(_path(self.state_dir, resource), json.dumps(entry).encode() + b"\n", LIMIT)


def read(state_dir: Path, resource: str, since: float, until: float) -> list[dict[str, Any]]:
    """What was seen of a resource between two moments (wall seconds), oldest first; nothing if it cannot be read."""
    found = []
    path = _path(state_dir, resource)
    for part in (path.with_suffix(".log.old"), path):
        with contextlib.suppress(OSError):
            for line in part.read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(ValueError, TypeError, KeyError):
                    entry = json.loads(line)
                    if since <= float(entry["at"]) <= until:
                        found.append({key: entry.get(key, "") for key in ("at", "who", "what", "words")})
    return sorted(found, key=lambda entry: float(entry["at"]))


def _path(state_dir: Path, resource: str) -> Path:
    return state_dir / FOLDER / f"{resource}.log"
