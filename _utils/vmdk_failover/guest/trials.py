"""What is tried on a resource's mounted file systems, when, and what the answers come to."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable, Iterator, Sequence

from vmdk_failover.guest.counters import WRITE
from vmdk_failover.guest.errands import USED, Answer, Errand
from vmdk_failover.guest.errands import WRITE as WRITE_ONE
from vmdk_failover.guest.mounts import Line
from vmdk_failover.guest.verdict import Verdict
from vmdk_failover.model import Condition, Resource

#: Seconds between two looks at how full a file system is, and by how many percent it must fall to be no longer full.
USED_EVERY_S, RELIEF = 30.0, 1.0
#: Seconds that a remount may take from the file system's own flag to the mount's.
REMOUNT_S = 0.9
_HUNG, _FS, _FULL = "write probe hangs", "fs", "full"
_FULL_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_WORD = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR})


class Trials:
    """
    One resource's.

    :param failed: told direction and words of an error.
    """

    def __init__(
        self, resource: Resource, verdict: Verdict, failed: Callable[[float, str, str], None]
    ) -> None:
        self._resource, self._verdict, self._failed = resource, verdict, failed
        self._lines: tuple[Line, ...] = ()
        self._next: dict[str, float] = {}
        self._intervals = {USED: USED_EVERY_S} if resource.full_percent < 100 else {}
        if resource.write_probe:
            self._intervals[WRITE_ONE] = resource.probe_interval
        self._soonest = 0.0
        self._under_way: dict[Errand, float] = {}
        self._refused: dict[str, float] = {}

    def follow(self, lines: Sequence[Line]) -> None:
        """The same mounts, as they are shown now."""
        self._lines = tuple(lines)

    def look(self, lines: Sequence[Line]) -> None:
        """Other mounts are there: what was said of the ones before is over."""
        self._lines = tuple(lines)
        self._refused.clear()
        self._next, self._soonest = {}, 0.0
        self._under_way = {}
        self._verdict.clear(_HUNG, *(self._full(line.mountpoint) for line in self._lines))
        if not self._lines:
            self._verdict.clear(*(self._full(mount.mountpoint) for mount in self._resource.mounts))

    @staticmethod
    def _full(mountpoint: str) -> str:
        return f"{_FULL} {mountpoint}"

    def due(self, now: float) -> Iterator[Errand]:
        """What is to be tried now; of each kind one at a time."""
        if now < self._soonest or not self._lines:
            return
        for what, interval in self._intervals.items():
            if now < self._next.get(what, 0.0):
                continue
            self._next[what] = now + interval
            for line in self._lines:
                errand = Errand(what, line.mountpoint, line.mount_id)
                read_only = what == WRITE_ONE and "ro" in line.of_mount
                if errand not in self._under_way and not read_only:
                    self._under_way[errand] = math.inf
                    yield errand
        self._soonest = min(self._next.values(), default=math.inf)

    def begun(self, now: float, errand: Errand) -> None:
        """Somebody is at it. Until then it waits for others, not for the disk."""
        if errand in self._under_way:
            self._under_way[errand] = now

    def ended(self, now: float, errand: Errand, answer: Answer) -> bool:
        """A trial has come to its end. Returns whether to look anew at what is mounted."""
        if self._under_way.pop(errand, None) is None or answer.lost:
            return False  # of an earlier mount
        if answer.error == errno.EROFS:
            return self._judge_refusal(now, errand.mountpoint)
        self._refused.pop(errand.mountpoint, None)
        if answer.error:
            self._judge_error(now, errand, answer.error)
        elif errand.what == USED and answer.value is not None:
            self._judge_used(now, errand.mountpoint, answer.value)
        return False

    def _judge_refusal(self, now: float, mountpoint: str) -> bool:
        """While somebody remounts it read-only, the mount still says that it may be written."""
        since = self._refused.setdefault(mountpoint, now)
        if now - since >= REMOUNT_S and not any(
            line.mountpoint == mountpoint and "ro" in line.of_mount for line in self._lines
        ):
            words = f"to write to {mountpoint} failed: EROFS (own probe)"
            self._verdict.put(_FS, Condition.FS_ERROR, words, now)
        return True

    def _judge_used(self, now: float, mountpoint: str, percent: float) -> None:
        limit = self._resource.full_percent
        if percent >= limit:
            words = f"{mountpoint} is {percent:.0f} % full, the limit is {limit:g} % (statvfs)"
            self._verdict.put(self._full(mountpoint), Condition.NEARLY_FULL, words, now)
        elif percent < limit - RELIEF:
            self._verdict.clear(self._full(mountpoint))

    def _judge_error(self, now: float, errand: Errand, error: int) -> None:
        name = errno.errorcode.get(error, str(error))
        words = f"to {'write to' if errand.what == WRITE_ONE else 'look into'} {errand.mountpoint} failed: {name} (own probe)"
        if error in _FULL_ERRORS:
            self._verdict.put(self._full(errand.mountpoint), Condition.NEARLY_FULL, words, now)
        elif error not in _NO_WORD and errand.what == WRITE_ONE:
            self._failed(now, WRITE, words)

    def pending(self) -> tuple[float, ...]:
        """When the writes that are under way were begun."""
        return tuple(
            at for errand, at in self._under_way.items() if errand.what == WRITE_ONE and at < math.inf
        )

    def paused(self, since: Callable[[float], float]) -> None:
        """The prober itself was not running. since: when a wait counts as begun, for when it began."""
        self._under_way = {errand: since(at) for errand, at in self._under_way.items()}

    @property
    def due_at(self) -> float:
        """When something is to be tried next; infinite if nothing is."""
        return self._soonest if self._lines and self._intervals else math.inf

    def overdue(self, now: float) -> None:
        """Judge the writes that are under way."""
        if not self._under_way and not self._verdict.signs:
            return
        waited = max((now - at for at in self.pending()), default=0.0)
        if waited >= self._resource.hang_timeout:
            words = f"a write to {os.fspath(self._lines[0].mountpoint)} has had no answer for {waited:.1f} s (own probe)"
            self._verdict.put(_HUNG, Condition.HUNG, words, now)
        else:
            self._verdict.clear(_HUNG)
