"""
Whether a resource should move at all, and where to: the second numbered table. First match wins.

Pure. It runs when no move is open. ``MOVE`` begins one, ``HOLD`` does nothing and says why, ``NOTHING`` means all is well.
A request of an operator (:class:`Wish`) is judged by the same table; it can be refused, never forced past a safety row.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vmdk_failover.assess import NodeSight, Snapshot
from vmdk_failover.model import MountState, Move, MoveKind, Resource

HOUR = 3600.0
#: For this long (seconds) a failed move counts against its target.
UNLUCKY = 600.0
#: After so many of them the node is no target until that time is over.
TARGET_TRIES = 2


class Choice(str, enum.Enum):
    """What the policy comes to."""

    NOTHING = "nothing"
    HOLD = "hold"
    WAIT = "wait"
    REFUSE = "refuse"
    MOVE = "move"


@dataclass(frozen=True)
class Wish:
    """An operator's request: ``switchover`` (clean only) or ``failover`` (fences if it must), to ``target`` if named."""

    kind: MoveKind
    target: str = ""


@dataclass(frozen=True)
class Situation:
    """
    All that the policy judges.

    :param wall: now, in seconds since 1970; only compared with ``recent``.
    :param recent: finished moves, oldest first, as the journal has them.
    """

    seen: Snapshot
    epoch: int
    wall: float
    paused: bool = False
    recent: Sequence[Mapping[str, Any]] = ()
    wish: Wish | None = None

    @property
    def resource(self) -> Resource:
        return self.seen.resource

    @property
    def holder(self) -> NodeSight | None:
        """The one node that matters: the only writer, else the first that lists the disk."""
        nodes = self.seen.writers or self.seen.holders
        return nodes[0] if nodes else None

    def targets(self) -> tuple[NodeSight, ...]:
        """Ready nodes besides the holder, best first; one that has just failed to take it comes later, or not at all."""
        without = self.holder.minion if self.holder else ""
        ready = [n for n in self.seen.candidates(without) if self.failed(n.minion) < TARGET_TRIES]
        return tuple(sorted(ready, key=lambda n: self.failed(n.minion)))

    def failed(self, minion: str) -> int:
        """Moves to ``minion`` that failed lately, since the last move that ended well and since a person last cleared."""
        count = 0
        for move in reversed(self.recent):
            if move.get("ok") or move.get("forgotten") or self.wall - move.get("ended", 0.0) > UNLUCKY:
                break
            count += move.get("target") == minion
        return count

    def last_failure(self) -> str:
        """Why the last move failed, as part of a sentence."""
        last = self.recent[-1] if self.recent else {}
        return "" if last.get("ok", True) else f"; the last try failed: {last.get('reason', '')}"

    def rescues(self) -> int:
        """Failovers off a running holder within the last hour, since a person last said ``clear``."""
        return sum(1 for m in self.recent if m.get("damped") and self.wall - m.get("ended", 0.0) < HOUR)


@dataclass(frozen=True)
class Decision:
    """What the policy came to, by which row, in one sentence, with the move if there is one."""

    rule: int
    choice: Choice
    reason: str
    move: Move | None = None


@dataclass(frozen=True)
class PolicyRow:
    """One row; ``target`` names where a ``MOVE`` goes."""

    number: int
    when: str
    matches: Callable[[Situation], bool]
    choice: Choice
    reason: Callable[[Situation], str]
    kind: MoveKind = MoveKind.FAILOVER
    target: Callable[[Situation], str] = lambda s: s.targets()[0].minion


def _held(test: Callable[[Situation, NodeSight], bool]) -> Callable[[Situation], bool]:
    """A condition on the holder; false if there is none."""
    return lambda s: s.holder is not None and test(s, s.holder)


def _who(s: Situation) -> str:
    return s.holder.minion if s.holder else "nobody"


def _why_failed(s: Situation) -> str:
    facts = s.holder.facts if s.holder else None
    if facts is None:
        return "it cannot use the disk"
    return f"{facts.condition.value}: {facts.evidence}" if facts.evidence else facts.condition.value


def _no_target(s: Situation) -> str:
    words = [f"{n.minion}: {'; '.join(n.unfit())}" for n in s.seen.nodes if n is not s.holder and n.unfit()]
    worn = [
        f"{n.minion}: {s.failed(n.minion)} tries failed"
        for n in s.seen.nodes
        if s.failed(n.minion) >= TARGET_TRIES
    ]
    return (
        "no other node can take it ("
        + ", ".join([*words, *worn] or ["there is none"])
        + ")"
        + s.last_failure()
    )


def _unmounted(s: Situation, h: NodeSight) -> bool:
    return h.facts is not None and not h.mounted


def _worn_out(s: Situation, h: NodeSight) -> bool:
    return _unmounted(s, h) and s.failed(h.minion) >= max(1, s.resource.local_tries)


