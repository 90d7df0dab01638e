"""
Does a disk still complete what it is asked? From sysfs counters, one direction at a time.

Reads and writes are never mixed: while every write hangs, reads may well go on, and would hide it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vmdk_failover.guest.places import HERE, Places, read

READ, WRITE = "read", "write"
DIRECTIONS = (READ, WRITE)


@dataclass(frozen=True)
class Count:
    """One direction of one disk: requests completed since boot, and in flight now."""

    done: int
    flying: int


def parse(stat: str, inflight: str) -> dict[str, Count]:
    """
    Read ``/sys/block/X/stat`` and ``/sys/block/X/inflight``. Discards and flushes count as writes.

    :raises ValueError: if they are not of their form.
    """
    fields = [int(word) for word in stat.split()]
    reads, writes = (int(word) for word in inflight.split())
    if len(fields) < 11:
        raise ValueError(f"a block device's stat has {len(fields)} fields")
    written = sum(fields[at] for at in (4, 11, 15) if at < len(fields))
    return {READ: Count(fields[0], reads), WRITE: Count(written, writes)}


def sample(name: str, places: Places = HERE) -> dict[str, Count] | None:
    """The counters of a disk now; ``None`` if it is gone."""
    stat, inflight = read(places.block(name) / "stat"), read(places.block(name) / "inflight")
    if not stat or not inflight:
        return None
    return parse(stat, inflight)


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
            else:
                self.since.setdefault(direction, self._at)
            self.flying[direction] = count.flying
        self._last, self._at = dict(counts), now

    def seconds(self, direction: str) -> float:
        """For how long requests of a direction have been in flight and none has completed."""
        return self._at - self.since[direction] if direction in self.since else 0.0

    def worst(self) -> tuple[str, float]:
        """The direction that has stalled longest, and for how long."""
        return max(((one, self.seconds(one)) for one in DIRECTIONS), key=lambda pair: pair[1])

    def words(self, direction: str) -> str:
        """What was seen, as part of a sentence."""
        flying = self.flying.get(direction, 0)
        return (
            f"{flying} {direction}s are in flight and none has completed for {self.seconds(direction):.1f} s"
        )
