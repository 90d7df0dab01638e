"""
What the policy table judges, and the questions that its rows ask. Pure.

A :class:`Situation` is what is seen, remembered and asked for while no move is open; a :class:`Decision` is what follows.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vmdk_failover.errors import LockedByStranger
from vmdk_failover.judgement import doubts, homes
from vmdk_failover.judgement.assess import NodeSight, Snapshot
from vmdk_failover.judgement.blind import could_mount
from vmdk_failover.judgement.doubts import contradiction, outdated_words, unseen_words
from vmdk_failover.judgement.hierarchy import cannot_base, cannot_follow, stands
from vmdk_failover.model import Move, MoveKind, Resource

HOUR = 3600.0
#: For this long (seconds) a failed move counts against its target.
UNLUCKY = 600.0
#: After so many of them the node is no target until that time is over.
TARGET_TRIES = 2
#: Rows by which a move ends because the target got the disk or the file system not to work; others say nothing of it.
TRIED_IN_VAIN = frozenset({210, 250})
#: Part of what vCenter calls a reconfiguration, such as the attach of another resource that fails over to the same node: seconds.
SHORT_TASK = "reconfig"


#: A device that somebody held exclusively is tried again after this long (seconds); that is not the node's fault.
BUSY_WAIT = 10.0
DEVICE_BUSY = "device_busy"
#: A disk whose file a VM outside the resource had open is tried again after this long (seconds).
STRANGER_WAIT = 20.0
#: The same if its holder was said to be off: the lock of a dead host runs out, that of a living one never does.
DOUBT_WAIT = 60.0
#: Each such try in a row doubles the wait, up to this (seconds): the target stands still for as long as a refusal takes.
LONGEST_WAIT = 600.0
#: Codes of failures that say nothing against the target.
NOBODYS_FAULT = frozenset({DEVICE_BUSY, LockedByStranger.code})


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
    :param home: on which node the disk was last seen for certain, as the journal has it.
    """

    seen: Snapshot
    epoch: int
    wall: float
    paused: bool = False
    recent: Sequence[Mapping[str, Any]] = ()
    wish: Wish | None = None
    missing_ok: Sequence[str] = ()
    home: Mapping[str, Any] | None = None

    @property
    def resource(self) -> Resource:
        return self.seen.resource

    @functools.cached_property
    def holder(self) -> NodeSight | None:
        """The one node that matters: the only writer, else the first that lists the disk."""
        nodes = self.seen.writers or self.seen.holders
        return nodes[0] if nodes else None

    @functools.cached_property
    def homes(self) -> Mapping[str, str]:
        """The nodes that may have the disk by what is remembered, as :func:`homes.known` has them."""
        return homes.known(self.recent, self.home)

    def targets(self) -> tuple[NodeSight, ...]:
        """
        Ready nodes besides the holder, best first; one that has just failed to take it comes later, or not at all. So does one on
        whose VM a task runs that may take hours, for nothing is attached meanwhile.
        """
        without = self.holder.minion if self.holder else ""
        fit = [n for n in self.seen.candidates(without) if self.failed(n.minion) < TARGET_TRIES]
        ready = [n for n in fit if not cannot_base(self.seen, n.minion, without)] if self.seen.kin else fit
        if len(ready) < 2 or not (self.recent or self.seen.kin or any(map(_is_taken_up, ready))):
            return tuple(ready)
        left, seen = self.left(), self.seen
        return tuple(
            sorted(
                ready,
                key=lambda n: (
                    bool(cannot_follow(seen, n.minion)),
                    n.minion in left,
                    _is_taken_up(n),
                    self.failed(n.minion),
                ),
            )
        )

    def unfit(self, node: NodeSight) -> tuple[str, ...]:
        """Why a node besides the holder could not take the resource, or what it depends on."""
        without = self.holder.minion if self.holder else ""
        return (*node.unfit(), *cannot_base(self.seen, node.minion, without))

    def left(self) -> frozenset[str]:
        """Nodes that the resource was taken from within the hour because its disk failed there; they come last."""
        late = (m for m in self.recent if not m.get("forgotten") and self.wall - m.get("ended", 0.0) < HOUR)
        return frozenset(str(m.get("source")) for m in late if m.get("condition"))

    def failed(self, minion: str) -> int:
        """Moves to ``minion`` that failed lately, since the last move that ended well and since a person last cleared."""
        count = 0
        for move in reversed(self.recent):
            if move.get("ok") or move.get("forgotten") or self.wall - move.get("ended", 0.0) > UNLUCKY:
                break
            tried = move.get("rule") in TRIED_IN_VAIN and move.get("code") not in NOBODYS_FAULT
            count += tried and move.get("target") == minion
        return count

    def last_failure(self) -> str:
        """Why the last move failed, as part of a sentence."""
        last = self.recent[-1] if self.recent else {}
        return "" if last.get("ok", True) else f"; the last try failed: {last.get('reason', '')}"

    def rescues(self) -> int:
        """Failovers off a running holder within the last hour, since a person last said ``clear``."""
        return sum(1 for m in self.recent if m.get("damped") and self.wall - m.get("ended", 0.0) < HOUR)


