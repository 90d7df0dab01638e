"""
The numbered table that carries a move to its end: what to do next, given what is seen now. First match wins.

Pure. A row is (number, when, condition, what then, on which node, the sentence an operator reads). Only the open move and
the outcomes of its own steps are remembered; how far it has come is always read from the snapshot, so that a crash at any
line needs no recovery code. ``ABANDON`` ends a move without harm: the next look decides afresh.

Safety in one line each: a disk is attached only when no node of the resource but a dead one lists it (rows 60, 80, 200);
it is detached only from a node that is proven off or has proven its release (rows 110, 120); unknown holds (rows 20-50);
a move is not given up while a request of its own may still be carried out (row 62).
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from vmdk_failover.assess import NodeSight, Snapshot
from vmdk_failover.errors import Busy, VersionConflict
from vmdk_failover.model import MountState, Move, MoveKind, Outcome, Power, Result, Step, StepKind

FENCE_TRIES = 3
ATTACH_TRIES = 3
DETACH_TRIES = 5
MOUNT_TRIES = 2
#: Refusals that only mean "look again": another request was faster. They do not count as tries.
NO_TRY = frozenset({VersionConflict.code, Busy.code})
#: Steps to which that applies; a node that is busy releasing is fenced all the same.
_BY_VCENTER = frozenset({StepKind.FENCE, StepKind.DETACH, StepKind.ATTACH})


class Then(str, enum.Enum):
    """What a row leads to besides a step."""

    HOLD = "hold"  # do nothing, say why
    WAIT = "wait"  # look again soon; it passes by itself
    DONE = "done"
    ABANDON = "abandon"  # end this move; the next look decides afresh


@dataclass(frozen=True)
class Case:
    """What the table judges: an open move, what is seen, and what the move's own steps came to."""

    move: Move
    seen: Snapshot
    outcomes: tuple[Outcome, ...] = ()
    epoch: int = 0
    paused: bool = False

    @property
    def source(self) -> NodeSight:
        return self.seen.node(self.move.source)

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
        """Nodes besides the target that list a disk and are proven off."""
        return tuple(n for n in self.seen.holders if n.minion != self.move.target and n.off and n.vm.present)

    @property
    def source_holds(self) -> bool:
        """The source is another node than the target, lists a disk, and is not proven off."""
        return not self.move.is_local and bool(self.source.holds) and not self.source.off

    @property
    def is_rescue(self) -> bool:
        return self.move.kind is MoveKind.FAILOVER


@dataclass(frozen=True)
class Verdict:
    """A decision, the row that made it, and the sentence for it."""

    rule: int
    reason: str
    then: Then | None = None
    step: Step | None = None


@dataclass(frozen=True)
class Row:
    """One row of the table; ``when`` is its condition in words, for people and for the diagram."""

    number: int
    when: str
    matches: Callable[[Case], bool]
    then: Then | StepKind
    reason: Callable[[Case], str]
    node: Callable[[Case], str] = lambda case: case.move.target


def _names(nodes: tuple[NodeSight, ...]) -> str:
    return " and ".join(n.minion for n in nodes)


def _source(case: Case) -> str:
    return case.move.source


def _concerned(case: Case) -> tuple[NodeSight, ...]:
    """Nodes whose state the next step depends on: every holder and both ends of the move."""
    ends = (case.move.source, case.move.target)
    return tuple(n for n in case.seen.nodes if n.holds or n.minion in ends)


def _stale(case: Case) -> tuple[NodeSight, ...]:
    return tuple(n for n in _concerned(case) if n.holds and not n.known)


def _tasks(case: Case) -> tuple[NodeSight, ...]:
    return tuple(n for n in _concerned(case) if n.vm.present and n.vm.task != "")


def _blocked(case: Case) -> tuple[NodeSight, ...]:
    others = (n for n in case.seen.holders if n.minion != case.move.target)
    return tuple(n for n in others if n.vm.snapshot is not False and n.vm.present)


def _arrived(case: Case) -> bool:
    target = case.target
    running = target.facts is not None and target.facts.services is not False
    return target.complete and target.running and target.mounted and running and not target.failed


def _target_lost(case: Case) -> bool:
    target = case.target
    return bool(target.unfit()) and not (target.complete and target.running and target.mounted)


def _elsewhere(case: Case) -> bool:
    return case.move.is_local and not case.target.holds


def _unclean(case: Case) -> bool:
    return case.source_holds and not case.is_rescue and not case.released and not _may_ask_release(case)


def _may_land(case: Case) -> tuple[Outcome, ...]:
    """Reconfigures whose answer was lost, whose work is not to be seen, and whose basis is still current."""
    return tuple(o for o in case.outcomes if o.result is Result.UNKNOWN and _is_open(case, o))


