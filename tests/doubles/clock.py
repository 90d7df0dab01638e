"""Time that passes only when somebody waits, or when a test says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class FakeClock:
    """
    The ``Clock`` port.

    :ivar now: seconds, monotonic. :ivar epoch: wall time at ``now`` = 0. :ivar asleep: called after each wait.
    """

    now: float = 0.0
    epoch: float = 1_800_000_000.0
    asleep: Callable[[], None] = lambda: None

    def monotonic(self) -> float:
        """See the port."""
        return self.now

    def wall(self) -> float:
        """See the port."""
        return self.epoch + self.now

    def sleep(self, seconds: float) -> None:
        """See the port."""
        self.now += seconds
        self.asleep()
