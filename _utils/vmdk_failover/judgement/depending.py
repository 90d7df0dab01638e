"""
The policy of a resource that depends on others, or that others depend on: it goes where they go, and waits for them. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vmdk_failover.judgement.assess import NodeSight
from vmdk_failover.judgement.hierarchy import (
    FOLLOWS,
    base,
    base_words,
    below,
    cannot_base,
    leader,
    puller,
    stands,
)
from vmdk_failover.judgement.situation import (
    TARGET_TRIES,
    UNLUCKY,
    Choice,
    PolicyRow,
    Situation,
    holder_name,
    of_holder,
)
from vmdk_failover.model import Move, MoveKind

#: Rows of this table that begin a move.
_BEGIN = FOLLOWS | {572, 573}
#: The row by which a resource goes where what it depends on is.
JOIN = 577
#: Seconds until the next try if it is not in service; each time twice as long, and no try counts for longer than ``UNLUCKY``.
JOIN_AGAIN = 30.0


def heeds(h: NodeSight) -> bool:
    """What is decided here rests on the node's own word, or on its being off; a silent node is judged as any other."""
    return h.off or h.facts is not None


def _in_vain(s: Situation) -> list[Mapping[str, Any]]:
    """Moves of this table that came to nothing lately."""
    late = (m for m in s.recent if s.wall - m.get("ended", 0.0) < UNLUCKY and not m.get("forgotten"))
    return [m for m in late if m.get("by") in _BEGIN and not m.get("ok")]


def worn(s: Situation, target: str) -> bool:
    """
    It was tried often enough to bring it to where what it depends on is. What is not in service has nothing to lose by another
    try, so there it is made again, after a pause that grows.
    """
    mine = [m for m in _in_vain(s) if (m.get("by"), m.get("target")) == (JOIN, target)]
    spent = len(mine) - TARGET_TRIES
    if spent < 0 or s.holder is None or s.holder.mounted:
        return spent >= 0
    return bool(s.wall - mine[-1].get("ended", 0.0) < JOIN_AGAIN * 2.0**spent)


def tried_for(s: Situation, move: Move, words: str) -> bool:
    """It has tried to go along with this very move: a planned one once, a failover twice."""
    most = 1 if move.kind is MoveKind.SWITCHOVER else TARGET_TRIES
    return len([m for m in _in_vain(s) if m.get("because") == words]) >= most


def led(kind: MoveKind, s: Situation, h: NodeSight) -> bool:
    """What it depends on leaves the holder in this way."""
    move = leader(s.seen, h.minion)
    return move is not None and move.kind is kind and heeds(h) and _may_go(s, move, lead_words(s))


def pulled(kind: MoveKind, s: Situation, h: NodeSight) -> bool:
    """What depends on it has left the holder in this way."""
    move = puller(s.seen, h.minion)
    if move is None or move.kind is not kind or not heeds(h) or not _may_go(s, move, pull_words(s)):
        return False
    return not cannot_base(s.seen, move.target, h.minion)


def _may_go(s: Situation, move: Move, words: str) -> bool:
    known = any(n.minion == move.target for n in s.resource.nodes)
    return known and not s.seen.node(move.target).unfit() and not tried_for(s, move, words)


def lead_target(s: Situation) -> str:
    move = leader(s.seen, holder_name(s))
    return move.target if move else ""


def pull_target(s: Situation) -> str:
    move = puller(s.seen, holder_name(s))
    return move.target if move else ""


def lead_words(s: Situation) -> str:
    move = leader(s.seen, holder_name(s))
    return (
        f"it depends on {move.resource.name}, which goes to {move.target} (epoch {move.epoch}): {move.reason}"
        if move
        else "it follows"
    )


def pull_words(s: Situation) -> str:
    move = puller(s.seen, holder_name(s))
    return (
        f"{move.resource.name} depends on it and goes to {move.target} (epoch {move.epoch}): {move.reason}"
        if move
        else "it follows"
    )


def waits(s: Situation) -> bool:
    """It is not in service, and what it depends on is not either."""
    h = s.holder
    lacks = bool(below(s.seen)) and not base(s.seen)
    return lacks and (h is None or (heeds(h) and not h.mounted))


def apart(s: Situation, h: NodeSight) -> bool:
    """All that it depends on is active on another node, and its holder answers and can use its disk."""
    where = base(s.seen)
    return bool(where) and where != h.minion and h.facts is not None and h.running and not h.failed


def can_join(s: Situation, h: NodeSight) -> bool:
    where = base(s.seen)
    return apart(s, h) and not s.seen.node(where).unfit() and not worn(s, where)


def apart_words(s: Situation) -> str:
    return f"{base_words(s.seen, holder_name(s))}, and {s.resource.name}, which depends on that, is on {holder_name(s)}"


def cannot_join_words(s: Situation) -> str:
    where = base(s.seen)
    why = "; ".join(s.seen.node(where).unfit()) or f"it was tried in vain{s.last_failure()}"
    return f"{apart_words(s)}; {where} cannot take it: {why}"


def unbased(s: Situation) -> str:
    """What a resource in service lacks below it; ``""`` if nothing."""
    if s.holder is None or stands(s.seen, s.holder.minion):
        return ""
    return f"{base_words(s.seen, s.holder.minion)}, and {s.resource.name} depends on that"


DEPENDING: tuple[PolicyRow, ...] = (
    PolicyRow(
        570,
        "what it depends on fails over to another node",
        of_holder(lambda s, h: led(MoveKind.FAILOVER, s, h)),
        Choice.MOVE,
        lead_words,
        MoveKind.FAILOVER,
        lead_target,
    ),
    PolicyRow(
        571,
        "what it depends on is switched over to another node",
        of_holder(lambda s, h: led(MoveKind.SWITCHOVER, s, h)),
        Choice.MOVE,
        lead_words,
        MoveKind.SWITCHOVER,
        lead_target,
    ),
    PolicyRow(
        572,
        "what depends on it fails over to another node",
        of_holder(lambda s, h: pulled(MoveKind.FAILOVER, s, h)),
        Choice.MOVE,
        pull_words,
        MoveKind.FAILOVER,
        pull_target,
    ),
    PolicyRow(
        573,
        "what depends on it is switched over to another node",
        of_holder(lambda s, h: pulled(MoveKind.SWITCHOVER, s, h)),
        Choice.MOVE,
        pull_words,
        MoveKind.SWITCHOVER,
        pull_target,
    ),
    PolicyRow(
        575,
        "not in service, and what it depends on is not active",
        waits,
        Choice.HOLD,
        lambda s: (
            f"{s.resource.name} waits: {base_words(s.seen, '')}; it is brought into service where that is active"
        ),
    ),
    PolicyRow(
        JOIN,
        "what it depends on is active on another node, which can take it",
        of_holder(can_join),
        Choice.MOVE,
        apart_words,
        MoveKind.SWITCHOVER,
        lambda s: base(s.seen),
    ),
    PolicyRow(
        578,
        "what it depends on is active on another node, which cannot take it",
        of_holder(apart),
        Choice.HOLD,
        cannot_join_words,
    ),
)
