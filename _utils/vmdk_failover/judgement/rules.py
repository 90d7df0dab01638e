"""
The numbered table that carries a move to its end: what to do next, given what is seen now. First match wins.

Pure. A row is (number, when, condition, what then, on which node, the sentence an operator reads). Only the open move and
the outcomes of its own steps are remembered; how far it has come is always read from the snapshot, so that a crash at any
line needs no recovery code. ``ABANDON`` ends a move without harm: the next look decides afresh.

Safety in one line each: a disk is attached only when no node of the resource but a dead one lists it (rows 60, 80, 200);
it is detached only from a node that is proven off or has proven its release (rows 110, 120); unknown holds (rows 20-50);
a move is not given up while a request of its own may still be carried out (rows 41, 62, 63).
"""

from __future__ import annotations

from vmdk_failover.judgement.along import BASELESS, gives_up
from vmdk_failover.judgement.blind import could_mount, has_mounted
from vmdk_failover.judgement.case import (
    MOUNT_TRIES,
    Case,
    Row,
    Then,
    Verdict,
    ahead,
    arrived,
    blocked,
    cannot_go_on,
    elsewhere,
    free_words,
    impostors,
    kept_off_words,
    leftover,
    lost_words,
    may_attach,
    may_land,
    may_remount,
    names_of,
    sealable,
    source_outdated,
    source_unseen,
    stale,
    taken_apart,
    target_lost,
    tasks,
    to_start,
)
from vmdk_failover.judgement.doubts import impostor_words, misplaced_words, question_words, unclear_words
from vmdk_failover.judgement.leaving import (
    LEAVING,
    LOST_HOST,
    source_outdated_words,
    task_words,
    to_seal,
    unseen_words,
)
from vmdk_failover.model import Step, StepKind

__all__ = ["RULES", "UNSEALED", "Case", "Row", "Then", "Verdict", "next_verdict"]

#: The row that asks a person to make sure that a lost request is not pending.
UNSEALED = 63

RULES: tuple[Row, ...] = (
    Row(
        10,
        "paused",
        lambda c: c.paused,
        Then.HOLD,
        lambda c: f"paused by an operator; 'salt-run vmdk.resume {c.move.resource.name}' lets it go on",
    ),
    Row(
        15,
        "vCenter cannot be read, and the node that had the disk sees it and has it not mounted",
        lambda c: (
            may_remount(c) and could_mount(c.seen, c.move.target) and c.tried(StepKind.MOUNT) < MOUNT_TRIES
        ),
        StepKind.MOUNT,
        lambda c: f"vCenter cannot be read, but {c.move.target} sees its disk and has it not mounted",
    ),
    Row(
        17,
        "vCenter cannot be read, and the node that had the disk has it mounted again",
        lambda c: may_remount(c) and has_mounted(c.seen, c.move.target),
        Then.DONE,
        lambda c: f"active on {c.move.target}, by its own word: vCenter cannot be read",
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
        lambda c: unclear_words(c.seen),
    ),
    Row(
        41,
        "a request whose answer was lost may still be carried out, and the move is to make way for a failover from a lost host",
        lambda c: bool(to_seal(c)),
        StepKind.SEAL,
        lambda c: (
            f"the answer to an earlier request on {to_seal(c)[0]} was lost; before {stale(c)[0].minion} fails over from its lost "
            "host that is made impossible"
        ),
        lambda c: to_seal(c)[0],
    ),
    Row(
        42,
        "another VM answers under the name of a node of the move",
        lambda c: bool(impostors(c)),
        Then.HOLD,
        lambda c: impostor_words(impostors(c)[0]),
    ),
    *LOST_HOST,
    Row(
        48,
        "a VM concerned waits for an answer in the middle of a task",
        lambda c: any(n.vm.question for n in tasks(c)),
        Then.HOLD,
        lambda c: question_words(next(n for n in tasks(c) if n.vm.question)),
    ),
    Row(
        50,
        "a task runs on a VM concerned",
        lambda c: bool(tasks(c)),
        Then.WAIT,
        task_words,
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
        lambda c: bool(sealable(c)) and (cannot_go_on(c) or gives_up(c)),
        StepKind.SEAL,
        lambda c: (
            f"the answer to the {sealable(c)[0].step.kind.value} on {sealable(c)[0].step.node} was lost; before anything "
            "else it is made impossible"
        ),
        lambda c: sealable(c)[0].step.node,
    ),
    Row(
        UNSEALED,
        "such a request cannot be made impossible",
        lambda c: bool(may_land(c)) and (cannot_go_on(c) or gives_up(c)),
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
        67,
        "arrived, and a dead node still lists the disk",
        lambda c: arrived(c) and bool(leftover(c)),
        StepKind.DETACH,
        lambda c: f"{leftover(c)[0].minion} is off and still lists the disk; without it, it can boot",
        lambda c: leftover(c)[0].minion,
    ),
    Row(
        68,
        "arrived, and the fenced node is to run again",
        lambda c: arrived(c) and bool(to_start(c)),
        StepKind.POWER_ON,
        lambda c: (
            f"{to_start(c)[0].minion} was fenced and no protected disk is left on it (fence_action: reboot)"
        ),
        lambda c: to_start(c)[0].minion,
    ),
    Row(
        70,
        "arrived",
        arrived,
        Then.DONE,
        lambda c: f"active on {c.move.target}{kept_off_words(c)}",
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
    *LEAVING,
    Row(
        195,
        "the source's VM cannot be seen any more",
        lambda c: source_unseen(c) is not None,
        Then.HOLD,
        unseen_words,
    ),
    Row(
        196,
        "vCenter's word about the source is not current and shows no disk, and the move has not taken it from there",
        lambda c: source_outdated(c) is not None,
        Then.HOLD,
        source_outdated_words,
    ),
    Row(
        198,
        "the target lists a disk at another place",
        lambda c: c.target.misplaced,
        Then.HOLD,
        lambda c: misplaced_words(c.target),
    ),
    Row(
        200,
        "the disk is free",
        lambda c: not c.target.complete and may_attach(c),
        StepKind.ATTACH,
        free_words,
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
    *BASELESS,
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
