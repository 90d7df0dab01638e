"""The course of a release, a mount or a halt: a deadline for the whole, and what each step did."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Step = tuple[str, float, str]


class GiveUp(Exception):
    """
    The work ends here without success.

    :param reason: one sentence.
    :param code: stable code.
    """

    def __init__(self, reason: str, code: str = "step_failed") -> None:
        super().__init__(reason)
        self.reason, self.code = reason, code


@dataclass
class Course:
    """A deadline on the monotonic clock, and the steps so far as (name, seconds taken, outcome)."""

    deadline_s: float
    clock: Callable[[], float] = time.monotonic
    done: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.end = self.clock() + self.deadline_s

    @property
    def left(self) -> float:
        """Seconds that are left, at least 0."""
        return max(0.0, self.end - self.clock())

    @contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Time a step; what is put into the yielded list becomes its outcome, ``done`` if nothing is."""
        began, words = self.clock(), list[str]()
        try:
            yield words
        except GiveUp as err:
            words.append(err.reason)
            raise
        finally:
            self.done.append((name, round(self.clock() - began, 3), "; ".join(words) or "done"))

    def until(
        self, condition: Callable[[], bool], limit_s: float | None = None, pause_s: float = 0.01
    ) -> bool:
        """Look again and again until a condition holds, the limit is reached or the deadline has come."""
        end = min(self.end, self.clock() + limit_s) if limit_s is not None else self.end
        while not condition():
            if self.clock() >= end:
                return False
            time.sleep(pause_s)
        return True