def _is_taken_up(node: NodeSight) -> bool:
    """A task runs on its VM, or that cannot be read, and it is none of those by which disks come and go."""
    task = node.vm.task
    return task != "" and (task is None or SHORT_TASK not in task)


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


def of_holder(test: Callable[[Situation, NodeSight], bool]) -> Callable[[Situation], bool]:
    """A condition on the holder; false if there is none."""

    def matches(s: Situation) -> bool:
        holder = s.holder
        return holder is not None and test(s, holder)

    return matches


def holder_name(s: Situation) -> str:
    return s.holder.minion if s.holder else "nobody"


def why_failed(s: Situation) -> str:
    facts = s.holder.facts if s.holder else None
    if facts is None:
        return "it cannot use the disk"
    return f"{facts.condition.value}: {facts.evidence}" if facts.evidence else facts.condition.value


def no_target(s: Situation) -> str:
    if s.holder is not None and s.holder.at_stake:
        return f"nothing takes it from {s.holder.minion}, because {s.holder.at_stake}{s.last_failure()}"
    words = [f"{n.minion}: {'; '.join(s.unfit(n))}" for n in s.seen.nodes if n is not s.holder and s.unfit(n)]
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


def locked_out(s: Situation) -> bool:
    """Somebody had the disk's file open a moment ago. If that was said to be off, it is given longer; so is who stays."""
    tries = 0
    for move in reversed(s.recent):
        if move.get("code") != LockedByStranger.code or move.get("forgotten"):
            break
        tries += 1
    first = DOUBT_WAIT if s.holder is not None and s.holder.confirmed else STRANGER_WAIT
    wait = min(LONGEST_WAIT, first * 2.0 ** (tries - 1))
    return tries > 0 and s.wall - s.recent[-1].get("ended", 0.0) < wait


def locked_words(s: Situation) -> str:
    """Who may have the file open, and what to do."""
    again = f"{s.last_failure()}; it is never forced, and tried again later"
    if s.holder is not None and s.holder.confirmed:
        return (
            f"{s.holder.confirmed}, but the disk's file is still open: {s.holder.minion} or a VM outside {s.resource.name} "
            f"runs on{again}; make sure that the host is off"
        )
    return f"a VM outside {s.resource.name} (a backup, a clone) has the disk's file open{again}: find that VM"


def idle(s: Situation, h: NodeSight) -> bool:
    """It has it mounted in good health, and a service does not run."""
    return h.healthy and h.facts is not None and h.facts.services is False


def did_not_start(s: Situation, h: NodeSight) -> bool:
    """The services did not start when the resource was brought there, and it is to go on to the next node then."""
    last = s.recent[-1] if s.recent else {}
    failed = last.get("target") == h.minion and s.failed(h.minion) > 0
    return idle(s, h) and failed and s.resource.on_service_failure == "next" and bool(s.targets())


