"""
The policy of nodes that are off while the resource is active elsewhere: what is still to be done for them. Pure.
"""

from __future__ import annotations

from vmdk_failover.judgement.situation import UNLUCKY, Choice, PolicyRow, Situation, holder_name, of_holder
from vmdk_failover.model import MoveKind

#: The rows by which a dead node is relieved of a disk that is active elsewhere, and a fenced one is started again.
CLEANING, STARTING = 595, 596


def left_behind(s: Situation) -> str:
    """A node that is off by a current word and could let go of the disk; ``""`` if there is none, or it was tried lately."""
    idle = (n for n in s.seen.holders if n.vm.is_off and n.vm.snapshot is False and n.vm.task == "")
    return "" if _lately(s, CLEANING) else next((n.minion for n in idle if n is not s.holder), "")


def to_start(s: Situation) -> str:
    """A fenced node that is to run again and can by now; ``""`` if there is none, or it was tried lately."""
    free = (n.minion for n in s.seen.nodes if n.startable and n is not s.holder)
    return "" if _lately(s, STARTING) else next(free, "")


def _lately(s: Situation, rule: int) -> bool:
    """A move by that row has ended a moment ago: what it could not do is not tried without end."""
    late = (m for m in s.recent if s.wall - m.get("ended", 0.0) < UNLUCKY and not m.get("forgotten"))
    return any(m.get("by") == rule for m in late)


AFTERMATH: tuple[PolicyRow, ...] = (
    PolicyRow(
        CLEANING,
        "active and healthy, and a dead node still lists the disk",
        of_holder(lambda s, h: h.healthy and bool(left_behind(s))),
        Choice.MOVE,
        lambda s: (
            f"active on {holder_name(s)}; {left_behind(s)} is off and still lists the disk, without which it can boot"
        ),
        MoveKind.REPAIR,
        holder_name,
    ),
    PolicyRow(
        STARTING,
        "active and healthy, and a fenced node is to run again",
        of_holder(lambda s, h: h.healthy and bool(to_start(s))),
        Choice.MOVE,
        lambda s: (
            f"active on {holder_name(s)}; {to_start(s)} was fenced, is still off, and can run again (fence_action: reboot)"
        ),
        MoveKind.REPAIR,
        holder_name,
    ),
)
