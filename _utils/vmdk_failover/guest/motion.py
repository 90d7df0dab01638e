"""What a resource's disks do, by their counters: whether they move at all, and how fast."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from vmdk_failover.guest.counters import DIRECTIONS, READ, WRITE, Board, Stall
from vmdk_failover.guest.pace import Pace
from vmdk_failover.guest.verdict import Verdict
from vmdk_failover.model import Condition, Resource

_HUNG = {READ: "reads hang", WRITE: "writes hang"}
_SLOW = "slow"


class Motion:
    """
    One resource's. Every method is told the time (boot clock, seconds).

    :ivar written: disk → writes that it has completed since the boot of the node.
    :ivar is_busy: somebody else than the prober has used a disk since the last sample but one.
    """

    def __init__(self, resource: Resource, verdict: Verdict) -> None:
        self._resource, self._verdict = resource, verdict
        self._stalls: dict[str, Stall] = {}
        self._paces: dict[str, Pace] = {}
        self._rows: dict[str, str] = {}
        self._own = self._done = 0
        self.written: Mapping[str, int] = {}
        self.is_busy = False

    def own_read(self) -> None:
        """A read of the prober's own has ended: it is not somebody's use of the disk."""
        self._own += 1

    def sample(self, now: float, board: Board, disks: Iterable[str]) -> bool:
        """
        Judge the counters of some disks.

        :return: whether there was anything to judge: a disk that is well and has done nothing needs none.
        """
        rows = {name: board.row(name) for name in disks}
        if rows == self._rows and not self._verdict.signs and not self.is_suspect:
            self.is_busy, self._own = False, 0
            return False
        if rows.keys() != self._rows.keys():  # what was said of a disk that has left is over
            self._stalls = {name: stall for name, stall in self._stalls.items() if name in rows}
            self._paces = {name: pace for name, pace in self._paces.items() if name in rows}
        self._rows = rows
        counts = {name: count for name in rows if (count := board.sample(name)) is not None}
        for name, count in counts.items():
            self._stalls.setdefault(name, Stall(gap_s=math.inf)).feed(now, count)
            self._paces.setdefault(name, Pace(self._resource.slow_ms)).feed(now, count)
        self.written = {name: count[WRITE].done for name, count in counts.items()}
        self._note_use(sum(count[kind].done for count in counts.values() for kind in DIRECTIONS))
        for direction in DIRECTIONS:
            self._judge_stall(now, direction)
        self._judge_pace(now)
        return True

    def _note_use(self, done: int) -> None:
        self.is_busy = done - self._done > self._own or self.is_suspect
        self._done, self._own = done, 0

    def paused(self, since: Callable[[float], float]) -> None:
        """The prober itself was not running. since: when a wait counts as begun, for when it began."""
        for stall in self._stalls.values():
            stall.paused(since)

    def _judge_stall(self, now: float, direction: str) -> None:
        for name, stall in self._stalls.items():
            if stall.seconds(direction) >= self._resource.hang_timeout:
                words = f"{name}: {stall.words(direction)} (sysfs)"
                return self._verdict.put(_HUNG[direction], Condition.HUNG, words, now)
        self._verdict.clear(_HUNG[direction])

    def _judge_pace(self, now: float) -> None:
        slow = [f"{name}: {words} (sysfs)" for name, pace in self._paces.items() if (words := pace.words())]
        if slow and self._verdict.holds:
            self._verdict.put(_SLOW, Condition.SLOW, slow[0], now)
        else:
            self._verdict.clear(_SLOW)

    @property
    def is_suspect(self) -> bool:
        """Something is in flight that has not moved: worth another look soon."""
        return any(stall.since or any(stall.flying.values()) for stall in self._stalls.values())

    def stalled(self) -> list[float]:
        """Since when requests are in flight of which none completes."""
        return [at for stall in self._stalls.values() for at in stall.since.values()]

    def begin(self) -> None:
        """A new mount: what was said of the one before is over."""
        self._paces.clear()
        self._verdict.clear(*_HUNG.values(), _SLOW)

    def end(self, gone: bool) -> None:
        """No file system is alive. gone: the disks have left too; requests of theirs can complete no more."""
        self._verdict.clear(_SLOW)
        if gone:
            self._verdict.clear(*_HUNG.values())
            self._stalls.clear()