def idle_words(s: Situation) -> str:
    services = ", ".join(s.resource.services) or "its start states"
    return (
        f"{s.resource.name} is mounted on {holder_name(s)}, but its services do not run ({services}){s.last_failure()}; see why "
        f"and start them on {holder_name(s)}"
    )


def lost_from_sight(s: Situation) -> str:
    """A node whose VM vCenter does not show, without a person having acknowledged that; it may run and write."""
    lost = (n.minion for n in s.seen.nodes if n.vm.present is False and n.minion not in s.missing_ok)
    return next(lost, "")


def departed(s: Situation) -> str:
    """A node that had the disk last, if it is none of the resource's any more: nobody looks at its VM; else ``""``."""
    nodes = {node.minion for node in s.resource.nodes}
    return next((last for last in s.homes if last not in nodes), "")


def home_unseen(s: Situation) -> str:
    """A node that had the disk last, if vCenter does not show its VM and nobody said that it was deleted; else ``""``."""
    unseen = {n.minion for n in s.seen.nodes if n.vm.present is False}.difference(s.missing_ok)
    return next((last for last in s.homes if last in unseen), "")


def home_outdated(s: Situation) -> NodeSight | None:
    """A node that had the disk last, if what is seen of it is old and shows no disk; else ``None``."""
    return next((n for n in s.seen.nodes if n.minion in s.homes and doubts.outdated(n)), None)


def home_doubted(s: Situation) -> str:
    """Why a node that had the disk last may have it although its VM is not seen to, as part of a sentence; else ``""``."""
    if last := home_unseen(s):
        return unseen_words(last, s.resource.name, s.homes[last])
    outdated = home_outdated(s)
    return outdated_words(outdated, s.resource.name, s.homes[outdated.minion]) if outdated else ""


def elsewhere(s: Situation) -> str:
    """Where the disk may be although no node lists it, as a sentence; ``""`` if nothing says so."""
    if gone := departed(s):
        return (
            f"no node lists the disk, but {gone} {s.homes[gone]} and is no node of {s.resource.name} any more, so nobody looks "
            f"at its VM: take the disk out there, then 'salt-run vmdk.clear {s.resource.name}'"
        )
    return contradiction(s.seen)


def why_off(s: Situation) -> str:
    """Why the holder does not run, as part of a sentence."""
    if s.holder is None:
        return "nobody holds the disk"
    return s.holder.confirmed or f"the VM of {s.holder.minion} is {s.holder.vm.power.value}"


def way_back(s: Situation) -> str:
    """That a holder which is off needs only be powered on, as part of a sentence; it never mounts by itself."""
    h = s.holder
    if h is None or not h.vm.is_off:
        return ""
    return f"; power {h.minion} on to have it back there, or make another node ready"


def last_home(s: Situation) -> str:
    """The node that got the disk last, if it could mount it again without vCenter; ``""`` otherwise."""
    last = s.recent[-1] if s.recent else {}
    home = str(last.get("target", ""))
    facts = s.seen.node(home).facts
    newest = max((n.facts.epoch for n in s.seen.nodes if n.facts is not None), default=-1)
    done = bool(last.get("ok")) and not last.get("forgotten")  # a request of a forgotten move may still land
    permitted = done and facts is not None and facts.epoch == s.epoch == newest
    based = stands(s.seen, home)
    return home if permitted and based and s.wish is None and could_mount(s.seen, home) else ""


def lacking_words(s: Situation) -> str:
    """What the holder does not list, although it has it mounted."""
    listed = s.holder.listed if s.holder else ()
    lacking = ", ".join(d.path for d in s.resource.disks if d not in listed)
    return (
        f"{holder_name(s)} has {s.resource.name} mounted, and its VM does not list {lacking or 'all its disks'}: put it back "
        "where it was, or protect anew"
    )
