"""
The looks that nobody asked for, one after the other.

They are the net below the hints, and the only work of an engine that grows with the number of resources while all is well: a
thousand looks at once would be a thousand processes with a login each, every tick, just when somebody's failover may need the
machine. So the next one begins a moment later, and none while many are under way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

#: Seconds between the beginnings of two looks of a round, and how many looks may be under way beside it.
PACE, MOST = 0.2, 8


@dataclass
class Round:
    """
    Whose turn it is. Pure; time is passed in.

    :param pace: seconds between two turns.
    :param most: looks under way at which nobody's turn comes.
    :param left: those whose turn has not come yet, in order.
    :param next_at: when the next turn may come (monotonic seconds).
    """

    pace: float = PACE
    most: int = MOST
    left: dict[str, None] = field(default_factory=dict)
    next_at: float = float("-inf")

    def begin(self, names: Iterable[str]) -> None:
        """A new round. Whoever is still waiting from the last one keeps its place; who is gone loses it."""
        known = set(names)
        waiting = [name for name in self.left if name in known]
        self.left = dict.fromkeys([*waiting, *sorted(known)])

    def take(self, now: float, under_way: int) -> str | None:
        """
        Whose turn it is, if it is anybody's.

        :param now: monotonic seconds.
        :param under_way: looks that have begun and have not come to anything yet.
        """
        if not self.left or now < self.next_at or under_way >= self.most:
            return None
        self.next_at = now + self.pace
        name = next(iter(self.left))
        del self.left[name]
        return name

    def drop(self, name: str) -> None:
        """It is looked at for another reason; that does for this round too."""
        self.left.pop(name, None)

    def wait(self, now: float, longest: float) -> float:
        """Seconds until the next turn may come, at most ``longest``."""
        return min(longest, max(0.0, self.next_at - now)) if self.left else longest
