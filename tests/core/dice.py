"""
Chance, told by a seed or by a script: what makes a history the same again, and smaller.

Every moment at which something may go wrong is a *point*; points are counted. The dice remember at which points something
happened and what was picked there. A script of such points is a history without a seed: leave one out, and see whether the
history still ends badly.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")

#: Points at which something happened, with what was picked there, as numbers below the size of each choice.
Script = Mapping[int, Sequence[int]]


class Dice:
    """
    :param seed: decides everything that ``script`` does not.
    :param script: nothing happens but this, if it is given.
    :ivar fired: what happened so far, in the form of a script.
    :ivar faulty: while it is false, nothing fires.
    """

    def __init__(self, seed: int, script: Script | None = None) -> None:
        self.setting = random.Random(seed)
        self.script = script
        self.points = 0
        self.fired: dict[int, list[int]] = {}
        self.faulty = True
        self._random = random.Random(f"{seed} faults")
        self._fuel = self._random.expovariate(1.0) if script is None else float("inf")
        self._left: list[int] = []

    @contextlib.contextmanager
    def calm(self) -> Iterator[None]:
        """For a while nothing fires."""
        faulty, self.faulty = self.faulty, False
        try:
            yield
        finally:
            self.faulty = faulty

    def chance(self, share: float) -> bool:
        """Whether something happens at this point, with a probability of about ``share``."""
        if not self.faulty:
            return False
        self.points += 1
        if self.script is None:
            self._fuel -= share
            if self._fuel > 0.0:
                return False
            self._fuel = self._random.expovariate(1.0)
        elif self.points in self.script:
            self._left = list(self.script[self.points])
        else:
            return False
        self.fired[self.points] = []
        return True

    def below(self, size: int) -> int:
        """A number below ``size``; only after :meth:`chance` said yes."""
        if self.script is None:
            number = int(self._random.random() * size)
        else:
            number = min(self._left.pop(0), size - 1) if self._left else 0
        self.fired[self.points].append(number)
        return number

    def pick(self, things: Sequence[T]) -> T:
        """One of ``things``; only after :meth:`chance` said yes."""
        return things[self.below(len(things))]

    def coin(self) -> bool:
        """Heads or tails; only after :meth:`chance` said yes."""
        return self.below(2) == 1