def _is_open(case: Case, outcome: Outcome) -> bool:
    sight = case.seen.node(outcome.step.node)
    to_do = {StepKind.ATTACH: not sight.complete, StepKind.DETACH: bool(sight.holds)}
    current = sight.vm.change_version
    impossible = bool(outcome.basis and current) and outcome.basis != current
    return to_do.get(outcome.step.kind, False) and not impossible


def _lost(outcome: Outcome) -> str:
    return (
        f"it is not known whether the {outcome.step.kind.value} on {outcome.step.node} will still be carried out "
        f"({outcome.evidence}), so nothing else may be done; any change of that VM's settings (its notes, for example) makes "
        "the lost request impossible, or make sure in vCenter that it is not pending and 'salt-run vmdk.clear'"
    )


def _cannot_go_on(case: Case) -> bool:
    """One of the rows that give the move up would match (65, 80, 100, 150, 210)."""
    spent = case.tried(StepKind.ATTACH) >= ATTACH_TRIES
    return bool(case.strangers) or _elsewhere(case) or _target_lost(case) or _unclean(case) or spent


def _ahead(case: Case) -> tuple[NodeSight, ...]:
    return tuple(n for n in case.seen.nodes if n.facts is not None and n.facts.epoch > case.epoch)


def _may_halt(case: Case) -> bool:
    wanted = case.move.resource.on_error == "halt" and case.is_rescue and case.source.failed
    return wanted and case.source_holds and case.source.running and not case.tried(StepKind.HALT)


def _may_ask_release(case: Case) -> bool:
    asked = case.tried(StepKind.RELEASE) or case.tried(StepKind.HALT)
    return case.source_holds and case.source.running and case.source.facts is not None and not asked


def _taken_apart(case: Case) -> bool:
    facts = case.target.facts
    return facts is not None and facts.mounted in (MountState.FOREIGN, MountState.UNKNOWN)


