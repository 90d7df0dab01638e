"""
The step table over its whole input space: no verdict is unsafe, each row is reached, and no safety row can be harm.

A row whose removal breaks no invariant is there for progress; for each of those a test shows what no longer happens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.core import space
from tests.core.build import EPOCH, THERE, active, came_to, look, move, resource, says, vm
from tests.core.invariants import wrong
from vmdk_failover.around import NOTHING_AROUND, Around
from vmdk_failover.judgement import assess, predict, rules, stake
from vmdk_failover.judgement.rules import RULES, Case, Then, Verdict, next_verdict
from vmdk_failover.kin import Kin
from vmdk_failover.model import Condition, MoveKind, Outcome, Power, Result, StepKind

#: Rows that are needed for progress only; every other row must be missed by an invariant.
FOR_PROGRESS = frozenset({15, 17, 41, 43, 44, 62, 67, 68, 70, 130, 158, 235, 236, 240})


@dataclass
class Walk:
    """What one walk through the space has shown."""

    reached: Counter[int] = field(default_factory=Counter)
    faults: dict[tuple[int, str], Case] = field(default_factory=dict)
    harm: dict[int, str] = field(default_factory=dict)


def without(number: int) -> tuple[rules.Row, ...]:
    return tuple(row for row in RULES if row.number != number)


@pytest.fixture(scope="module")
def walk() -> Walk:
    """Walk once: judge each case, and judge it again without the row that decided it until that does harm."""
    found, mutants = Walk(), {row.number: without(row.number) for row in RULES[:-1]}
    for case in space.every_case():
        verdict = next_verdict(case)
        found.reached[verdict.rule] += 1
        for sentence in wrong(case, verdict):
            found.faults.setdefault((verdict.rule, sentence), case)
        if verdict.rule in mutants and verdict.rule not in found.harm:
            words = wrong(case, next_verdict(case, mutants[verdict.rule]))
            if words:
                found.harm[verdict.rule] = words[0]
    return found


def test_no_verdict_is_unsafe(walk: Walk) -> None:
    assert [f"row {number}: {words}" for number, words in walk.faults] == []


def test_a_word_that_counts_against_signs_of_life_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assess, "_heeded", lambda sights, around: sights)
    assert any(wrong(case, next_verdict(case)) for case in space.word_cases())


@pytest.mark.parametrize(
    ("of", "name", "other", "words"),
    [
        (assess, "_kept", lambda sights: sights, "what was written is lost"),
        (stake, "guards", lambda tenant: tenant.paused, "would lose what was written"),
    ],
)
def test_a_disk_that_loses_what_was_written_is_found(
    monkeypatch: pytest.MonkeyPatch, of: Any, name: str, other: Any, words: str
) -> None:
    monkeypatch.setattr(of, name, other)
    assert any(words in one for case in space.around_cases() for one in wrong(case, next_verdict(case)))


def test_the_page_of_the_rules_states_how_many_cases_these_are(walk: Walk) -> None:
    """A row or a case that comes or goes: scripts/rules_doc.py --write."""
    page = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
    assert f" {walk.reached.total():,} cases of a move" in page


def test_every_row_is_reached(walk: Walk) -> None:
    assert {row.number for row in RULES} - set(walk.reached) == set()


@pytest.mark.parametrize("number", [row.number for row in RULES[:-1] if row.number not in FOR_PROGRESS])
def test_without_a_safety_row_something_unsafe_is_done(walk: Walk, number: int) -> None:
    assert number in walk.harm, f"row {number} can be removed and no invariant is broken"


def test_the_rows_for_progress_are_no_safety_rows(walk: Walk) -> None:
    assert {number: walk.harm[number] for number in FOR_PROGRESS if number in walk.harm} == {}


def test_without_row_70_a_move_that_has_arrived_never_ends() -> None:
    of = resource()
    case = Case(move(of), look(of, (vm("db1"), vm("db2", THERE)), (None, active("db2"))), (), EPOCH)
    assert next_verdict(case).then is Then.DONE
    again = next_verdict(case, without(70))
    assert again.step and again.step.kind is StepKind.MOUNT


def test_without_row_240_nothing_is_ever_mounted() -> None:
    of = resource()
    case = Case(move(of), look(of, (vm("db1"), vm("db2", THERE)), (None, says("db2"))), (), EPOCH)
    mount = next_verdict(case)
    assert mount.step and mount.step.kind is StepKind.MOUNT
    assert next_verdict(case, without(240)).then is Then.ABANDON


def test_without_row_130_a_node_that_shall_halt_is_asked_to_release() -> None:
    of = resource(on_error="halt")
    words = (active("db1", condition=Condition.IO_ERROR), says("db2"))
    case = Case(move(of), look(of, (vm("db1", THERE), vm("db2")), words), (), EPOCH)
    kinds = [
        verdict.step and verdict.step.kind
        for verdict in (next_verdict(case), next_verdict(case, without(130)))
    ]
    assert kinds == [StepKind.HALT, StepKind.RELEASE]


def test_without_row_62_a_lost_request_holds_for_ever() -> None:
    of = resource()
    lost = space.based(came_to(StepKind.ATTACH, "db2", Result.UNKNOWN))
    case = Case(move(of), look(of, (vm("db1", power=Power.OFF), vm("db2")), ()), lost, EPOCH)
    seal = next_verdict(case)
    assert seal.step and (seal.step.kind, seal.step.node) == (StepKind.SEAL, "db2")
    held = next_verdict(case, without(62))
    assert (held.rule, held.then) == (63, Then.HOLD)


def next_of(vms: tuple[Any, Any], words: tuple[Any, Any], tried: Any = (), **more: Any) -> list[Any]:
    """The step that follows, and what follows without the row that wants it."""
    around, readable = more.pop("around", NOTHING_AROUND), more.pop("readable", True)
    kind, source, rule = more.pop("kind", MoveKind.FAILOVER), more.pop("source", "db1"), more.pop("rule", 0)
    of = resource(**more)
    seen = look(of, vms, words, readable, around)
    case = Case(replace(move(of, kind, source), rule=rule), seen, tried, EPOCH)
    verdict = next_verdict(case)
    again = next_verdict(case, without(verdict.rule))
    return [verdict.rule, verdict.step and verdict.step.kind, again.rule, again.then]


HOME = (vm("db2", THERE), active("db2"))
AGAIN = Around(to_restart=frozenset({"db1"}))


def test_without_its_row_each_of_these_does_not_happen() -> None:
    off, gone = vm("db1", THERE, power=Power.OFF), vm("db1", THERE, connected=False)
    fenced = came_to(StepKind.FENCE, "db1", times=3)
    sees = says("db2", device=True)
    home = (vm("db1", power=Power.OFF), HOME[0]), (None, HOME[1])
    blind = {"kind": MoveKind.REPAIR, "source": "db2", "rule": 515, "readable": False}
    assert next_of((gone, vm("db2")), (None, says("db2")), host_fence="own.off") == [
        44,
        StepKind.FENCE_HOST,
        45,
        Then.HOLD,
    ]
    for late in ({"kind": MoveKind.SWITCHOVER}, {"source": "db3"}, {"fence": "own.fence", "unfit": True}):
        words = (None, says("db2", unready=("no mount",) if late.pop("unfit", False) else ()))
        assert next_of((gone, vm("db2")), words, host_fence="own.off", **late) == [43, None, 45, Then.HOLD]
    assert next_of((off, HOME[0]), (None, HOME[1])) == [67, StepKind.DETACH, 70, Then.DONE]
    assert next_of(*home, around=AGAIN) == [68, StepKind.POWER_ON, 70, Then.DONE]
    assert next_of((vm("db1", THERE), vm("db2")), (None, says("db2")), fenced, fence="own.fence") == [
        158,
        StepKind.FENCE_HOOK,
        160,
        Then.HOLD,
    ]
    assert next_of(*((), (None, sees)), **blind) == [15, StepKind.MOUNT, 20, Then.HOLD]
    assert next_of(*((), (None, active("db2", device=True))), **blind) == [17, None, 20, Then.HOLD]


LOST = vm("db1", THERE, connected=False)
UNFIT = says("db2", unready=("mount is missing",))
SENT = came_to(StepKind.DETACH, "db1", Result.UNKNOWN)


@pytest.mark.parametrize(
    ("kind", "source", "other", "words"),
    [
        (MoveKind.SWITCHOVER, "db1", says("db2"), "a switchover fences nothing"),
        (MoveKind.FAILOVER, "db3", says("db2"), "it knows nothing of db1"),
        (MoveKind.FAILOVER, "db1", UNFIT, "db2 cannot take pgdata: mount is missing"),
    ],
)
def test_a_move_that_cannot_have_the_lost_host_fenced_gives_way(
    kind: MoveKind, source: str, other: Any, words: str
) -> None:
    of = resource(host_fence="own.host")
    verdict = next_verdict(
        Case(move(of, kind, source), look(of, (LOST, vm("db2")), (None, other)), (), EPOCH)
    )
    assert (verdict.rule, verdict.then) == (43, Then.ABANDON)
    assert "the host esx1 of db1 is gone" in verdict.reason and verdict.reason.endswith(words)


def test_so_does_one_whose_target_is_lost_with_the_disk() -> None:
    of = resource(host_fence="own.host")
    lost = vm("db2", THERE, connected=False, host="esx2")
    verdict = next_verdict(Case(move(of), look(of, (vm("db1", power=Power.OFF), lost)), (), EPOCH))
    assert (verdict.rule, verdict.reason.partition(": ")[2]) == (43, "it had brought the disk there")


@pytest.mark.parametrize(
    ("kind", "vms", "tried", "words"),
    [
        (MoveKind.SWITCHOVER, (LOST, vm("db2", THERE)), (), "db2 may write too"),
        (MoveKind.SWITCHOVER, (LOST, vm("db2")), SENT, "the detach on db1 will still be carried out"),
        (MoveKind.FAILOVER, (LOST, vm("db2", task="relocate")), (), "a task runs on db2 (relocate)"),
        (MoveKind.SWITCHOVER, (replace(LOST, beside=(("web1", ""),)), vm("db2")), (), "esx1 when vCenter last saw it: web1"),
        (MoveKind.SWITCHOVER, (replace(LOST, hosts=None), vm("db2")), (), "are gone cannot be read"),
    ],
)  # fmt: skip
def test_a_hold_for_a_lost_host_names_why_it_is_not_fenced(
    kind: MoveKind, vms: Any, tried: tuple[Outcome, ...], words: str
) -> None:
    of = resource(host_fence="own.host")
    verdict = next_verdict(Case(move(of, kind), look(of, vms, (None, says("db2"))), tried, EPOCH))
    assert (verdict.rule, verdict.then) == (45, Then.HOLD)
    assert "; host_fence is not called" in verdict.reason and words in verdict.reason


def test_a_lost_request_is_made_impossible_before_a_move_gives_way_for_a_lost_host() -> None:
    """The request is to another VM than the lost one; without the row it would hold until the lost host is back."""
    of = resource(host_fence="own.host")
    lost = vm("db2", THERE, connected=False, host="esx2")
    for off, rules_ in (
        ({}, (41, 45)),
        ({"task": "relocate"}, (45, 45)),
        ({"change_version": "2"}, (43, 43)),
    ):
        seen = look(of, (vm("db1", THERE, power=Power.OFF, **off), lost), ())
        case = Case(move(of), seen, space.based(SENT), EPOCH)
        verdicts = next_verdict(case), next_verdict(case, without(41))
        assert tuple(verdict.rule for verdict in verdicts) == rules_
        if 41 in rules_:
            assert verdicts[0].step and (verdicts[0].step.kind, verdicts[0].step.node) == (
                StepKind.SEAL,
                "db1",
            )


def test_a_hold_for_a_lost_host_names_no_reason_where_there_is_no_way_or_it_was_tried() -> None:
    tried = came_to(StepKind.FENCE_HOST, "db1", times=2)
    for of, outcomes in ((resource(), ()), (resource(host_fence="own.host"), (*tried, *SENT))):
        seen = look(of, (LOST, vm("db2")), (None, says("db2")))
        verdict = next_verdict(Case(move(of), seen, outcomes, EPOCH))
        assert verdict.rule == 45 and "is not called" not in verdict.reason


@pytest.mark.parametrize(
    ("unfit", "words"),
    [
        ({"db2": ("its slot is taken",)}, " (db2 cannot take base: its slot is taken)"),
        ({}, "; 'salt-run vmdk.failover base target=db2' brings it there"),
    ],
)
def test_who_waits_for_another_resource_says_why_it_does_not_come(unfit: Any, words: str) -> None:
    of = resource()
    seen = look(of, (vm("db1"), vm("db2", THERE)), (says("db1"), says("db2")))
    kin = (Kin("base", True, "db1", ("db1",), unfit=unfit),)
    asked = came_to(StepKind.ALONG, "db2", Result.DONE)
    verdict = next_verdict(Case(move(of), replace(seen, kin=kin), asked, EPOCH))
    assert (verdict.rule, verdict.reason) == (237, f"pgdata waits on db2: base is active on db1{words}")


def test_the_table_is_in_order_and_ends_with_a_row_that_always_matches() -> None:
    numbers = [row.number for row in RULES]
    assert numbers == sorted(set(numbers))
    assert all(RULES[-1].matches(case) for case in space.closed_cases())


def test_every_plan_on_paper_comes_to_an_end() -> None:
    """``predict.plan`` raises if the table runs in a circle."""
    for case in open_cases():
        paper = predict.plan(case.move, case.seen, case.outcomes)
        assert paper.ends.step is None


def open_cases() -> Iterator[Case]:
    yield from space.two_disk_cases()
    yield from (case for number, case in enumerate(space.clean_cases()) if number % 7 == 0)


UNKNOWNS = {
    "power unread": {"connected": None},
    "host not connected": {"connected": False},
    "devices unread": {"disks": None},
    "tasks unread": {"task": None},
    "snapshots unread": {"snapshot": None},
}


@pytest.mark.parametrize("what", UNKNOWNS)
def test_what_is_unknown_of_the_source_never_counts_as_good(what: str) -> None:
    """A step that is right by a full look is not taken when one property of the source cannot be read."""
    of = resource()
    for facts, word in (
        ({}, active("db1")),
        ({}, says("db1", released=EPOCH)),
        ({"power": Power.OFF}, None),
    ):
        good = vm("db1", THERE, **facts)
        case = Case(move(of), look(of, (good, vm("db2")), (word, says("db2"))), (), EPOCH)
        assert next_verdict(case).step is not None
        blind = replace(good, **UNKNOWNS[what])
        worse = Case(move(of), look(of, (blind, vm("db2")), (word, says("db2"))), (), EPOCH)
        assert next_verdict(worse).then in (Then.HOLD, Then.WAIT)


def verdict_after(*tried: Outcome, basis: str = "") -> Verdict:
    """The disk is free and the target has fallen silent."""
    of = resource()
    seen = look(of, (vm("db1", power=Power.OFF), vm("db2", change_version="5")), ())
    outcomes = tuple(replace(one, basis=basis) for one in tried)
    return next_verdict(Case(move(of), seen, outcomes, EPOCH))


def test_a_lost_attach_keeps_the_move_open_until_it_has_become_impossible() -> None:
    lost = came_to(StepKind.ATTACH, "db2", Result.UNKNOWN)
    assert verdict_after(*lost).rule == 63
    assert verdict_after(*lost, basis="5").rule == 62
    assert verdict_after(*lost, basis="4").then is Then.ABANDON
    assert "db2" in verdict_after(*lost).reason and "vmdk.clear" in verdict_after(*lost).reason


def test_a_lost_detach_keeps_the_move_open_while_the_disk_is_listed() -> None:
    of = resource()
    lost = came_to(StepKind.DETACH, "db1", Result.UNKNOWN)
    for where, rule in ((THERE, 63), ("nowhere", 100)):
        seen = look(of, (vm("db1", where), vm("db2")), (says("db1", released=EPOCH),))
        assert next_verdict(Case(move(of), seen, lost, EPOCH)).rule == rule


@pytest.mark.parametrize(
    "kind", [StepKind.ATTACH, StepKind.DETACH, StepKind.FENCE, StepKind.SEAL, StepKind.MOUNT]
)
@pytest.mark.parametrize("code", ["version_conflict", "busy"])
def test_who_was_slower_has_not_tried(kind: StepKind, code: str) -> None:
    case = Case(move(resource()), look(resource(), ()), came_to(kind, "db1", times=9, code=code), EPOCH)
    assert case.tried(kind) == 0


@pytest.mark.parametrize("kind", [StepKind.RELEASE, StepKind.HALT])
def test_a_busy_node_counts_as_tried(kind: StepKind) -> None:
    case = Case(move(resource()), look(resource(), ()), came_to(kind, "db1", code="busy"), EPOCH)
    assert case.tried(kind) == 1


def test_a_planned_move_is_never_carried_out_against_the_will_of_the_source() -> None:
    of = resource()
    seen = look(of, (vm("db1", THERE), vm("db2")), (active("db1"), says("db2")))
    asked = came_to(StepKind.RELEASE, "db1")
    assert next_verdict(Case(move(of, MoveKind.SWITCHOVER), seen, asked, EPOCH)).then is Then.ABANDON
    fence = next_verdict(Case(move(of, MoveKind.FAILOVER), seen, asked, EPOCH))
    assert (fence.rule, fence.step and fence.step.kind) == (170, StepKind.FENCE)
    assert "release is not proven" in fence.reason
