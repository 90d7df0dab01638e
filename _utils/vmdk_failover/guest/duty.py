"""
Beacon and engine of one node share the work: the beacon puts down what is to be watched while it lives, else the engine.

The beacon knows the pillar; an engine is a process that never sees it change. So while no beacon lives (it was taken out of
the configuration, or the minion's main loop is stuck), the engine asks the master for the pillar itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vmdk_failover.guest import heartbeat, known
from vmdk_failover.guest.places import boot_clock
from vmdk_failover.model import Resource

_FILE = "beacon.alive"
#: Seconds without a sign of the beacon after which the engine stands in, how long it first waits for one, and how often it
#: asks for the pillar then.
QUIET_S, FIRST_S, AGAIN_S = 5.0, 10.0, 60.0


def sign(state_dir: Path, clock: Callable[[], float] = boot_clock) -> None:
    """The beacon's side: it lives. The file's time is that of the boot clock, which nobody sets."""
    now, path = int(clock() * 1e9), state_dir / _FILE
    try:
        if not path.exists():
            path.touch(0o600)
        os.utime(path, ns=(now, now))
    except OSError:
        return  # then the engine works too, and does no harm


def beacon_lives(state_dir: Path, clock: Callable[[], float] = boot_clock) -> bool:
    """Whether the beacon has given a sign in the last seconds."""
    try:
        at = (state_dir / _FILE).stat().st_mtime_ns / 1e9
    except OSError:
        return False
    return 0 <= clock() - at < QUIET_S


class Substitute:
    """
    The engine's side.

    :param clock: boot clock, seconds.
    """

    def __init__(self, state_dir: Path, clock: Callable[[], float] = boot_clock) -> None:
        self._dir, self._clock = state_dir, clock
        self._next = clock() + FIRST_S
        self._found: dict[str, Resource] | None = None

    def resources(self) -> dict[str, Resource] | None:
        """What the engine has to put down; ``None`` while that is the beacon's, or the master has not been asked yet."""
        if beacon_lives(self._dir, self._clock):
            self._found, self._next = None, max(self._next, self._clock() + QUIET_S)
        return self._found

    def wants_pillar(self) -> bool:
        """Whether the pillar has to be asked for now."""
        now = self._clock()
        if now < self._next or beacon_lives(self._dir, self._clock):
            return False
        self._next = now + AGAIN_S
        return True

    def take(self, pillar: Mapping[str, Any]) -> None:
        """
        The pillar as it is now. One without a word for this extension (the master has failed to make it) changes nothing.

        :raises CannotObserve: if the resources in it cannot be read.
        """
        told = pillar.get("vmdk")
        if not isinstance(told, Mapping) or "resources" not in told:
            return
        heartbeat.keep_key(self._dir, str(told.get("key") or ""))
        self._found = known.resources(pillar, self._dir)
