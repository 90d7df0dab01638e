"""
The policy of a disk that fails on its holder: whether it is the node's trouble, which a failover ends, or the disk's own,
which it would only carry along. Pure.
"""

from __future__ import annotations

from vmdk_failover.around import Ailing, datastore_of
from vmdk_failover.judgement.assess import NodeSight
from vmdk_failover.judgement.doubts import question_words
from vmdk_failover.judgement.situation import (
    HOUR,
    Choice,
    PolicyRow,
    Situation,
    holder_name,
    no_target,
    of_holder,
    why_failed,
)

#: By these names the kernel tells that a datastore, not a file system, has no space left.
NO_SPACE = ("ENOSPC", "space allocation")
#: So long after a move has ended (seconds) the prober of the target may not have looked yet.
SETTLING = 10.0


def out_of_space(s: Situation, h: NodeSight) -> bool:
    """The guest was told that there is no space for what it writes."""
    return h.failed and h.facts is not None and any(word in h.facts.evidence for word in NO_SPACE)


def came_along(s: Situation, h: NodeSight) -> bool:
    """The resource left another node for the same fault within the hour, and nobody has said ``clear`` since."""
    return h.failed and bool(came_from(s, h))


def came_from(s: Situation, h: NodeSight) -> str:
    """The node that it left for the same fault; ``""`` if there is none."""
    condition = h.facts.condition.value if h.facts else ""
    for m in reversed(s.recent):
        late = s.wall - m.get("ended", 0.0) < HOUR
        same = m.get("condition") == condition and m.get("source") not in ("", h.minion)
        if m.get("ok") and same and late and not m.get("forgotten"):
            return str(m.get("source"))
    return ""


def fellows(s: Situation, h: NodeSight) -> tuple[Ailing, ...]:
    """Other resources of the datastore that suffer the same on another node and, at least once, on another ESXi host."""
    if not h.failed or h.facts is None:
        return ()
    mine = {datastore_of(d.path) for d in s.resource.disks}
    alike = (a for a in s.seen.ailing if a.condition == h.facts.condition.value and a.datastores & mine)
    return tuple(a for a in alike if a.node != h.minion and a.hosts - {h.vm.host})


def _fellow_words(s: Situation) -> str:
    other = fellows(s, s.holder)[0] if s.holder else None
    if other is None:
        return "other resources of the datastore fail too"
    return (
        f"{holder_name(s)} reports {why_failed(s)}, and so does {other.node} for {other.resource} from another host: it is the "
        f"datastore {', '.join(sorted(other.datastores))}, which another node could not use either; see to it"
    )


FAILING: tuple[PolicyRow, ...] = (
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
        652,
        "the disk fails on the holder because its datastore has no space left",
        of_holder(out_of_space),
        Choice.HOLD,
        lambda s: (
            f"{holder_name(s)} reports {why_failed(s)}: the datastore has no space left, and another node could not write there "
            "either; make space"
        ),
    ),
    PolicyRow(
        653,
        "the disk fails on the holder as it did on the node that it came from",
        of_holder(came_along),
        Choice.HOLD,
        lambda s: (
            f"{holder_name(s)} reports {why_failed(s)}, and {came_from(s, s.holder) if s.holder else ''} did before it: the "
            f"fault is the disk's own and would go along; see to the disk, then 'salt-run vmdk.clear {s.resource.name}'"
        ),
    ),
    PolicyRow(
        654,
        "the disk fails on the holder, and others of its datastore fail alike",
        of_holder(lambda s, h: bool(fellows(s, h))),
        Choice.HOLD,
        _fellow_words,
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
)


ASKING: tuple[PolicyRow, ...] = (
    PolicyRow(
        603,
        "the holder stands still because its datastore has no space left",
        of_holder(lambda s, h: h.vm.full),
        Choice.HOLD,
        lambda s: question_words(s.holder) if s.holder else "",
    ),
    PolicyRow(
        605,
        "the holder stands still until a question is answered",
        of_holder(lambda s, h: bool(h.vm.question)),
        Choice.HOLD,
        lambda s: question_words(s.holder) if s.holder else "",
    ),
)


def just_come(s: Situation, h: NodeSight) -> bool:
    """It came into service there a moment ago: what the node's prober says may be of the time before."""
    last = s.recent[-1] if s.recent else {}
    came = bool(last.get("ok")) and last.get("target") == h.minion
    return came and 0 <= s.wall - last.get("ended", 0.0) < SETTLING


def disputed(s: Situation, h: NodeSight) -> bool:
    """What the node says of its mounts and what its prober says of them cannot both be true."""
    return h.healthy and h.disputed and not just_come(s, h)


DISPUTED: tuple[PolicyRow, ...] = (
    PolicyRow(
        594,
        "mounted, and the node's prober says that it is not, or that another file system is",
        of_holder(disputed),
        Choice.HOLD,
        lambda s: (
            f"{holder_name(s)} has {s.resource.name} mounted, but its prober reports {why_failed(s)}: nothing is moved before a "
            "person has seen what is on the disk"
        ),
    ),
)
