"""How long requests of a disk take on average, from its counters; reads and writes apart. No clock and no I/O here."""

from __future__ import annotations

from dataclasses import dataclass, field

from vmdk_failover.guest.counters import Count

#: Seconds over which is averaged, how many such windows in a row must be slow, and after how long an old word lapses.
WINDOW_S, WINDOWS, LAPSE_S = 1.0, 3, 10.0


@dataclass
class _Track:
    """One direction: since when is averaged, what had been done by then, and the slow windows in a row."""

    began: float
    done: int
    ms: int
    slow: int = 0
    mean: float = 0.0


@dataclass
class Pace:
    """
    One disk. Feed it samples.

    :param slow_ms: mean from which a window counts as slow.
    """

    slow_ms: float
    _tracks: dict[str, _Track] = field(default_factory=dict)

    def feed(self, now: float, counts: dict[str, Count]) -> None:
        """Take a sample of time ``now`` (seconds)."""
        for direction, count in counts.items():
            track = self._tracks.setdefault(direction, _Track(now, count.done, count.ms))
            if now - track.began >= WINDOW_S:
                self._close(now, track, count)

    def _close(self, now: float, track: _Track, count: Count) -> None:
        done = count.done - track.done
        if done > 0:
            track.mean = (count.ms - track.ms) / done
            track.slow = track.slow + 1 if track.mean >= self.slow_ms else 0
        elif now - track.began >= LAPSE_S:
            track.slow = 0
        else:
            return  # a request that takes longer than a window counts in the window in which it ends
        track.began, track.done, track.ms = now, count.done, count.ms

    def words(self) -> str:
        """What was seen if the disk is slow, else empty."""
        slow = [(one.mean, name) for name, one in self._tracks.items() if one.slow >= WINDOWS]
        return f"a {max(slow)[1]} takes {max(slow)[0]:.0f} ms on average" if slow else ""
