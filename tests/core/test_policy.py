"""The policy table, row by row with the sentence that an operator reads, and over its whole input space."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest

from tests.core import space
from tests.core.build import (
    EPOCH,
    MISPLACED,
    THERE,
    UNCLEAR,
    active,
    gone,
    look,
    resource,
    says,
    vm,
)
from tests.core.invariants import listing, proven_off, runs
from vmdk_failover import assess
from vmdk_failover.assess import NodeSight, Snapshot
from vmdk_failover.model import (
    FAILED_CONDITIONS,
    Condition,
    Crowd,
    HypervisorFacts,
    MountState,
    Move,
    MoveKind,
    NodeFacts,
    Power,
    Signs,
    VmFacts,
)
from vmdk_failover.policy import (
    POLICY,
    TARGET_TRIES,
    UNLUCKY,
    Choice,
    Decision,
    PolicyRow,
    Situation,
    Wish,
    decide,
)
from vmdk_failover.situation import BUSY_WAIT

NOW = 1_800_000_000.0
OFF = {"power": Power.OFF}


def seen(*sights: tuple[VmFacts, NodeFacts | None], readable: bool = True, nodes: int = 0) -> Snapshot:
    of = resource(nodes or max(2, len(sights)))
    return look(of, [s[0] for s in sights], [s[1] for s in sights], readable)


def judge(snapshot: Snapshot, **more: Any) -> Decision:
    return decide(Situation(snapshot, EPOCH, NOW, **more))


def ended(target: str, ok: bool = False, ago: float = 10.0, **more: Any) -> dict[str, Any]:
    """A finished move."""
    return {
        "target": target,
        "ok": ok,
        "ended": NOW - ago,
        "kind": "failover",
        "reason": "no luck",
        "rule": 70 if ok else 250,
        **more,
    }


HOLDS = vm("db1", THERE)
READY = (vm("db2"), says("db2"))
SILENT = (vm("db2"), None)
WELL = (HOLDS, active("db1"))
FAILING = (HOLDS, active("db1", condition=Condition.IO_ERROR, evidence="sda: lost page write"))
UNMOUNTED = (HOLDS, says("db1"))
DEAD = (vm("db1", THERE, **OFF), None)


UNSEEN = seen((vm("db1"), says("db1")), (gone("db2"), None))


def silent(
    age: float | None,
    address: bool | None = False,
    heartbeat: str = "green",
    other: tuple[VmFacts, NodeFacts | None] = READY,
    crowd: Crowd = Crowd(),  # noqa: B008 – frozen
    **options: Any,
) -> Snapshot:
    """The holder runs and gives no answer."""
    vms = [vm("db1", THERE, heartbeat=heartbeat), other[0]]
    answers = {other[1].minion: other[1]} if other[1] else {}
    signs = {"db1": Signs(age, address)}
    return assess.look(resource(**options), HypervisorFacts(True, "", tuple(vms)), answers, signs, crowd)


def cut_off() -> Snapshot:
    """Two of three nodes of this resource are silent."""
    vms, signs = (HOLDS, SILENT[0], vm("db3")), {"db1": Signs(20.0, False), "db2": Signs(20.0, False)}
    return assess.look(resource(3), HypervisorFacts(True, "", vms), {"db3": says("db3")}, signs)


@dataclass(frozen=True)
class Example:
    """A situation, the row that decides it, and words of the sentence."""

    rule: int
    choice: Choice
    words: Sequence[str]
    seen: Snapshot
    more: Mapping[str, Any]


def example(rule: int, choice: Choice, words: str, snapshot: Snapshot, **more: Any) -> Example:
    return Example(rule, choice, words.split("|"), snapshot, more)


SWITCH, FORCE = Wish(MoveKind.SWITCHOVER), Wish(MoveKind.FAILOVER)
HOLD, MOVE, REFUSE = Choice.HOLD, Choice.MOVE, Choice.REFUSE
TIRED = [ended("db1"), ended("db1")]
BUSY = [ended("db1", code="device_busy", ago=BUSY_WAIT - 1)]
DAMPED = [ended("db1", True, damped=True, ago=600.0 * i) for i in range(3)]

EXAMPLES = (
    example(510, HOLD, "paused|vmdk.resume", seen(FAILING, READY), paused=True),
    example(520, HOLD, "vCenter cannot be read|no route", seen(FAILING, READY, readable=False)),
    example(525, HOLD, "newer epoch|7", seen((HOLDS, active("db1", epoch=8)), READY)),
    example(530, HOLD, "db2|does not say clearly", seen(DEAD, (vm("db2", UNCLEAR), says("db2")))),
    example(540, HOLD, "db1 and db2|by hand", seen(FAILING, (vm("db2", THERE), says("db2")))),
    example(
        545,
        HOLD,
        "db1|not current|prove it off",
        seen((vm("db1", THERE, connected=False, **OFF), None), READY),
    ),
    example(550, REFUSE, "db9|not a node|db1, db2", seen(WELL, READY), wish=Wish(MoveKind.SWITCHOVER, "db9")),
    example(555, MOVE, "switchover from db1 to db2", seen(WELL, READY), wish=SWITCH),
    example(560, MOVE, "failover from db1 to db2", seen(FAILING, READY), wish=FORCE),
    example(600, Choice.NOTHING, "active on db1", seen(WELL, READY)),
    example(610, Choice.WAIT, "task|db1", seen((vm("db1", THERE, task="relocate", **OFF), None), READY)),
    example(620, MOVE, "VM of db1 is off", seen(DEAD, READY)),
    example(630, HOLD, "VM of db1 is off|db2: its minion gave no", seen(DEAD, SILENT)),
    example(640, HOLD, "db1|no signed answer|engine", silent(None)),
    example(641, HOLD, "2 of 3 running nodes|db1|cut off", cut_off()),
    example(642, Choice.WAIT, "db1|15 s", silent(6.0)),
    example(643, HOLD, "db1|15 s of silence", silent(-20.0)),
    example(644, HOLD, "agent on db1|address answers|salt-minion", silent(400.0, True)),
    example(645, HOLD, "db1|could not be found out", silent(15.0, None)),
    example(646, HOLD, "isolated|on_isolated: hold", silent(15.0, on_isolated="hold")),
    example(647, MOVE, "db1 is isolated|15 s|green", silent(15.0)),
    example(648, HOLD, "db1 is dead or frozen|red|db2: its minion", silent(15.0, False, "red", SILENT)),
    example(650, HOLD, "io_error|3 failovers|vmdk.clear", seen(FAILING, READY), recent=DAMPED),
    example(660, MOVE, "db1 reports io_error: sda: lost page write", seen(FAILING, READY)),
    example(670, HOLD, "db1 reports io_error|db2: its minion", seen(FAILING, SILENT)),
    example(700, HOLD, "unmounted on db1|e2fsck", seen((HOLDS, says("db1", busy="e2fsck (pid 3)")), READY)),
    example(705, HOLD, "unmounted on db1|exclusively", seen(UNMOUNTED, READY), recent=BUSY),
    example(710, HOLD, "something else|db1", seen((HOLDS, says("db1", mounted=MountState.FOREIGN)), READY)),
    example(720, MOVE, "could not be brought into service on db1", seen(UNMOUNTED, READY), recent=TIRED),
    example(730, HOLD, "not be brought into service on db1|no luck", seen(UNMOUNTED, SILENT), recent=TIRED),
    example(
        740, HOLD, "unmounted on db1|fsck", seen((HOLDS, says("db1", unready=("fsck is missing",))), READY)
    ),
    example(750, MOVE, "db1 holds the disk and has it not mounted", seen(UNMOUNTED, READY)),
    example(790, HOLD, "db2|not to be seen|vmdk.clear pgdata", UNSEEN),
    example(800, MOVE, "no node lists the disk", seen((vm("db1", **OFF), None), READY)),
    example(810, HOLD, "no node lists the disk|db1: its VM is off", seen((vm("db1", **OFF), None), SILENT)),
    example(900, HOLD, "not understood", seen((vm("db1", MISPLACED), active("db1")), READY)),
)


@pytest.mark.parametrize("one", EXAMPLES, ids=lambda one: str(one.rule))
def test_row(one: Example) -> None:
    decision = judge(one.seen, **one.more)
    assert (decision.rule, decision.choice) == (one.rule, one.choice), decision.reason
    assert [words for words in one.words if words not in decision.reason] == [], decision.reason
    assert (decision.move is not None) == (one.choice is Choice.MOVE)


def test_every_row_has_an_example() -> None:
    assert [one.rule for one in EXAMPLES] == [row.number for row in POLICY]


@pytest.mark.parametrize(
    ("snapshot", "more", "kind", "source", "target"),
    [
        (seen(WELL, READY), {"wish": SWITCH}, MoveKind.SWITCHOVER, "db1", "db2"),
        (seen(DEAD, READY), {}, MoveKind.FAILOVER, "db1", "db2"),
        (seen(FAILING, READY), {}, MoveKind.FAILOVER, "db1", "db2"),
        (seen(UNMOUNTED, READY), {}, MoveKind.REPAIR, "db1", "db1"),
        (seen((vm("db1"), says("db1")), READY), {}, MoveKind.START, "", "db1"),
    ],
)
def test_the_move(snapshot: Snapshot, more: Any, kind: MoveKind, source: str, target: str) -> None:
    begun = judge(snapshot, **more).move
    assert begun is not None
    assert (begun.kind, begun.source, begun.target, begun.epoch) == (kind, source, target, EPOCH + 1)
    assert begun.resource == snapshot.resource


# -- damping and unlucky targets ------------------------------------------------------------------------------


def test_an_old_or_acknowledged_rescue_does_not_damp() -> None:
    for recent in (
        [{**one, "ended": NOW - 3700.0} for one in DAMPED],
        [{**one, "damped": False} for one in DAMPED],
        DAMPED[1:],
    ):
        assert judge(seen(FAILING, READY), recent=recent).choice is Choice.MOVE


def test_a_dead_holder_is_never_damped() -> None:
    assert judge(seen(DEAD, READY), recent=DAMPED * 5).choice is Choice.MOVE


def test_an_operator_is_never_damped() -> None:
    assert judge(seen(FAILING, READY), recent=DAMPED * 5, wish=FORCE).choice is Choice.MOVE


def test_a_vm_that_cannot_be_seen_holds_until_a_person_says_that_it_was_deleted() -> None:
    assert judge(UNSEEN, recent=[ended("db2", True)], missing_ok=("db1",)).rule == 790
    assert judge(UNSEEN, missing_ok=("db2",)).rule == 800


THREE = seen(DEAD, READY, (vm("db3"), says("db3")))


@pytest.mark.parametrize(
    ("recent", "target"),
    [
        ([], "db2"),
        ([ended("db2")], "db3"),
        ([ended("db2"), ended("db3")], "db2"),
        ([ended("db2"), ended("db3"), ended("db3")], "db2"),
        ([ended("db2"), ended("db2"), ended("db3")], "db3"),
        ([ended("db2"), ended("db1", True)], "db2"),
        ([ended("db2", forgotten=True)], "db2"),
        ([ended("db2", rule=100)] * 3, "db2"),  # it had a hiccup, that is no failed try
        ([ended("db2", ago=UNLUCKY + 1)], "db2"),
    ],
)
def test_a_target_that_failed_comes_last(recent: list[dict[str, Any]], target: str) -> None:
    begun = judge(THREE, recent=recent).move
    assert begun is not None
    assert begun.target == target


def test_a_disk_that_no_node_can_mount_does_not_wander() -> None:
    recent = [ended(minion) for minion in ("db1", "db2", "db3") for _ in range(TARGET_TRIES)]
    held = judge(seen(UNMOUNTED, READY, (vm("db3"), says("db3"))), recent=recent)
    assert (held.rule, held.choice) == (730, Choice.HOLD)
    assert "db2: 2 tries failed" in held.reason
    assert "the last try failed: no luck" in held.reason


def test_a_device_in_exclusive_use_is_tried_again_and_is_nobodys_fault() -> None:
    """Somebody repairs it by hand: it is never taken away from under him."""
    later = [{**BUSY[0], "ended": NOW - (BUSY_WAIT + 1) * i} for i in (5, 4, 3, 2, 1)]
    assert judge(seen(UNMOUNTED, READY), recent=later).rule == 750
    assert judge(seen(UNMOUNTED, READY), recent=[{**BUSY[0], "forgotten": True}]).rule == 750


def test_the_order_of_nodes_is_the_order_of_preference() -> None:
    backwards = replace(THREE.resource, nodes=tuple(reversed(THREE.resource.nodes)))
    begun = judge(look(backwards, (n.vm for n in THREE.nodes), (n.facts for n in THREE.nodes))).move
    assert begun is not None
    assert begun.target == "db3"


# -- what an operator asks for --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("snapshot", "wish", "words"),
    [
        (seen(WELL, READY), Wish(MoveKind.FAILOVER, "db1"), "already on db1"),
        (seen(WELL, SILENT), SWITCH, "no other node can take it"),
        (
            seen(WELL, SILENT),
            Wish(MoveKind.SWITCHOVER, "db2"),
            "db2 cannot take pgdata: its minion gave no signed",
        ),
        (seen(WELL, (vm("db2", **OFF), None)), FORCE, "its VM is off"),
        (seen(FAILING, READY), SWITCH, "not in good health on db1"),
        (seen(UNMOUNTED, READY), SWITCH, "use vmdk.failover"),
        (seen(DEAD, READY), SWITCH, "not in good health"),
        (seen((vm("db1"), says("db1")), READY), FORCE, "nobody holds the disk"),
        (seen(WELL, (vm("db2", controllers=()), says("db2"))), SWITCH, "no SCSI controller 1"),
    ],
)
def test_a_wish_is_refused_with_the_reason(snapshot: Snapshot, wish: Wish, words: str) -> None:
    decision = judge(snapshot, wish=wish)
    assert (decision.rule, decision.choice) == (550, Choice.REFUSE)
    assert words in decision.reason


@pytest.mark.parametrize("one", EXAMPLES[:6], ids=lambda one: str(one.rule))
def test_no_wish_gets_past_a_safety_row(one: Example) -> None:
    for wish in (SWITCH, FORCE, Wish(MoveKind.FAILOVER, "db2")):
        assert judge(one.seen, **{**one.more, "wish": wish}).rule == one.rule


def test_an_operator_may_choose_a_node_that_failed_before() -> None:
    recent = [ended("db2")] * 5
    assert judge(THREE, recent=recent, wish=Wish(MoveKind.FAILOVER, "db2")).choice is Choice.MOVE


# -- the whole space ------------------------------------------------------------------------------------------

WISHES = (None, SWITCH, FORCE, Wish(MoveKind.FAILOVER, "db2"), Wish(MoveKind.SWITCHOVER, "db3"))
HISTORIES = ((), tuple(BUSY), tuple(TIRED), tuple(DAMPED), tuple(ended("db2") for _ in range(3)))


def every_situation() -> Iterator[Situation]:
    for snapshot in every_silence():
        yield Situation(snapshot, EPOCH, NOW)
    for snapshot in (UNSEEN, replace(UNSEEN, nodes=UNSEEN.nodes[::-1])):
        yield Situation(snapshot, EPOCH, NOW, recent=[ended("db2", True)])
    for snapshot in every_snapshot():
        for wish, recent in product(WISHES, HISTORIES):
            yield Situation(snapshot, EPOCH, NOW, False, recent, wish)
        yield Situation(snapshot, EPOCH, NOW, True)
        yield Situation(replace(snapshot, readable=False, reason="no route"), EPOCH, NOW)


def every_snapshot() -> Iterator[Snapshot]:
    two, three = resource(2), resource(3)
    others = [*space.clean_targets()][::2]
    for first, second in product([*space.clean_sources(), *space.clean_targets("db1")], others):
        yield look(two, (first[0], second[0]), (first[1], second[1]))
    for first, second in product(space.dirty("db1"), [READY, SILENT, (vm("db2", THERE), active("db2"))]):
        yield look(two, (first[0], second[0]), (first[1], second[1]))
        yield look(two, (second_as(second, "db1")[0], renamed(first[0])), (second_as(second, "db1")[1], None))
    for third in space.third_nodes():
        yield look(three, (*(s[0] for s in (FAILING, READY)), third[0]), (FAILING[1], READY[1], third[1]))


def renamed(one: VmFacts, minion: str = "db2") -> VmFacts:
    return replace(one, minion=minion)


def second_as(sight: tuple[VmFacts, NodeFacts | None], minion: str) -> tuple[VmFacts, NodeFacts | None]:
    return replace(sight[0], minion=minion), replace(sight[1], minion=minion) if sight[1] else None


def wrong(s: Situation, decision: Decision) -> Iterator[str]:
    """What is wrong with a decision, told from the facts alone."""
    if not decision.reason.strip():
        yield "no reason is given"
    begun = decision.move
    if begun is None:
        return
    target = s.seen.node(begun.target)
    if not runs(target.vm) or target.facts is None or target.facts.unready:
        yield "the target is not ready"
    if begun.epoch != s.epoch + 1:
        yield "not the next epoch"
    yield from _forbidden(s, begun)
    yield from _needless(s, begun.kind, s.seen.node(begun.source))


def _forbidden(s: Situation, begun: Move) -> Iterator[str]:
    """What forbids any move."""
    words = [n.facts for n in s.seen.nodes if n.facts is not None]
    held = {n.minion: listing(n.vm, s.resource) for n in s.seen.nodes}
    writers = [n for n in s.seen.nodes if held[n.minion] is not False and not proven_off(n.vm)]
    forbidden = {
        "paused or blind": s.paused or not s.seen.readable,
        "a node has acted under a newer epoch": any(word.epoch > s.epoch for word in words),
        "a holder is not known": None in held.values(),
        "two nodes may write": len(writers) > 1,
        "a word is not current": any(
            n.vm.connected is not True or n.vm.power is Power.UNKNOWN for n in writers
        ),
        "a node is not to be seen that may hold the disk": begun.kind is MoveKind.START
        and any(n.vm.present is False and n.minion not in s.missing_ok for n in s.seen.nodes),
        "the disk is elsewhere": any(n.minion not in (begun.source, begun.target) for n in writers),
    }
    yield from (f"a move is begun, and {words}" for words, is_so in forbidden.items() if is_so)


def _needless(s: Situation, kind: MoveKind, source: NodeSight) -> Iterator[str]:
    """A running node loses the resource only if it cannot use it, or an operator asks."""
    if s.wish is not None or not runs(source.vm) or kind is not MoveKind.FAILOVER:
        return
    word = source.facts
    if word is None:
        yield from _hasty(s, source)
    elif word.mounted is MountState.MOUNTED and word.condition not in FAILED_CONDITIONS:
        yield "a healthy node loses the disk"


def _hasty(s: Situation, source: NodeSight) -> Iterator[str]:
    """What a silent node must not lose the disk for."""
    age, address = source.signs.silent, source.signs.address
    if age is None or age < s.resource.node_timeout:
        yield "a node loses the disk that was not silent for long enough"
    if address is None or (
        address and (s.resource.on_agent_silent != "fence" or age is None or age < s.resource.agent_timeout)
    ):
        yield "a node loses the disk whose address answers, or may"
    if address is False and s.resource.on_isolated != "fence" and source.vm.heartbeat not in ("red", "gray"):
        yield "a node loses the disk that is isolated at most"
    alive = [n for n in s.seen.nodes if not proven_off(n.vm)]
    running = len(alive) + s.seen.crowd.running
    if running >= 3 and 2 * (sum(n.facts is None for n in alive) + s.seen.crowd.silent) > running:
        yield "a node loses the disk while most nodes are silent"


#: Rows without which a silent node would lose the disk too soon; 640 and 642 only say more than 643.
NEEDED = frozenset({641, 643, 644, 645, 646, 790})


def every_silence() -> Iterator[Snapshot]:
    """A silent holder, with all that the witnesses may say."""
    ages, words = (None, -150.0, 0.0, 14.9, 15.0, 400.0), ("green", "yellow", "red", "gray", "")
    others = (READY, SILENT, (vm("db2", **OFF), None))
    crowds = (Crowd(), Crowd(1, 1), Crowd(5, 1), Crowd(5, 4))
    kept = ({}, {"on_agent_silent": "fence"}, {"on_isolated": "hold"})
    for age, address, word, other in product(ages, (True, False, None), words, others):
        for crowd, options in product(crowds, kept):
            yield silent(age, address, word, other, crowd, **options)
    yield cut_off()


def test_no_decision_is_unsafe_and_every_safety_row_is_needed() -> None:
    """One walk: without any of the first rows, some decision is wrong."""
    reached: Counter[int] = Counter()
    faults: set[str] = set()
    mutants = {row.number: without(row.number) for row in POLICY if row.number <= 550 or row.number in NEEDED}
    harm: dict[int, str] = {}
    for situation in every_situation():
        decision = decide(situation)
        reached[decision.rule] += 1
        faults |= {f"row {decision.rule}: {words}" for words in wrong(situation, decision)}
        if decision.rule in mutants and decision.rule not in harm:
            found = harmed(situation, mutants[decision.rule])
            harm.update({decision.rule: found} if found else {})
    assert faults == set()
    assert {row.number for row in POLICY} - set(reached) == set()
    assert set(mutants) - set(harm) == set()


def without(number: int) -> tuple[PolicyRow, ...]:
    return tuple(row for row in POLICY if row.number != number)


def harmed(situation: Situation, rows: tuple[PolicyRow, ...]) -> str:
    try:
        return next(wrong(situation, decide(situation, rows)), "")
    except (IndexError, KeyError) as err:
        return f"the table breaks: {err!r}"