def _wish(kind: MoveKind) -> Callable[[Situation], bool]:
    return lambda s: s.wish is not None and s.wish.kind is kind


def _wish_fault(s: Situation) -> str:
    """Why an operator's request cannot be done; empty if it can."""
    if s.wish is None or s.holder is None:
        return "nobody holds the disk"
    name = s.resource.name
    if s.wish.target == s.holder.minion:
        return f"{name} is already on {s.holder.minion}"
    if s.wish.target and s.wish.target not in {n.minion for n in s.resource.nodes}:
        return f"{s.wish.target} is not a node of {name}; its nodes are {', '.join(n.minion for n in s.resource.nodes)}"
    if s.wish.kind is MoveKind.SWITCHOVER and not s.holder.healthy:
        return f"{name} is not in good health on {s.holder.minion}, so no clean move is possible; use vmdk.failover"
    if s.wish.target:
        unfit = s.seen.node(s.wish.target).unfit()
        return f"{s.wish.target} cannot take {name}: {'; '.join(unfit)}" if unfit else ""
    return "" if s.targets() else _no_target(s)


def _wished_target(s: Situation) -> str:
    return s.wish.target if s.wish and s.wish.target else s.targets()[0].minion


POLICY: tuple[PolicyRow, ...] = (
    PolicyRow(
        510,
        "paused",
        lambda s: s.paused,
        Choice.HOLD,
        lambda s: "paused by an operator; 'salt-run vmdk.resume' ends it",
    ),
    PolicyRow(
        520,
        "vCenter cannot be read",
        lambda s: not s.seen.readable,
        Choice.HOLD,
        lambda s: f"vCenter cannot be read, so who holds the disk is unknown: {s.seen.reason}",
    ),
    PolicyRow(
        525,
        "a node has acted under a newer epoch than the journal knows",
        lambda s: any(n.facts is not None and n.facts.epoch > s.epoch for n in s.seen.nodes),
        Choice.HOLD,
        lambda s: (
            f"a node has acted under a newer epoch than the journal's {s.epoch}: the journal is an old one or another "
            "master is at work; see docs/operation.md"
        ),
    ),
    PolicyRow(
        530,
        "it is not known whether a node holds the disk",
        lambda s: bool(s.seen.unclear),
        Choice.HOLD,
        lambda s: (
            "vCenter does not say clearly whether "
            + " and ".join(n.minion for n in s.seen.unclear)
            + " holds the disk (VM missing twice, unreadable, or a disk that matches by path or UUID alone)"
        ),
    ),
    PolicyRow(
        540,
        "two running nodes list the disk",
        lambda s: len(s.seen.writers) > 1,
        Choice.HOLD,
        lambda s: (
            " and ".join(n.minion for n in s.seen.writers) + " both list the disk; take it out of one by hand"
        ),
    ),
    PolicyRow(
        545,
        "the word about the holder is not current",
        _held(lambda s, h: not h.known),
        Choice.HOLD,
        lambda s: (
            f"what vCenter says of {_who(s)} is not current (VM or host not connected); restore the host, "
            "or prove it off and say so"
        ),
    ),
    PolicyRow(
        550,
        "an operator's request cannot be done",
        lambda s: s.wish is not None and bool(_wish_fault(s)),
        Choice.REFUSE,
        _wish_fault,
    ),
    PolicyRow(
        555,
        "an operator asks for a switchover",
        _wish(MoveKind.SWITCHOVER),
        Choice.MOVE,
        lambda s: f"an operator asked for a switchover from {_who(s)} to {_wished_target(s)}",
        MoveKind.SWITCHOVER,
        _wished_target,
    ),
    PolicyRow(
        560,
        "an operator asks for a failover",
        _wish(MoveKind.FAILOVER),
        Choice.MOVE,
        lambda s: f"an operator asked for a failover from {_who(s)} to {_wished_target(s)}",
        MoveKind.FAILOVER,
        _wished_target,
    ),
    PolicyRow(
        600,
        "active and healthy",
        _held(lambda s, h: h.healthy),
        Choice.NOTHING,
        lambda s: f"active on {_who(s)}",
    ),
    PolicyRow(
        610,
        "a task runs on the holder",
        _held(lambda s, h: bool(h.vm.present) and h.vm.task != ""),
        Choice.WAIT,
        lambda s: f"a task still runs on {_who(s)}",
    ),
    PolicyRow(
        620,
        "the holder is off and another node is ready",
        _held(lambda s, h: not h.running and bool(s.targets())),
        Choice.MOVE,
        lambda s: f"the VM of {_who(s)} is {s.holder.vm.power.value if s.holder else 'off'}",
    ),
    PolicyRow(
        630,
        "the holder is off and no node is ready",
        _held(lambda s, h: not h.running),
        Choice.HOLD,
        lambda s: (
            f"the VM of {_who(s)} is {s.holder.vm.power.value if s.holder else 'off'} and {_no_target(s)}"
        ),
    ),
    PolicyRow(
        640,
        "the holder runs and gives no answer",
        _held(lambda s, h: h.facts is None),
        Choice.HOLD,
        lambda s: (
            f"{_who(s)} holds the disk and runs, but its minion gives no signed answer; look at the minion"
        ),
    ),
    PolicyRow(
        650,
        "the disk fails on the holder, too many failovers",
        _held(lambda s, h: h.failed and s.rescues() >= s.resource.max_failovers_per_hour),
        Choice.HOLD,
        lambda s: (
            f"{_who(s)} reports {_why_failed(s)}, but {s.rescues()} failovers within the hour are enough; "
            "find the cause, then 'salt-run vmdk.clear'"
        ),
    ),
    PolicyRow(
        660,
        "the disk fails on the holder and another node is ready",
        _held(lambda s, h: h.failed and bool(s.targets())),
        Choice.MOVE,
        lambda s: f"{_who(s)} reports {_why_failed(s)}",
    ),
    PolicyRow(
        670,
        "the disk fails on the holder and no node is ready",
        _held(lambda s, h: h.failed),
        Choice.HOLD,
        lambda s: f"{_who(s)} reports {_why_failed(s)}, and {_no_target(s)}",
    ),
    PolicyRow(
        700,
        "unmounted, and somebody works on the device",
        _held(lambda s, h: _unmounted(s, h) and bool(h.facts and h.facts.busy)),
        Choice.HOLD,
        lambda s: (
            f"unmounted on {_who(s)}, and {s.holder.facts.busy if s.holder and s.holder.facts else ''}; "
            "it is mounted when that has ended"
        ),
    ),
    PolicyRow(
        710,
        "something else is mounted there",
        _held(
            lambda s, h: h.facts is not None and h.facts.mounted in (MountState.FOREIGN, MountState.UNKNOWN)
        ),
        Choice.HOLD,
        lambda s: (
            f"something else is mounted at a mount point of {s.resource.name} on {_who(s)}, or its mounts cannot be read"
        ),
    ),
    PolicyRow(
        720,
        "unmounted, and it cannot be mounted there, and another node is ready",
        _held(lambda s, h: _worn_out(s, h) and bool(s.targets())),
        Choice.MOVE,
        lambda s: f"it could not be brought into service on {_who(s)}",
    ),
    PolicyRow(
        730,
        "unmounted, and it cannot be mounted there, and no node is ready",
        _held(_worn_out),
        Choice.HOLD,
        lambda s: f"it could not be brought into service on {_who(s)}, and {_no_target(s)}",
    ),
    PolicyRow(
        740,
        "unmounted, and the node is not fit",
        _held(lambda s, h: _unmounted(s, h) and bool(h.unfit())),
        Choice.HOLD,
        lambda s: (
            f"unmounted on {_who(s)}, which cannot take it: {'; '.join(s.holder.unfit()) if s.holder else ''}"
        ),
    ),
    PolicyRow(
        750,
        "unmounted on the holder",
        _held(_unmounted),
        Choice.MOVE,
        lambda s: f"{_who(s)} holds the disk and has it not mounted",
        MoveKind.REPAIR,
        _who,
    ),
    PolicyRow(
        800,
        "nobody holds the disk and a node is ready",
        lambda s: s.holder is None and bool(s.targets()),
        Choice.MOVE,
        lambda s: "no node lists the disk",
        MoveKind.START,
    ),
    PolicyRow(
        810,
        "nobody holds the disk and no node is ready",
        lambda s: s.holder is None,
        Choice.HOLD,
        lambda s: f"no node lists the disk, and {_no_target(s)}",
    ),
    PolicyRow(
        900,
        "anything else",
        lambda s: True,
        Choice.HOLD,
        lambda s: f"the state of {s.resource.name} on {_who(s)} is not understood",
    ),
)


def decide(situation: Situation, rows: tuple[PolicyRow, ...] = POLICY) -> Decision:
    """
    Judge a resource that has no open move.

    :param situation: what is seen, remembered and asked for.
    :param rows: the table; another one only in tests.
    :return: the first matching row's choice; for ``MOVE`` with the move to begin, under the next epoch.
    """
    for row in rows:
        if row.matches(situation):
            reason = row.reason(situation)
            if row.choice is not Choice.MOVE:
                return Decision(row.number, row.choice, reason)
            return Decision(row.number, row.choice, reason, _begin(row, situation, reason))
    raise AssertionError("the last row matches always")


def _begin(row: PolicyRow, situation: Situation, reason: str) -> Move:
    holder, target = situation.holder, row.target(situation)
    return Move(
        situation.resource,
        row.kind,
        holder.minion if holder else "",
        target,
        situation.epoch + 1,
        reason,
        row.number,
    )
