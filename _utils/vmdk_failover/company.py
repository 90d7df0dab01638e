"""
The other resources of a hierarchy, moved by the same engine in between: each by its own tables, lock and journal.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Protocol

from vmdk_failover.errors import Busy, JournalError
from vmdk_failover.judgement.assess import Snapshot
from vmdk_failover.judgement.hierarchy import FOLLOWS, above, below, riders
from vmdk_failover.model import Move, MoveKind, Outcome, Resource, Result, Step
from vmdk_failover.ports import Vicinity

#: A resource at which somebody else is at work is waited for that long (seconds). Who waits for what is on top is short: that may
#: wait for this one in its turn. A failover is in a hurry, and a resource that has left its node already is not.
HURRIED, PLANNED, PATIENT, LIFTED = 2.0, 10.0, 120.0, 10.0


class Said(Protocol):
    """What a run came to."""

    @property
    def result(self) -> str:
        """As in ``engine.Report``."""

    @property
    def reason(self) -> str:
        """One sentence."""

    @property
    def steps(self) -> tuple[Mapping[str, Any], ...]:
        """What was done."""


def _why(said: Said) -> str:
    """What a run came to: the step that went wrong, if it was one."""
    failed = [step["evidence"] for step in said.steps if step["outcome"] != "done"]
    return str(failed[-1]) if failed else said.reason


class Company:
    """
    Runs of others within a run.

    :param run: one run of another resource, after a look of somebody else at it has ended (seconds to wait).
    """

    def __init__(self, vicinity: Vicinity, run: Callable[[Resource, float], Said]) -> None:
        self.vicinity = vicinity
        self.run = run
        self.under_way: list[str] = []

    @contextlib.contextmanager
    def within(self, name: str) -> Iterator[None]:
        """While this lasts nobody runs ``name`` again from within."""
        self.under_way.append(name)
        try:
            yield
        finally:
            self.under_way.remove(name)

    def along(self, move: Move, seen: Snapshot, step: Step) -> Outcome:
        """Have others leave the source, or come to the target. Whether they did is read from the next look."""
        leaving = step.node == move.source
        wanted = riders(seen, step.node) if leaving else below(seen)
        names = [k.name for k in wanted if leaving or k.active != step.node]
        upwards = PLANNED if move.kind is MoveKind.SWITCHOVER else HURRIED
        said = self._bring(move.resource, names, upwards if leaving else PATIENT)
        words = "; ".join(f"{name}: {_why(one)}" for name, one in said)
        busy = any(one.result == "busy" for _, one in said)
        if len(said) < len(names) or busy:
            code = Busy.code if busy else "along"
            return Outcome(step, Result.FAILED, words or "it is being moved itself", code)
        return Outcome(step, Result.DONE, words)

    def lift(self, resource: Resource, seen: Snapshot) -> None:
        """Have a look at what waits for ``resource``, which has just been brought into service."""
        with contextlib.suppress(JournalError):  # whoever looks at them says so
            # one that moves of its own accord has a mover, which may be waiting for this very move
            waiting = [k.name for k in above(seen) if k.move is None or k.move.rule in FOLLOWS]
            self._bring(resource, waiting, LIFTED)

    def _bring(self, resource: Resource, names: Collection[str], wait: float) -> list[tuple[str, Said]]:
        others = [one for one in self.vicinity.kin(resource) if one.name in names] if names else []
        ready = [one.resource for one in others if one.resource and one.name not in self.under_way]
        return [(one.name, self.run(one, wait)) for one in ready]