RULES: tuple[Row, ...] = (
    Row(
        10,
        "paused",
        lambda c: c.paused,
        Then.HOLD,
        lambda c: "paused by an operator; 'salt-run vmdk.resume' lets it go on",
    ),
    Row(
        20,
        "vCenter cannot be read",
        lambda c: not c.seen.readable,
        Then.HOLD,
        lambda c: f"vCenter cannot be read, so who holds the disk is unknown: {c.seen.reason}",
    ),
    Row(
        30,
        "another actor has begun a newer move",
        lambda c: c.epoch != c.move.epoch,
        Then.HOLD,
        lambda c: f"the journal is at epoch {c.epoch}, this move is of {c.move.epoch}",
    ),
    Row(
        35,
        "a node has acted under a newer epoch than the journal knows",
        lambda c: bool(_ahead(c)),
        Then.HOLD,
        lambda c: (
            f"{_names(_ahead(c))} has acted under a newer epoch than the journal's {c.epoch}: the journal is an old one or "
            "another master is at work; see docs/operation.md"
        ),
    ),
    Row(
        40,
        "it is not known whether a node holds the disk",
        lambda c: bool(c.seen.unclear),
        Then.HOLD,
        lambda c: f"vCenter does not say clearly whether {_names(c.seen.unclear)} holds the disk",
    ),
    Row(
        45,
        "the word about a holder is not current",
        lambda c: bool(_stale(c)),
        Then.HOLD,
        lambda c: (
            f"what vCenter says of {_names(_stale(c))} is not current (VM or host not connected); "
            "restore the host, or prove it off and say so"
        ),
    ),
    Row(
        50,
        "a task runs on a VM concerned",
        lambda c: bool(_tasks(c)),
        Then.WAIT,
        lambda c: f"a task still runs on {_names(_tasks(c))} ({_tasks(c)[0].vm.task or 'it cannot be read'})",
    ),
    Row(
        60,
        "two running nodes list the disk",
        lambda c: len(c.seen.writers) > 1,
        Then.HOLD,
        lambda c: f"{_names(c.seen.writers)} both list the disk; take it out of one of them by hand",
    ),
    Row(
        62,
        "a request whose answer was lost may still be carried out, and the move cannot go on",
        lambda c: bool(_may_land(c)) and _cannot_go_on(c),
        Then.HOLD,
        lambda c: _lost(_may_land(c)[0]),
    ),
    Row(
        65,
        "a running node outside the move lists the disk",
        lambda c: bool(c.strangers),
        Then.ABANDON,
        lambda c: f"the disk is on {_names(c.strangers)}, which this move knows nothing of",
    ),
    Row(
        70,
        "arrived",
        _arrived,
        Then.DONE,
        lambda c: f"active on {c.move.target}",
    ),
    Row(
        80,
        "a local move whose disk is elsewhere",
        _elsewhere,
        Then.ABANDON,
        lambda c: f"{c.move.target} does not list the disk any more",
    ),
    Row(
        90,
        "a snapshot keeps the disk in place",
        lambda c: bool(_blocked(c)),
        Then.HOLD,
        lambda c: (
            f"the VM of {_names(_blocked(c))} has a snapshot that holds the disk (or its snapshots cannot be read); "
            "delete the snapshot, nothing can be detached before"
        ),
    ),
    Row(
        100,
        "the target cannot take the resource",
        _target_lost,
        Then.ABANDON,
        lambda c: f"{c.move.target} cannot take {c.move.resource.name}: {'; '.join(c.target.unfit())}",
    ),
    Row(
        105,
        "the disk cannot be detached",
        lambda c: c.tried(StepKind.DETACH) >= DETACH_TRIES,
        Then.HOLD,
        lambda c: f"the disk could not be detached in {DETACH_TRIES} tries: {c.said(StepKind.DETACH)}",
    ),
    Row(
        110,
        "a dead node lists the disk",
        lambda c: bool(c.dead_holders),
        StepKind.DETACH,
        lambda c: f"{c.dead_holders[0].minion} is off and cannot write; its VM must let go of the disk",
        lambda c: c.dead_holders[0].minion,
    ),
    Row(
        120,
        "the source has proven its release",
        lambda c: c.source_holds and c.released,
        StepKind.DETACH,
        lambda c: f"{c.move.source} has proven that it released the disk",
        _source,
    ),
    Row(
        130,
        "the source is to halt itself",
        _may_halt,
        StepKind.HALT,
        lambda c: f"{c.move.source} cannot use the disk and is to halt itself (on_error: halt)",
        _source,
    ),
    Row(
        140,
        "the source may still write and answers",
        _may_ask_release,
        StepKind.RELEASE,
        lambda c: f"{c.move.source} must stop using the disk",
        _source,
    ),
    Row(
        150,
        "a planned move cannot be clean",
        lambda c: c.source_holds and not c.is_rescue,
        Then.ABANDON,
        lambda c: f"{c.move.source} did not release the disk cleanly: {c.said(StepKind.RELEASE)}",
    ),
    Row(
        160,
        "fencing does not work",
        lambda c: c.source_holds and c.tried(StepKind.FENCE) >= FENCE_TRIES,
        Then.HOLD,
        lambda c: (
            f"{c.move.source} is not off after {FENCE_TRIES} power-offs ({c.said(StepKind.FENCE)}); "
            "power its VM off by hand"
        ),
    ),
    Row(
        170,
        "the source may still write",
        lambda c: c.source_holds,
        StepKind.FENCE,
        lambda c: f"{c.move.source} may still write: {_why_fence(c)}",
        _source,
    ),
    Row(
        200,
        "the disk is free",
        lambda c: not c.target.complete and c.tried(StepKind.ATTACH) < ATTACH_TRIES,
        StepKind.ATTACH,
        lambda c: f"no other node holds the disk; {c.move.target} takes it",
    ),
    Row(
        210,
        "the disk cannot be attached",
        lambda c: not c.target.complete,
        Then.ABANDON,
        lambda c: f"the disk could not be attached to {c.move.target}: {c.said(StepKind.ATTACH)}",
    ),
    Row(
        220,
        "somebody works on the device",
        lambda c: c.target.facts is not None and bool(c.target.facts.busy),
        Then.HOLD,
        lambda c: (
            f"{c.target.facts.busy if c.target.facts else ''} on {c.move.target}; it is mounted when that has ended"
        ),
    ),
    Row(
        230,
        "something else is mounted there",
        _taken_apart,
        Then.HOLD,
        lambda c: (
            f"something else is mounted at a mount point of {c.move.resource.name} on {c.move.target}; unmount it"
        ),
    ),
    Row(
        240,
        "attached and not mounted",
        lambda c: c.tried(StepKind.MOUNT) < MOUNT_TRIES,
        StepKind.MOUNT,
        lambda c: f"{c.move.target} lists the disk and has it not in service",
    ),
    Row(
        250,
        "it cannot be mounted",
        lambda c: True,
        Then.ABANDON,
        lambda c: f"{c.move.target} could not bring it into service: {c.said(StepKind.MOUNT)}",
    ),
)


def _why_fence(case: Case) -> str:
    if case.source.vm.power is Power.SUSPENDED:
        return "its VM is suspended and would go on where it stopped"
    if case.tried(StepKind.HALT):
        return "it was told to halt, which is no proof"
    if case.tried(StepKind.RELEASE):
        return f"its release is not proven ({case.said(StepKind.RELEASE)})"
    return "it gives no signed answer"


def next_verdict(case: Case, rules: tuple[Row, ...] = RULES) -> Verdict:
    """
    Say what to do next about an open move.

    :param case: the move, the snapshot, and what was tried.
    :param rules: the table; another one only in tests.
    """
    for row in rules:
        if row.matches(case):
            if isinstance(row.then, StepKind):
                return Verdict(row.number, row.reason(case), step=Step(row.then, row.node(case)))
            return Verdict(row.number, row.reason(case), then=row.then)
    raise AssertionError("the last row matches always")
