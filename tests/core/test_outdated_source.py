"""In the midst of a move: an old list of the node that the disk comes from is no proof that the disk is free."""

from __future__ import annotations

from typing import Any

import pytest

from tests.core.build import EPOCH, THERE, active, came_to, look, move, resource, says, vm
from vmdk_failover.around import NOTHING_AROUND, Around, Confirmed
from vmdk_failover.judgement import predict
from vmdk_failover.judgement.homes import HAD
from vmdk_failover.judgement.rules import Case, Then, Verdict, next_verdict
from vmdk_failover.model import MoveKind, NodeFacts, Outcome, Power, Result, StepKind, VmFacts

OLD = vm("db1", connected=False)
OFF_BY_WORD = Around(confirmed={"db1": Confirmed("esx1", "", "alice said that the host esx1 is off")})
LAST = {"db1": HAD}
MOVES = ((MoveKind.FAILOVER, "db1", {}), (MoveKind.SWITCHOVER, "db1", LAST), (MoveKind.START, "", LAST))
DETACHED = came_to(StepKind.DETACH, "db1", Result.DONE)
RELEASED = came_to(StepKind.RELEASE, "db1", Result.DONE)


def judge(
    first: VmFacts = OLD,
    word: NodeFacts | None = None,
    tried: tuple[Outcome, ...] = (),
    of: tuple[MoveKind, str, dict[str, str]] = MOVES[0],
    around: Around = NOTHING_AROUND,
    target: tuple[VmFacts, NodeFacts] = (vm("db2"), says("db2")),
    **more: Any,
) -> Verdict:
    kind, source, last = of
    seen = look(resource(), (first, target[0]), (word, target[1]), around=around)
    return next_verdict(Case(move(resource(), kind, source), seen, tried, EPOCH, last=last, **more))


@pytest.mark.parametrize("of", MOVES)
@pytest.mark.parametrize(
    ("first", "word", "words"),
    [
        (OLD, None, "reconnect esx1 in vCenter; or you have made sure"),
        (vm("db1", connected=False, power=Power.OFF), None, "vmdk.confirm_off db1"),
        (OLD, says("db1"), "reconnect esx1 in vCenter; or, if"),
        (OLD, active("db1", device=True), "reconnect esx1 in vCenter; or, if"),
        (vm("db1", connected=False, host_connected=True), None, "orphaned"),
        (vm("db1", power=Power.UNKNOWN), None, "what the account may read"),
    ],
)
def test_an_old_list_of_the_source_is_no_proof_that_the_disk_is_free(
    of: Any, first: VmFacts, word: NodeFacts | None, words: str
) -> None:
    verdict = judge(first, word, of=of)
    assert (verdict.rule, verdict.then) == (196, Then.HOLD)
    had = "db1 had the disk when the move began" if of[1] else "db1 was the last to have it"
    assert verdict.reason.startswith(had) and words in verdict.reason
    assert verdict.reason.endswith("'salt-run vmdk.clear pgdata'")


@pytest.mark.parametrize("of", MOVES)
@pytest.mark.parametrize(
    "known",
    [
        {"first": vm("db1")},
        {"first": vm("db1", power=Power.OFF)},
        {"word": says("db1", device=False)},
        {"around": OFF_BY_WORD},
        {"tried": DETACHED},
        {"tried": DETACHED, "word": says("db1")},
        {"tried": RELEASED},
        {"tried": RELEASED, "word": says("db1", released=EPOCH)},
        {"missing_ok": ("db1",)},
    ],
)
def test_what_is_known_of_the_source_or_was_done_or_said_ends_that(of: Any, known: dict[str, Any]) -> None:
    verdict = judge(of=of, **known)
    assert (verdict.rule, verdict.step and verdict.step.kind) == (200, StepKind.ATTACH)


@pytest.mark.parametrize(
    "tried",
    [
        *(came_to(kind, "db1") for kind in (StepKind.DETACH, StepKind.RELEASE)),
        came_to(StepKind.DETACH, "db1", Result.UNKNOWN),
        came_to(StepKind.DETACH, "db2", Result.DONE),
        came_to(StepKind.FENCE, "db1", Result.DONE),
    ],
)
def test_what_was_only_tried_or_done_elsewhere_does_not(tried: tuple[Outcome, ...]) -> None:
    assert judge(tried=tried).rule == 196


def test_a_release_counts_no_more_when_the_node_says_otherwise() -> None:
    assert judge(tried=RELEASED, word=active("db1", device=True)).rule == 196


def test_who_said_that_its_host_is_off_is_not_believed_while_it_answers() -> None:
    verdict = judge(word=active("db1", device=True), around=OFF_BY_WORD, of=MOVES[2])
    assert verdict.rule == 196
    assert "alice said that the host esx1 is off, but db1 has answered" in verdict.reason


def test_a_start_without_a_memory_and_a_move_that_has_the_disk_go_on() -> None:
    assert judge(of=(MoveKind.START, "", {})).rule == 200
    assert judge(target=(vm("db2", THERE), says("db2"))).rule == 240


def test_a_lost_attach_is_made_impossible_before_a_person_is_told_to_clear() -> None:
    lost = came_to(StepKind.ATTACH, "db2", Result.UNKNOWN)
    assert judge(tried=lost).rule == 63


def test_a_dry_run_says_so_too() -> None:
    begun = move(resource(), MoveKind.START, "")
    seen = look(resource(), (OLD, vm("db2")), (None, says("db2")))
    held = predict.plan(begun, seen, last=LAST)
    assert (held.steps, held.ends.rule) == ((), 196)
    assert predict.plan(begun, seen, missing_ok=("db1",), last=LAST).steps
