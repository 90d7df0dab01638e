"""
The policy of a holder that answers and has the file system not mounted: mounted again where it was, unless somebody is at work
there, or it cannot be. Pure.
"""

from __future__ import annotations

from vmdk_failover.judgement.assess import NodeSight
from vmdk_failover.judgement.doubts import misplaced_words
from vmdk_failover.judgement.situation import (
    BUSY_WAIT,
    DEVICE_BUSY,
    Choice,
    PolicyRow,
    Situation,
    holder_name,
    no_target,
    of_holder,
)
from vmdk_failover.model import MountState, MoveKind


def unmounted(s: Situation, h: NodeSight) -> bool:
    return h.facts is not None and not h.mounted


def just_busy(s: Situation, h: NodeSight) -> bool:
    """The last try to mount it there found the device in exclusive use, a moment ago."""
    last = s.recent[-1] if s.recent else {}
    mine = last.get("code") == DEVICE_BUSY and last.get("target") == h.minion and not last.get("forgotten")
    return unmounted(s, h) and mine and s.wall - last.get("ended", 0.0) < BUSY_WAIT


def worn_out(s: Situation, h: NodeSight) -> bool:
    """It was tried there often enough; once is enough on a node that has just got the disk, if another one is ready."""
    tries = s.failed(h.minion)
    last = s.recent[-1] if s.recent else {}
    came = (
        tries == 1 and last.get("target") == h.minion and last.get("source") != h.minion and bool(s.targets())
    )
    return unmounted(s, h) and (came or tries >= max(1, s.resource.local_tries))


def barred(s: Situation, h: NodeSight) -> bool:
    """Its own word: nothing of the file system is in use there, and it could not be mounted. It will let go without a fence."""
    facts = h.facts
    idle = facts is not None and facts.mounted is MountState.UNMOUNTED and facts.superblock is False
    return idle and bool(facts and facts.unready) and not h.leaving


def _unfit_words(s: Situation) -> str:
    """Why it is mounted neither there nor elsewhere."""
    words = _cannot_words(s)
    if not s.targets():
        return f"{words}; {no_target(s)}"
    facts = s.holder.facts if s.holder else None
    if facts is None or (facts.mounted is MountState.UNMOUNTED and facts.superblock is False):
        return words
    return (
        f"{words}. Part of it is still in use there, so it is not moved by itself: 'salt-run vmdk.failover {s.resource.name}' "
        "does that, with a fence if it must"
    )


def _cannot_words(s: Situation) -> str:
    unfit = s.holder.unfit() if s.holder else ()
    return f"unmounted on {holder_name(s)}, which cannot take it: {'; '.join(unfit)}"


MENDING: tuple[PolicyRow, ...] = (
    PolicyRow(
        695,
        "the holder lists a disk at another place",
        of_holder(lambda s, h: h.misplaced),
        Choice.HOLD,
        lambda s: misplaced_words(s.holder) if s.holder else "",
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
        732,
        "unmounted, and the node cannot mount it, too many failovers",
        of_holder(
            lambda s, h: (
                barred(s, h) and s.rescues() >= s.resource.max_failovers_per_hour and bool(s.targets())
            )
        ),
        Choice.HOLD,
        lambda s: (
            f"{_cannot_words(s)}; {s.rescues()} failovers within the hour are enough: mend that, then "
            f"'salt-run vmdk.clear {s.resource.name}'"
        ),
    ),
    PolicyRow(
        735,
        "unmounted, and the node cannot mount it, and another node is ready",
        of_holder(lambda s, h: barred(s, h) and bool(s.targets())),
        Choice.MOVE,
        _cannot_words,
    ),
    PolicyRow(
        740,
        "unmounted, and the node is not fit",
        of_holder(lambda s, h: unmounted(s, h) and bool(h.unfit())),
        Choice.HOLD,
        _unfit_words,
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
)
