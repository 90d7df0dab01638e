"""
The policy of a holder that has announced its own shutdown: it is moved off before, or given time to come back. Pure.
"""

from __future__ import annotations

from vmdk_failover.around import BACK_IN
from vmdk_failover.judgement.assess import NodeSight
from vmdk_failover.judgement.situation import (
    TARGET_TRIES,
    UNLUCKY,
    Choice,
    PolicyRow,
    Situation,
    holder_name,
    of_holder,
)
from vmdk_failover.model import MoveKind, Power

#: The row by which a resource leaves a node that shuts down.
LEAVES = 565


def may_leave(s: Situation, h: NodeSight) -> bool:
    """It can be moved cleanly before the node is gone, and that was not tried too often."""
    if (
        not h.leaving
        or s.resource.on_shutdown != "switchover"
        or not h.running
        or h.facts is None
        or h.failed
    ):
        return False
    late = (m for m in s.recent if s.wall - m.get("ended", 0.0) < UNLUCKY and not m.get("forgotten"))
    vain = [m for m in late if m.get("by") == LEAVES and m.get("source") == h.minion and not m.get("ok")]
    return len(vain) < TARGET_TRIES and bool(s.targets())


def comes_back(s: Situation, h: NodeSight) -> bool:
    """It is expected back: it shuts down, or has done so, by its own word."""
    meant = h.leaving and s.resource.on_shutdown == "stay" and not h.failed and not h.confirmed
    return meant and bool(h.vm.present) and h.vm.power is not Power.SUSPENDED


BEFORE: tuple[PolicyRow, ...] = (
    PolicyRow(
        LEAVES,
        "the holder shuts down, the resource is to leave it then, and another node is ready",
        of_holder(may_leave),
        Choice.MOVE,
        lambda s: f"{holder_name(s)} has announced that it shuts down (on_shutdown: switchover)",
        MoveKind.SWITCHOVER,
    ),
)

AFTER: tuple[PolicyRow, ...] = (
    PolicyRow(
        602,
        "the holder shuts down, and is given time to come back",
        of_holder(comes_back),
        Choice.HOLD,
        lambda s: (
            f"{holder_name(s)} has announced that it shuts down; it is given {BACK_IN:g} s from then to come back "
            "(on_shutdown: stay)"
        ),
    ),
)
