"""
A node's word that it cannot use a disk, signed and said unasked, again and again.

Who is asked answers by a job of the minion, and a minion whose own disk fails, is full or read-only runs none. Engine and beacon
need no disk for what they say.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vmdk_failover import signing
from vmdk_failover.guest import latest
from vmdk_failover.guest.places import HERE, boot_clock, read
from vmdk_failover.model import FAILED_CONDITIONS

TAG = "vmdk-failing/"
#: Seconds between two words.
EVERY = 2.0
_FAILED = frozenset(one.value for one in FAILED_CONDITIONS)


class Complaints:
    """
    What is to be said.

    :param clock: boot clock, seconds.
    """

    def __init__(self, state_dir: Path, clock: Callable[[], float] = boot_clock) -> None:
        self._dir, self._clock = state_dir, clock
        self._next = float("-inf")

    def due(self, minion: str, key: str) -> list[dict[str, Any]]:
        """One word for each resource whose disk the prober cannot use now, if their time has come and the key is known."""
        now = self._clock()
        if now < self._next or not key:
            return []
        self._next = now + EVERY
        boot_id = read(HERE.boot_id) or ""
        said = latest.whole(self._dir, boot_id, clock=self._clock) or {"reports": {}}
        return [
            _word(minion, key, boot_id, now, name, one)
            for name, one in said["reports"].items()
            if _fails(one)
        ]


def _fails(report: Any) -> bool:
    return isinstance(report, dict) and report.get("condition") in _FAILED


def _word(minion: str, key: str, boot_id: str, now: float, name: str, report: Any) -> dict[str, Any]:
    """In the form of a heartbeat: the resource stands for the address, what is wrong with its disk for the version."""
    words = f"{report['condition']}: {report.get('evidence', '')}"[: signing.HEARTBEAT_WORD]
    body = {
        "minion": minion,
        "boot_id": boot_id,
        "seq": int(now * 1000),
        "uptime": round(now, 3),
        "address": name,
        "version": words,
    }
    return signing.sign_heartbeat(key, body, signing.FAILING)
