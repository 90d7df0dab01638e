"""What the flags of a resource's mounts come to: changed by somebody, or by the kernel because it has given up."""

from __future__ import annotations

from collections.abc import Sequence

from vmdk_failover.guest import options
from vmdk_failover.guest.mounts import Line
from vmdk_failover.guest.trials import REMOUNT_S
from vmdk_failover.guest.verdict import Verdict
from vmdk_failover.model import Condition, Mount

_FS, _OPTIONS = "fs", "options"


class Flags:
    """One resource's. Every method is told the time (boot clock, seconds)."""

    def __init__(self, verdict: Verdict) -> None:
        self._verdict = verdict
        self._first: dict[int, frozenset[str]] = {}
        self._half: dict[str, float] = {}

    def begin(self, lines: Sequence[Line]) -> None:
        """Other mounts are there: what they show now is how they were mounted."""
        self._first = {line.mount_id: line.of_fs for line in lines}
        self._half = {}

    @property
    def is_undecided(self) -> bool:
        """A file system is read-only and its mount is not: by a remount that is under way, or by the kernel."""
        return bool(self._half)

    def judge(self, now: float, ours: Sequence[tuple[Mount, Line]]) -> None:
        """Judge what the mounts show now."""
        half = {line.mountpoint for _, line in ours if options.given_up(line)}
        self._half = {where: at for where, at in self._half.items() if where in half}
        changes = []
        for mount, line in ours:
            if (bad := options.given_up(line)) and self._lasts(now, bad, line):
                words = f"the kernel shows {bad} on {line.mountpoint} (mountinfo)"
                self._verdict.put(_FS, Condition.FS_ERROR, words, now)
            if new := options.changed(mount, line, self._first.get(line.mount_id, line.of_fs)):
                changes.append(f"on {line.mountpoint} {new} (mountinfo)")
        if changes:
            self._verdict.put(_OPTIONS, Condition.OPTIONS_CHANGED, "; ".join(changes), now)
        else:
            self._verdict.clear(_OPTIONS)

    def _lasts(self, now: float, bad: str, line: Line) -> bool:
        """A remount by hand reaches the file system first, and the mount when all has been written out."""
        return bad != "ro" or now - self._half.setdefault(line.mountpoint, now) >= REMOUNT_S
