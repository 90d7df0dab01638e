"""
Rows of the policy for what an operator asks for: it can be refused, never forced past a safety row. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vmdk_failover.judgement.assess import NodeSight
from vmdk_failover.judgement.hierarchy import above, base, base_words, cannot_follow, stands
from vmdk_failover.judgement.situation import (
    Choice,
    PolicyRow,
    Situation,
    Wish,
    holder_name,
    no_target,
    why_failed,
)
from vmdk_failover.model import MoveKind


def wishes(kind: MoveKind) -> Callable[[Situation], bool]:
    return lambda s: s.wish is not None and s.wish.kind is kind


def wish_fault(s: Situation) -> str:
    """Why an operator's request cannot be done; empty if it can."""
    if s.wish is None or s.holder is None:
        return "nobody holds the disk"
    name = s.resource.name
    if s.wish.target == s.holder.minion:
        return f"{name} is already on {s.holder.minion}"
    if s.wish.target and s.wish.target not in {n.minion for n in s.resource.nodes}:
        return f"{s.wish.target} is not a node of {name}; its nodes are {', '.join(n.minion for n in s.resource.nodes)}"
    if s.wish.kind is MoveKind.SWITCHOVER and s.holder.healthy and s.holder.disputed:
        return f"the prober of {s.holder.minion} reports {why_failed(s)}; see what is on the disk before it is moved"
    if s.wish.kind is MoveKind.SWITCHOVER and not s.holder.healthy:
        return f"{name} is not in good health on {s.holder.minion}, so no clean move is possible; use vmdk.failover"
    if not stands(s.seen, s.holder.minion) and not base(s.seen):
        return f"{name} waits: {base_words(s.seen, s.holder.minion)}"
    if not s.wish.target and not s.targets():
        return no_target(s)
    return _wish_unfit(s, s.wish, s.seen.node(wished_target(s)))


def _wish_unfit(s: Situation, wish: Wish, target: NodeSight) -> str:
    """Why the target, or what goes along, keeps a request from being done."""
    clean = wish.kind is MoveKind.SWITCHOVER and bool(above(s.seen))
    unfit = (*s.unfit(target), *(cannot_follow(s.seen, target.minion) if clean else ()))
    return f"{target.minion} cannot take {s.resource.name}: {'; '.join(unfit)}" if unfit else ""


def wished_target(s: Situation) -> str:
    return s.wish.target if s.wish and s.wish.target else s.targets()[0].minion


def moved_meanwhile(
    wish: Wish | None, recent: Callable[[], Sequence[Mapping[str, Any]]]
) -> Callable[[], str]:
    """
    Called before a request waits for its turn; what it returns is called when it is its turn: where somebody else has moved the
    resource meanwhile, and what to do. For a request that names no node "another one" would be the one that it has just left.

    :param recent: finished moves, as the journal has them.
    :return: tells one sentence; ``""`` if it was not moved, or the request names a node.
    """
    if wish is None or wish.target:
        return lambda: ""
    known = max((int(one.get("epoch", 0)) for one in recent()), default=0)

    def words() -> str:
        later = [one for one in recent() if int(one.get("epoch", 0)) > known and one.get("ok")]
        came = [str(one.get("target")) for one in later if one.get("source") != one.get("target")]
        return (
            f"while this waited, it was moved to {came[-1]}, by another request or by itself; name a target if it is to move "
            "once more"
            if came
            else ""
        )

    return words


WISHES: tuple[PolicyRow, ...] = (
    PolicyRow(
        550,
        "an operator's request cannot be done",
        lambda s: s.wish is not None and bool(wish_fault(s)),
        Choice.REFUSE,
        wish_fault,
    ),
    PolicyRow(
        555,
        "an operator asks for a switchover",
        wishes(MoveKind.SWITCHOVER),
        Choice.MOVE,
        lambda s: f"an operator asked for a switchover from {holder_name(s)} to {wished_target(s)}",
        MoveKind.SWITCHOVER,
        wished_target,
    ),
    PolicyRow(
        560,
        "an operator asks for a failover",
        wishes(MoveKind.FAILOVER),
        Choice.MOVE,
        lambda s: f"an operator asked for a failover from {holder_name(s)} to {wished_target(s)}",
        MoveKind.FAILOVER,
        wished_target,
    ),
)
