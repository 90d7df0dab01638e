"""
What the step table judges, and the questions that its rows ask. Pure.

A :class:`Case` is an open move, what is seen now, and what the move's own steps came to; a :class:`Verdict` is what follows.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from vmdk_failover.errors import Busy, LockedByStranger, VersionConflict
from vmdk_failover.judgement.assess import NodeSight, Snapshot
from vmdk_failover.judgement.blind import REMOUNT
from vmdk_failover.judgement.doubts import outdated
from vmdk_failover.model import MountState, Move, MoveKind, Outcome, Power, Result, Step, StepKind

FENCE_TRIES = 3
ATTACH_TRIES = 3
DETACH_TRIES = 5
SEAL_TRIES = 3
RELEASE_TRIES = 2
HOOK_TRIES = 2
#: Steps after which a node is to be powered on again, if that is wanted.
FENCES = frozenset({StepKind.FENCE, StepKind.FENCE_HOOK})
MOUNT_TRIES = 2
#: Refusals that only mean "look again": another request was faster. They do not count as tries.
NO_TRY = frozenset({VersionConflict.code, Busy.code})
#: Steps to which that applies: a node that still mounts is left to it; one that is busy releasing is fenced all the same.
_BY_VCENTER = frozenset(
    {*FENCES, StepKind.FENCE_HOST, StepKind.DETACH, StepKind.ATTACH, StepKind.SEAL, StepKind.MOUNT}
)


class Then(str, enum.Enum):
    """What a row leads to besides a step."""

    HOLD = "hold"  # do nothing, say why
    WAIT = "wait"  # look again soon; it passes by itself
    DONE = "done"
    ABANDON = "abandon"  # end this move; the next look decides afresh


@dataclass(frozen=True)
class Case:
    """
    What the table judges: an open move, what is seen, and what the move's own steps came to.

    :param missing_ok: nodes that a person said were deleted.
    :param last: nodes that may have the disk by what is remembered (``homes.known``): how they come to be in question, by id.
    """

    move: Move
    seen: Snapshot
    outcomes: tuple[Outcome, ...] = ()
    epoch: int = 0
    paused: bool = False
    missing_ok: Sequence[str] = ()
    last: Mapping[str, str] = field(default_factory=dict)

    @property
    def source(self) -> NodeSight:
        return self.seen.node(self.move.source)

    @property
    def origins(self) -> Mapping[str, str]:
        """
        Who had the disk when the move began; if nobody was seen to, who had it last; with how that is known, as the predicate
        of a sentence.
        """
        return {self.move.source: "had the disk when the move began"} if self.move.source else self.last

    @property
    def target(self) -> NodeSight:
        return self.seen.node(self.move.target)

    def tried(self, kind: StepKind, node: str = "") -> int:
        """How often a step was tried in this move (on ``node``)."""
        mine = (o for o in self.outcomes if o.step.kind is kind and node in ("", o.step.node))
        return sum(1 for o in mine if not (kind in _BY_VCENTER and o.code in NO_TRY))

    def said(self, kind: StepKind) -> str:
        """What the last try of a step came to, as part of a sentence."""
        for outcome in reversed(self.outcomes):
            if outcome.step.kind is kind:
                return outcome.evidence or outcome.result.value
        return "it was not tried"

    @property
    def released(self) -> bool:
        """The source proved a clean release under this very move, and the proof still holds."""
        facts = self.source.facts
        return facts is not None and facts.released == self.move.epoch

    @property
    def strangers(self) -> tuple[NodeSight, ...]:
        """Holders that are not proven off, besides source and target."""
        return tuple(n for n in self.seen.writers if n.minion not in (self.move.source, self.move.target))

    @property
    def dead_holders(self) -> tuple[NodeSight, ...]:
        """
        Nodes besides the target that list a disk, are proven off, and can be changed: a VM on a host that is gone lets go of
        its disk only when that host is back.
        """
        others = (n for n in self.seen.holders if n.minion != self.move.target and not n.confirmed)
        return tuple(n for n in others if n.off and n.vm.present)

    @property
    def source_holds(self) -> bool:
        """The source is another node than the target, lists a disk, and is not proven off."""
        return not self.move.is_local and bool(self.source.holds) and not self.source.off

    @property
    def is_rescue(self) -> bool:
        return self.move.kind is MoveKind.FAILOVER


@dataclass(frozen=True)
class Row:
    """One row of the table; ``when`` is its condition in words, for people and for the diagram."""

    number: int
    when: str
    matches: Callable[[Case], bool]
    then: Then | StepKind
    reason: Callable[[Case], str]
    node: Callable[[Case], str] = lambda case: case.move.target


@dataclass(frozen=True)
class Verdict:
    """A decision, the row that made it, and the sentence for it."""

    rule: int
    reason: str
    then: Then | None = None
    step: Step | None = None


def names_of(nodes: tuple[NodeSight, ...]) -> str:
    return " and ".join(n.minion for n in nodes)


def source_name(case: Case) -> str:
    return case.move.source


def concerned(case: Case) -> tuple[NodeSight, ...]:
    """Nodes whose state the next step depends on: every holder and both ends of the move."""
    ends = (case.move.source, case.move.target)
    return tuple(n for n in case.seen.nodes if n.holds or n.minion in ends)


def stale(case: Case) -> tuple[NodeSight, ...]:
    return tuple(n for n in concerned(case) if n.holds and not n.known)


def tasks(case: Case) -> tuple[NodeSight, ...]:
    return tuple(n for n in concerned(case) if n.vm.present and n.vm.task != "" and not n.confirmed)


def blocked(case: Case) -> tuple[NodeSight, ...]:
    others = (n for n in case.seen.holders if n.minion != case.move.target)
    return tuple(n for n in others if n.vm.snapshot is not False and n.vm.present and not n.confirmed)


def arrived(case: Case) -> bool:
    target = case.target
    running = target.facts is not None and target.facts.services is not False
    return target.complete and target.running and target.mounted and running and not target.failed


def target_lost(case: Case) -> bool:
    target = case.target
    return bool(target.unfit()) and not (target.complete and target.running and target.mounted)


def elsewhere(case: Case) -> bool:
    return case.move.is_local and not case.target.holds


def unclean(case: Case) -> bool:
    return case.source_holds and not case.is_rescue and not case.released and not may_ask_release(case)


def may_land(case: Case) -> tuple[Outcome, ...]:
    """Reconfigures whose answer was lost, whose work is not to be seen, and whose basis is still current."""
    return tuple(o for o in case.outcomes if o.result is Result.UNKNOWN and is_open(case, o))


def is_open(case: Case, outcome: Outcome) -> bool:
    sight = case.seen.node(outcome.step.node)
    to_do = {StepKind.ATTACH: not sight.complete, StepKind.DETACH: bool(sight.holds)}
    current = sight.vm.change_version
    impossible = bool(outcome.basis and current) and outcome.basis != current
    return to_do.get(outcome.step.kind, False) and not impossible


def sealable(case: Case) -> tuple[Outcome, ...]:
    """Requests that a change of the VM would make impossible, where that can be done and was not tried too often."""
    return tuple(o for o in may_land(case) if o.basis and _may_seal(case, o.step.node))


def _may_seal(case: Case, node: str) -> bool:
    sight = case.seen.node(node)
    there = bool(sight.vm.present and sight.vm.connected and sight.known and sight.vm.change_version)
    return there and case.tried(StepKind.SEAL, node) < SEAL_TRIES


def lost_words(outcome: Outcome) -> str:
    return (
        f"it is not known whether the {outcome.step.kind.value} on {outcome.step.node} will still be carried out "
        f"({outcome.evidence}), so nothing else may be done; any change of that VM's settings (its notes, for example) makes "
        "the lost request impossible, or make sure in vCenter that it is not pending and 'salt-run vmdk.clear'"
    )


def cannot_go_on(case: Case) -> bool:
    """One of the rows that give the move up would match (65, 80, 100, 150, 210), or send a person to do it (105, 195, 196)."""
    lost = elsewhere(case) or target_lost(case) or unclean(case)
    unseen = source_unseen(case) or source_outdated(case)
    asks = unseen is not None or (case.tried(StepKind.DETACH) >= DETACH_TRIES and not arrived(case))
    return bool(case.strangers) or lost or asks or not may_attach(case)


def may_attach(case: Case) -> bool:
    """It was not tried too often; a file that somebody has open is not tried again at once: each try can freeze the target."""
    locked = any(o.step.kind is StepKind.ATTACH and o.code == LockedByStranger.code for o in case.outcomes)
    return case.tried(StepKind.ATTACH) < ATTACH_TRIES and not locked


def ahead(case: Case) -> tuple[NodeSight, ...]:
    return tuple(n for n in case.seen.nodes if n.facts is not None and n.facts.epoch > case.epoch)


def may_halt(case: Case) -> bool:
    wanted = case.move.resource.on_error == "halt" and case.is_rescue and case.source.failed
    free = case.source_holds and not case.source.guarded
    return wanted and free and case.source.running and not case.tried(StepKind.HALT)


def may_ask_release(case: Case) -> bool:
    """
    Once, and once more if it was done and the proof does not hold any more: a scan of the node's bus brings a disk back, and
    nobody is to be powered off for that.
    """
    asked = [o.result is Result.DONE for o in case.outcomes if o.step.kind is StepKind.RELEASE]
    spent = not all(asked) or len(asked) >= RELEASE_TRIES or bool(case.tried(StepKind.HALT))
    return case.source_holds and case.source.running and case.source.facts is not None and not spent


def taken_apart(case: Case) -> bool:
    facts = case.target.facts
    return facts is not None and facts.mounted in (MountState.FOREIGN, MountState.UNKNOWN)


def why_fence(case: Case) -> str:
    if case.source.vm.power is Power.SUSPENDED:
        return "its VM is suspended and would go on where it stopped"
    if case.tried(StepKind.HALT):
        return "it was told to halt, which is no proof"
    if case.tried(StepKind.RELEASE):
        return f"its release is not proven ({case.said(StepKind.RELEASE)})"
    return "it gives no signed answer"


def sources(case: Case) -> Iterator[NodeSight]:
    """Where the disk comes from, or may, while the target has it not: without the nodes that a person said were deleted."""
    wanted = set(case.origins).difference(case.missing_ok) if not case.target.complete else ()
    return (n for n in case.seen.nodes if n.minion in wanted)


def source_unseen(case: Case) -> NodeSight | None:
    """A node that the disk comes from, if it is not to be seen in vCenter, and nobody has said that it was deleted."""
    return next((n for n in sources(case) if n.vm.present is False), None)


def source_outdated(case: Case) -> NodeSight | None:
    """
    A node that the disk comes from, if what is seen of it is old and shows no disk, and this move has not taken it from there:
    it may have it and write.
    """
    return next((n for n in sources(case) if outdated(n) and not _taken_from(case, n)), None)


def _taken_from(case: Case, node: NodeSight) -> bool:
    """This move has detached it there, or had it released, and the node has not said otherwise since."""
    done = {o.step.kind for o in case.outcomes if o.step.node == node.minion and o.result is Result.DONE}
    proven = node.facts is None or node.facts.released == case.move.epoch
    return StepKind.DETACH in done or (StepKind.RELEASE in done and proven)


def may_remount(case: Case) -> bool:
    """The move is a remount that began without vCenter, and still goes on without it."""
    mine = case.move.is_local and case.move.rule == REMOUNT and case.epoch == case.move.epoch
    return mine and not case.seen.readable and not ahead(case)


def impostors(case: Case) -> tuple[NodeSight, ...]:
    return tuple(n for n in concerned(case) if n.impostor)


def leftover(case: Case) -> tuple[NodeSight, ...]:
    """Dead holders that could let go of the disk now; it is not tried for ever."""
    if case.tried(StepKind.DETACH) >= DETACH_TRIES:
        return ()
    return tuple(n for n in case.dead_holders if n.vm.snapshot is False)


def to_start(case: Case) -> tuple[NodeSight, ...]:
    """
    Nodes that were fenced to run again, are still off, and have nothing protected on them; it is tried once. Not only the
    source: the move that fenced one may have been given up before it arrived.
    """
    free = tuple(n for n in case.seen.nodes if n.minion != case.move.target and n.startable)
    return () if case.tried(StepKind.POWER_ON) else free


def kept_off_words(case: Case) -> str:
    """Which fenced node is not started again yet, and for whose disk; ``""`` if there is none."""
    waiting = (n for n in case.seen.nodes if n.to_restart and n.vm.is_off and n.minion != case.move.target)
    kept = [f"{n.minion} stays off: {why}" for n in waiting if (why := _why_kept_off(n))]
    return f"; {'; '.join(kept)} (fence_action: reboot)" if kept else ""


def _why_kept_off(node: NodeSight) -> str:
    if node.tenants:
        names = (t.name + (" (paused)" if t.paused else "") for t in node.tenants)
        return f"its VM lists the disk of {' and '.join(names)}"
    if node.vm.task != "":
        task = node.vm.task or "it cannot be read"
        return f"a task runs on its VM ({task}); it is started when that has ended, within the hour"
    return ""


def free_words(case: Case) -> str:
    """Why the target may take the disk."""
    believed = [n for n in case.seen.holders if n.confirmed and n.minion != case.move.target]
    if not believed:
        return f"no other node holds the disk; {case.move.target} takes it"
    return (
        f"{believed[0].confirmed}; {case.move.target} takes the disk, and the VM of {believed[0].minion} lets go of it when "
        "its host is back"
    )
