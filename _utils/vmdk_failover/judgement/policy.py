"""
Whether a resource should move at all, and where to: the second numbered table. First match wins.

Pure. It runs when no move is open. ``MOVE`` begins one, ``HOLD`` does nothing and says why, ``NOTHING`` means all is well.
A request of an operator (:class:`Wish`) is judged by the same table; it can be refused, never forced past a safety row.
"""

from __future__ import annotations

from vmdk_failover.judgement.aftermath import AFTERMATH
from vmdk_failover.judgement.assess import NodeSight
from vmdk_failover.judgement.blind import REMOUNT
from vmdk_failover.judgement.departing import AFTER, BEFORE
from vmdk_failover.judgement.depending import DEPENDING
from vmdk_failover.judgement.doubts import impostor_words, unclear_words
from vmdk_failover.judgement.failing import ASKING, DISPUTED, FAILING
from vmdk_failover.judgement.helpless import HELP, HELPLESS
from vmdk_failover.judgement.mending import MENDING
from vmdk_failover.judgement.silence import LOST_HOST, SILENT
from vmdk_failover.judgement.situation import (
    HOUR,
    TARGET_TRIES,
    UNLUCKY,
    Choice,
    Decision,
    PolicyRow,
    Situation,
    Wish,
    did_not_start,
    elsewhere,
    holder_name,
    home_doubted,
    home_outdated,
    idle,
    idle_words,
    lacking_words,
    last_home,
    locked_out,
    locked_words,
    lost_from_sight,
    no_target,
    of_holder,
    way_back,
    why_off,
)
from vmdk_failover.judgement.wishing import WISHES
from vmdk_failover.model import Move, MoveKind

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
        lambda s: f"paused by an operator; 'salt-run vmdk.resume {s.resource.name}' ends it",
    ),
    PolicyRow(
        REMOUNT,
        "vCenter cannot be read, and the node that got the disk last sees it and has it not mounted",
        lambda s: not s.seen.readable and bool(last_home(s)),
        Choice.MOVE,
        lambda s: (
            f"vCenter cannot be read, but {last_home(s)} was the last to get the disk, sees it, and has it not mounted: it is "
            "mounted there again"
        ),
        MoveKind.REPAIR,
        last_home,
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
        lambda s: unclear_words(s.seen),
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
        541,
        "the holder does not run, and the VM of a node that had the disk last cannot be seen, or not as it is now",
        of_holder(lambda s, h: not h.running and bool(home_doubted(s))),
        Choice.HOLD,
        lambda s: f"{holder_name(s)}, which does not run, lists the disk, but {home_doubted(s)}",
    ),
    PolicyRow(
        542,
        "another VM answers under the holder's name",
        of_holder(lambda s, h: bool(h.impostor)),
        Choice.HOLD,
        lambda s: impostor_words(s.holder) if s.holder else "",
    ),
    *LOST_HOST,
    *WISHES,
    *BEFORE,
    *DEPENDING,
    *DISPUTED,
    *AFTERMATH,
    PolicyRow(
        597,
        "mounted, its services did not start, and they are to be tried on the next node",
        of_holder(did_not_start),
        Choice.MOVE,
        lambda s: (
            f"the services of {s.resource.name} do not start on {holder_name(s)} (on_service_failure: next)"
        ),
    ),
    PolicyRow(
        598,
        "mounted, and its services do not run",
        of_holder(idle),
        Choice.HOLD,
        idle_words,
    ),
    PolicyRow(
        600,
        "active and healthy",
        of_holder(lambda s, h: h.healthy),
        Choice.NOTHING,
        lambda s: f"active on {holder_name(s)}",
    ),
    *AFTER,
    *ASKING,
    PolicyRow(
        610,
        "a task runs on the holder",
        of_holder(lambda s, h: bool(h.vm.present) and h.vm.task != ""),
        Choice.WAIT,
        lambda s: (
            f"a task still runs on {holder_name(s)}"
            if s.holder and s.holder.vm.task
            else f"whether a task runs on {holder_name(s)} cannot be read; see what the account may read"
        ),
    ),
    PolicyRow(
        615,
        "the holder is off, and somebody has just had the disk's file open",
        of_holder(lambda s, h: not h.running and locked_out(s)),
        Choice.HOLD,
        locked_words,
    ),
    PolicyRow(
        620,
        "the holder is off and another node is ready",
        of_holder(lambda s, h: not h.running and bool(s.targets())),
        Choice.MOVE,
        why_off,
    ),
    PolicyRow(
        630,
        "the holder is off and no node is ready",
        of_holder(lambda s, h: not h.running),
        Choice.HOLD,
        lambda s: f"{why_off(s)}, and {no_target(s)}{way_back(s)}",
    ),
    *HELPLESS,
    *SILENT,
    *FAILING,
    *MENDING,
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
        792,
        "nobody is seen to hold the disk, and vCenter's word about a node that had it last is not current",
        lambda s: s.holder is None and home_outdated(s) is not None,
        Choice.HOLD,
        lambda s: f"no node lists the disk, but {home_doubted(s)}",
    ),
    PolicyRow(
        793,
        "nobody is seen to hold the disk, and somebody who is not looked at, or contradicts vCenter, may have it",
        lambda s: s.holder is None and bool(elsewhere(s)),
        Choice.HOLD,
        elsewhere,
    ),
    PolicyRow(
        795,
        "nobody holds the disk, and a VM outside the resource has just had its file open",
        lambda s: s.holder is None and locked_out(s),
        Choice.HOLD,
        locked_words,
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
        "anything else: mounted, and its VM does not list all disks",
        lambda s: True,
        Choice.HOLD,
        lacking_words,
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
    source = target if row.kind is MoveKind.REPAIR else holder.minion if holder else ""
    return Move(
        situation.resource,
        row.kind,
        source,
        target,
        situation.epoch + 1,
        reason,
        row.number,
        _condition(row, holder),
    )


def _condition(row: PolicyRow, holder: NodeSight | None) -> str:
    """The failure that the holder reported, asked or not; ``""`` if none."""
    if row.number == HELP and holder and holder.complaint:
        return holder.complaint.condition.value
    return holder.facts.condition.value if holder and holder.facts and holder.failed else ""
