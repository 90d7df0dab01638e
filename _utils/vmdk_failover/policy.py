"""
Whether a resource should move at all, and where to: the second numbered table. First match wins.

Pure. It runs when no move is open. ``MOVE`` begins one, ``HOLD`` does nothing and says why, ``NOTHING`` means all is well.
A request of an operator (:class:`Wish`) is judged by the same table; it can be refused, never forced past a safety row.
"""

from __future__ import annotations

from vmdk_failover.assess import unclear_words
from vmdk_failover.model import MountState, Move, MoveKind
from vmdk_failover.silence import SILENT
from vmdk_failover.situation import (
    HOUR,
    TARGET_TRIES,
    UNLUCKY,
    Choice,
    Decision,
    PolicyRow,
    Situation,
    Wish,
    holder_name,
    just_busy,
    lost_from_sight,
    no_target,
    of_holder,
    unmounted,
    why_failed,
    wish_fault,
    wished_target,
    wishes,
    worn_out,
)

__all__ = [
    "HOUR",
    "POLICY",
    "TARGET_TRIES",
    "UNLUCKY",
    "Choice",
    "Decision",
    "PolicyRow",
    "Situation",
    "Wish",
    "decide",
]


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
        lambda s: unclear_words(s.seen.unclear),
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
        of_holder(lambda s, h: not h.known),
        Choice.HOLD,
        lambda s: (
            f"what vCenter says of {holder_name(s)} is not current (VM or host not connected); restore the host, "
            "or prove it off and say so"
        ),
    ),
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
    PolicyRow(
        600,
        "active and healthy",
        of_holder(lambda s, h: h.healthy),
        Choice.NOTHING,
        lambda s: f"active on {holder_name(s)}",
    ),
    PolicyRow(
        610,
        "a task runs on the holder",
        of_holder(lambda s, h: bool(h.vm.present) and h.vm.task != ""),
        Choice.WAIT,
        lambda s: f"a task still runs on {holder_name(s)}",
    ),
    PolicyRow(
        620,
        "the holder is off and another node is ready",
        of_holder(lambda s, h: not h.running and bool(s.targets())),
        Choice.MOVE,
        lambda s: f"the VM of {holder_name(s)} is {s.holder.vm.power.value if s.holder else 'off'}",
    ),
    PolicyRow(
        630,
        "the holder is off and no node is ready",
        of_holder(lambda s, h: not h.running),
        Choice.HOLD,
        lambda s: (
            f"the VM of {holder_name(s)} is {s.holder.vm.power.value if s.holder else 'off'} and {no_target(s)}"
        ),
    ),
    *SILENT,
    PolicyRow(
        650,
        "the disk fails on the holder, too many failovers",
        of_holder(lambda s, h: h.failed and s.rescues() >= s.resource.max_failovers_per_hour),
        Choice.HOLD,
        lambda s: (
            f"{holder_name(s)} reports {why_failed(s)}, but {s.rescues()} failovers within the hour are enough; "
            "find the cause, then 'salt-run vmdk.clear'"
        ),
    ),
    PolicyRow(
        660,
        "the disk fails on the holder and another node is ready",
        of_holder(lambda s, h: h.failed and bool(s.targets())),
        Choice.MOVE,
        lambda s: f"{holder_name(s)} reports {why_failed(s)}",
    ),
    PolicyRow(
        670,
        "the disk fails on the holder and no node is ready",
        of_holder(lambda s, h: h.failed),
        Choice.HOLD,
        lambda s: f"{holder_name(s)} reports {why_failed(s)}, and {no_target(s)}",
    ),
    PolicyRow(
        700,
        "unmounted, and somebody works on the device",
        of_holder(lambda s, h: unmounted(s, h) and bool(h.facts and h.facts.busy)),
        Choice.HOLD,
        lambda s: (
            f"unmounted on {holder_name(s)}, and {s.holder.facts.busy if s.holder and s.holder.facts else ''}; "
            "it is mounted when that has ended"
        ),
    ),
    PolicyRow(
        705,
        "unmounted, and the device was just found in exclusive use",
        of_holder(just_busy),
        Choice.HOLD,
        lambda s: (
            f"unmounted on {holder_name(s)}, and somebody there holds the device exclusively; "
            "it is mounted when that has ended ('salt-call vmdk.status' on the node shows more)"
        ),
    ),
    PolicyRow(
        710,
        "something else is mounted there",
        of_holder(
            lambda s, h: h.facts is not None and h.facts.mounted in (MountState.FOREIGN, MountState.UNKNOWN)
        ),
        Choice.HOLD,
        lambda s: (
            f"something else is mounted at a mount point of {s.resource.name} on {holder_name(s)}, or its mounts cannot be read"
        ),
    ),
    PolicyRow(
        720,
        "unmounted, and it cannot be mounted there, and another node is ready",
        of_holder(lambda s, h: worn_out(s, h) and bool(s.targets())),
        Choice.MOVE,
        lambda s: f"it could not be brought into service on {holder_name(s)}",
    ),
    PolicyRow(
        730,
        "unmounted, and it cannot be mounted there, and no node is ready",
        of_holder(worn_out),
        Choice.HOLD,
        lambda s: f"it could not be brought into service on {holder_name(s)}, and {no_target(s)}",
    ),
    PolicyRow(
        740,
        "unmounted, and the node is not fit",
        of_holder(lambda s, h: unmounted(s, h) and bool(h.unfit())),
        Choice.HOLD,
        lambda s: (
            f"unmounted on {holder_name(s)}, which cannot take it: {'; '.join(s.holder.unfit()) if s.holder else ''}"
        ),
    ),
    PolicyRow(
        750,
        "unmounted on the holder",
        of_holder(unmounted),
        Choice.MOVE,
        lambda s: f"{holder_name(s)} holds the disk and has it not mounted",
        MoveKind.REPAIR,
        holder_name,
    ),
    PolicyRow(
        790,
        "nobody is seen to hold the disk, and the VM of a node cannot be seen",
        lambda s: s.holder is None and bool(lost_from_sight(s)),
        Choice.HOLD,
        lambda s: (
            f"no node lists the disk, but {lost_from_sight(s)}, whose VM may hold it, is not to be seen in vCenter: a VM "
            "that the account may not see can still run. Give the account the right to see it; if the VM was deleted, "
            f"'salt-run vmdk.clear {s.resource.name}'"
        ),
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
        lambda s: f"no node lists the disk, and {no_target(s)}",
    ),
    PolicyRow(
        900,
        "anything else",
        lambda s: True,
        Choice.HOLD,
        lambda s: f"the state of {s.resource.name} on {holder_name(s)} is not understood",
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
