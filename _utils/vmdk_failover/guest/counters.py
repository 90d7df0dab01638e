"""
Does a disk still complete what it is asked? From sysfs counters, one direction at a time.

Reads and writes are never mixed: while every write hangs, reads may well go on, and would hide it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from vmdk_failover.guest.attribute import Attribute
from vmdk_failover.guest.places import HERE, Places, read

#: Up to so many disks each is asked for itself.
FEW = 8
READ, WRITE = "read", "write"
DIRECTIONS = (READ, WRITE)


@dataclass(frozen=True)
class Count:
    """One direction of one disk: requests completed since boot, in flight now, and milliseconds that all took together."""

    done: int
    flying: int
    ms: int = field(default=0, compare=False)


def parse(stat: str, inflight: str) -> dict[str, Count]:
    """
    Read ``/sys/block/X/stat`` and ``/sys/block/X/inflight``. Discards and flushes count as writes.

    :raises ValueError: if they are not of their form.
    """
    reads, writes = (int(word) for word in inflight.split())
    return _counts([int(word) for word in stat.split()], reads, writes)


def _counts(fields: Sequence[int], reads: int, writes: int) -> dict[str, Count]:
    if len(fields) < 11:
        raise ValueError(f"a block device's stat has {len(fields)} fields")
    written = sum(fields[at] for at in (4, 11, 15) if at < len(fields))
    took = sum(fields[at] for at in (7, 14, 16) if at < len(fields))
    return {READ: Count(fields[0], reads, fields[3]), WRITE: Count(written, writes, took)}


def sample(name: str, places: Places = HERE) -> dict[str, Count] | None:
    """The counters of a disk now; ``None`` if it is gone or they are not of the form that is known."""
    stat, inflight = read(places.block(name) / "stat"), read(places.block(name) / "inflight")
    if not stat or not inflight:
        return None
    try:
        return parse(stat, inflight)
    except ValueError:
        return None


class Board:
    """
    The counters of all disks: few from sysfs, many by one read of ``/proc/diskstats``. Cheap enough for every second.

    It tells requests in flight without their direction; that is looked up only while there are any.
    """

    def __init__(self, places: Places = HERE) -> None:
        """Raises ``OSError`` if there is no ``/proc/diskstats``."""
        self._places = places
        self._fd = os.open(places.proc / "diskstats", os.O_RDONLY | os.O_CLOEXEC)
        self._stats: dict[str, Attribute] = {}
        self._rows: dict[str, str] = {}

    def refresh(self, names: Collection[str]) -> None:
        """Read the counters of some disks anew."""
        self._keep(names if len(names) <= FEW else ())
        if self._stats:
            self._rows = {name: row for name, stat in self._stats.items() if (row := stat.read())}
            self._keep(self._rows)  # a name may come back with another disk
        elif names:
            text = b"".join(iter(self._piece(), b"")).decode(errors="replace")
            rows = (row.split(None, 3) for row in text.split("\n"))
            self._rows = {row[2]: row[3] for row in rows if len(row) == 4}

    def _keep(self, names: Collection[str]) -> None:
        for name in [name for name in self._stats if name not in names]:
            self._stats.pop(name).close()
        for name in names:
            if name not in self._stats:
                self._stats[name] = Attribute(self._places.block(name) / "stat")

    def _piece(self) -> Callable[[], bytes]:
        os.lseek(self._fd, 0, os.SEEK_SET)
        return lambda: os.read(self._fd, 1 << 16)

    def row(self, name: str) -> str:
        """A disk's counters as they stand there; equal ones mean that nothing has happened. Empty if it has none."""
        return self._rows.get(name, "")

    def sample(self, name: str) -> dict[str, Count] | None:
        """The counters of a disk; ``None`` as with :func:`sample`."""
        fields = self.row(name).split()
        if len(fields) < 11:
            return None
        try:
            if fields[8] != "0":
                return parse(self.row(name), read(self._places.block(name) / "inflight") or "")
            return _counts([int(word) for word in fields], 0, 0)
        except ValueError:
            return None


@dataclass
class Stall:
    """Since when a disk completes nothing, by direction. Feed it samples; a gap between them starts it anew."""

    gap_s: float = 1.0
    since: dict[str, float] = field(default_factory=dict)
    flying: dict[str, int] = field(default_factory=dict)
    _last: dict[str, Count] = field(default_factory=dict)
    _at: float = 0.0

    def feed(self, now: float, counts: dict[str, Count]) -> None:
        """Take a sample of time ``now`` (seconds). If this process itself was not running, nothing is concluded."""
        if now - self._at > self.gap_s:
            self.since.clear()
            self._at = now
        for direction, count in counts.items():
            last = self._last.get(direction)
            if count.flying == 0 or last is None or count.done != last.done:
                self.since.pop(direction, None)
            else:  # what was in flight at the last sample is so still; else it was begun since
                self.since.setdefault(direction, self._at if last.flying else now)
            self.flying[direction] = count.flying
        self._last, self._at = dict(counts), now

    def seconds(self, direction: str) -> float:
        """For how long requests of a direction have been in flight and none has completed."""
        return self._at - self.since[direction] if direction in self.since else 0.0

    def paused(self, since: Callable[[float], float]) -> None:
        """We were not running. since: when a wait counts as begun, for when it began."""
        self.since = {direction: since(at) for direction, at in self.since.items()}
        self._at = since(self._at)

    def worst(self) -> tuple[str, float]:
        """The direction that has stalled longest, and for how long."""
        return max(((one, self.seconds(one)) for one in DIRECTIONS), key=lambda pair: pair[1])

    def words(self, direction: str) -> str:
        """What was seen, as part of a sentence."""
        flying = self.flying.get(direction, 0)
        return (
            f"{flying} {direction}s are in flight and none has completed for {self.seconds(direction):.1f} s"
        )
