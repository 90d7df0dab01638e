"""
The numbered table that carries a move to its end: what to do next, given what is seen now. First match wins.

Pure. A row is (number, when, condition, what then, on which node, the sentence an operator reads). Only the open move and
the outcomes of its own steps are remembered; how far it has come is always read from the snapshot, so that a crash at any
line needs no recovery code. ``ABANDON`` ends a move without harm: the next look decides afresh.

Safety in one line each: a disk is attached only when no node of the resource but a dead one lists it (rows 60, 80, 200);
it is detached only from a node that is proven off or has proven its release (rows 110, 120); unknown holds (rows 20-50);
a move is not given up while a request of its own may still be carried out (rows 62, 63).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vmdk_failover.assess import unclear_words
from vmdk_failover.case import (
    ATTACH_TRIES,
    DETACH_TRIES,
    FENCE_TRIES,
    MOUNT_TRIES,
    Case,
    Then,
    Verdict,
    ahead,
    arrived,
    blocked,
    cannot_go_on,
    elsewhere,
    lost_words,
    may_ask_release,
    may_halt,
    may_land,
    names_of,
    sealable,
    source_name,
    source_unseen,
    stale,
    taken_apart,
    target_lost,
    tasks,
    unseen_words,
    why_fence,
)
from vmdk_failover.model import Step, StepKind

__all__ = ["RULES", "Case", "Row", "Then", "Verdict", "next_verdict"]


@dataclass(frozen=True)
class Row:
    """One row of the table; ``when`` is its condition in words, for people and for the diagram."""

    number: int
    when: str
    matches: Callable[[Case], bool]
    then: Then | StepKind
    reason: Callable[[Case], str]
    node: Callable[[Case], str] = lambda case: case.move.target


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
        lambda c: bool(ahead(c)),
        Then.HOLD,
        lambda c: (
            f"{names_of(ahead(c))} has acted under a newer epoch than the journal's {c.epoch}: the journal is an old one or "
            "another master is at work; see docs/operation.md"
        ),
    ),
    Row(
        40,
        "it is not known whether a node holds the disk",
        lambda c: bool(c.seen.unclear),
        Then.HOLD,
        lambda c: unclear_words(c.seen.unclear),
    ),
    Row(
        45,
        "the word about a holder is not current",
        lambda c: bool(stale(c)),
        Then.HOLD,
        lambda c: (
            f"what vCenter says of {names_of(stale(c))} is not current (VM or host not connected); "
            "restore the host, or prove it off and say so"
        ),
    ),
    Row(
        50,
        "a task runs on a VM concerned",
        lambda c: bool(tasks(c)),
        Then.WAIT,
        lambda c: f"a task still runs on {names_of(tasks(c))} ({tasks(c)[0].vm.task or 'it cannot be read'})",
    ),
    Row(
        60,
        "two running nodes list the disk",
        lambda c: len(c.seen.writers) > 1,
        Then.HOLD,
        lambda c: f"{names_of(c.seen.writers)} both list the disk; take it out of one of them by hand",
    ),
    Row(
        62,
        "a request whose answer was lost may still be carried out, and the move cannot go on",
        lambda c: bool(sealable(c)) and cannot_go_on(c),
        StepKind.SEAL,
        lambda c: (
            f"the answer to the {sealable(c)[0].step.kind.value} on {sealable(c)[0].step.node} was lost; before anything "
            "else it is made impossible"
        ),
        lambda c: sealable(c)[0].step.node,
    ),
    Row(
        63,
        "such a request cannot be made impossible",
        lambda c: bool(may_land(c)) and cannot_go_on(c),
        Then.HOLD,
        lambda c: lost_words(may_land(c)[0]),
    ),
    Row(
        65,
        "a running node outside the move lists the disk",
        lambda c: bool(c.strangers),
        Then.ABANDON,
        lambda c: f"the disk is on {names_of(c.strangers)}, which this move knows nothing of",
    ),
    Row(
        70,
        "arrived",
        arrived,
        Then.DONE,
        lambda c: f"active on {c.move.target}",
    ),
    Row(
        80,
        "a local move whose disk is elsewhere",
        elsewhere,
        Then.ABANDON,
        lambda c: f"{c.move.target} does not list the disk any more",
    ),
    Row(
        90,
        "a snapshot keeps the disk in place",
        lambda c: bool(blocked(c)),
        Then.HOLD,
        lambda c: (
            f"the VM of {names_of(blocked(c))} has a snapshot that holds the disk (or its snapshots cannot be read); "
            "delete the snapshot, nothing can be detached before"
        ),
    ),
    Row(
        100,
        "the target cannot take the resource",
        target_lost,
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
        source_name,
    ),
    Row(
        130,
        "the source is to halt itself",
        may_halt,
        StepKind.HALT,
        lambda c: f"{c.move.source} cannot use the disk and is to halt itself (on_error: halt)",
        source_name,
    ),
    Row(
        140,
        "the source may still write and answers",
        may_ask_release,
        StepKind.RELEASE,
        lambda c: f"{c.move.source} must stop using the disk",
        source_name,
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
        lambda c: f"{c.move.source} may still write: {why_fence(c)}",
        source_name,
    ),
    Row(195, "the source's VM cannot be seen any more", source_unseen, Then.HOLD, unseen_words),
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
        taken_apart,
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
