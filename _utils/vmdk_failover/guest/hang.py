"""
When waiting for a disk makes no sense any more.

Three things must come together: the prober calls the disk hung, requests are seen here to be in flight with none
completing, and a process that is waited for is in uninterruptible sleep. Then only the disk could end the wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from vmdk_failover.guest import counters
from vmdk_failover.guest.children import state
from vmdk_failover.guest.devices import Holding
from vmdk_failover.guest.places import HERE, Places


class HangWatch:
    """
    Looks at a resource's disks while somebody waits for them.

    :param prober_says_hung: the prober's present word.
    :param grace_s: for how long nothing may complete once the prober has called the disk hung.
    :param alone_s: for how long, if the prober says nothing of the kind.
    """

    def __init__(
        self,
        holding: Holding,
        prober_says_hung: Callable[[], bool],
        grace_s: float,
        alone_s: float,
        places: Places = HERE,
    ) -> None:
        self._disks = [device.name for device in holding.found]
        self._stalls = {name: counters.Stall() for name in self._disks}
        self._says_hung, self._grace, self._alone, self._places = prober_says_hung, grace_s, alone_s, places

    def look(self) -> str:
        """Sample the counters. Returns what is seen if a disk is hung by now, else an empty text."""
        now = time.monotonic()
        for name, stall in self._stalls.items():
            counts = counters.sample(name, self._places)
            if counts is not None:
                stall.feed(now, counts)
        hung = [name for name in self._disks if self._is_hung(self._stalls[name])]
        return self._words(hung[0]) if hung else ""

    def _is_hung(self, stall: counters.Stall) -> bool:
        seconds = stall.worst()[1]
        return seconds >= self._alone or (seconds >= self._grace and self._says_hung())

    def _words(self, name: str) -> str:
        stall = self._stalls[name]
        return f"{name} is hung: {stall.words(stall.worst()[0])}"

    def of_process(self, pid: int) -> str:
        """The same, but only if a process is in uninterruptible sleep."""
        seen = self.look()
        return seen if seen and state(pid) == "D" else ""

    def at_once(self) -> str:
        """Before anything is touched: watch a disk that the prober calls hung until it completes something."""
        end = time.monotonic() + 2 * self._grace
        seen = ""
        while self._says_hung() and not seen and time.monotonic() < end:
            seen = self.look()
            if not any(stall.since for stall in self._stalls.values()) and self._quiet():
                return ""
            time.sleep(0.02)
        return seen

    def _quiet(self) -> bool:
        return all(not any(stall.flying.values()) for stall in self._stalls.values())
