"""Runs of other resources within a run: which, and what is told of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from tests.core.build import look, move, resource
from tests.doubles.vicinity import FakeVicinity
from vmdk_failover.company import HURRIED, PATIENT, PLANNED, Company
from vmdk_failover.engine import Report
from vmdk_failover.errors import Busy, JournalError
from vmdk_failover.kin import Kin, Neighbour
from vmdk_failover.model import MoveKind, Resource, Result, Step, StepKind

OF = resource()
TOP, BASE = replace(OF, name="top"), replace(OF, name="base")
SEEN = replace(look(OF, ()), kin=(Kin("top", False, "db1", ("db1",)), Kin("base", True, "db1", ("db1",))))
LEAVE, COME = Step(StepKind.ALONG, "db1"), Step(StepKind.ALONG, "db2")


@dataclass
class Runs:
    """What is run, and what that comes to."""

    report: Report = field(default_factory=lambda: Report("", "nothing", 600, "fine"))
    ran: list[str] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)

    def __call__(self, other: Resource, wait: float) -> Report:
        self.ran.append(other.name)
        self.waited.append(wait)
        return self.report


def company(runs: Runs, *relatives: Neighbour) -> Company:
    known = relatives or (Neighbour("top", False, TOP), Neighbour("base", True, BASE))
    return Company(FakeVicinity(relatives=known), runs)


def test_what_is_on_top_is_run_for_the_source_and_what_is_below_for_the_target() -> None:
    runs = Runs()
    assert company(runs).along(move(OF), SEEN, LEAVE).result is Result.DONE
    assert company(runs).along(move(OF), SEEN, COME).result is Result.DONE
    assert runs.ran == ["top", "base"]


def test_only_a_node_that_fails_is_in_a_hurry() -> None:
    """Who moves the other one at the same moment is given time, but not while a fence may have to follow."""
    runs = Runs()
    company(runs).along(move(OF), SEEN, LEAVE)
    company(runs).along(move(OF), SEEN, COME)
    company(runs).along(move(OF, MoveKind.SWITCHOVER), SEEN, LEAVE)
    assert runs.waited == [HURRIED, PATIENT, PLANNED] and HURRIED < 5.0 < PLANNED < PATIENT


def test_after_the_move_what_is_on_top_is_looked_at() -> None:
    runs = Runs()
    company(runs).lift(OF, SEEN)
    assert runs.ran == ["top"]


def test_one_that_moves_of_its_own_accord_is_left_to_its_mover() -> None:
    """That one may be waiting for this very move to end."""
    runs = Runs()
    own, follows = (replace(move(TOP), rule=rule) for rule in (555, 571))
    company(runs).lift(OF, replace(SEEN, kin=(Kin("top", False, move=own),)))
    assert runs.ran == []
    company(runs).lift(OF, replace(SEEN, kin=(Kin("top", False, move=follows),)))
    assert runs.ran == ["top"]


def test_what_is_under_way_in_this_process_is_not_run_again() -> None:
    runs = Runs()
    mine = company(runs)
    with mine.within("top"):
        outcome = mine.along(move(OF), SEEN, LEAVE)
        mine.lift(OF, SEEN)
    assert (runs.ran, outcome.result, outcome.code) == ([], Result.FAILED, "along")


def test_one_that_cannot_be_read_is_told() -> None:
    outcome = company(Runs(), Neighbour("top", False)).along(move(OF), SEEN, LEAVE)
    assert (outcome.result, outcome.code) == (Result.FAILED, "along")


def test_one_that_somebody_else_moves_is_busy() -> None:
    runs = Runs(Report("top", "busy", 0, "somebody else is at it"))
    outcome = company(runs).along(move(OF), SEEN, LEAVE)
    assert (outcome.code, outcome.evidence) == (Busy.code, "top: somebody else is at it")


def test_the_step_that_went_wrong_is_told() -> None:
    steps: tuple[dict[str, Any], ...] = ({"evidence": "it hangs", "outcome": "failed"},)
    runs = Runs(Report("top", "nothing", 600, "active on db1", steps=steps))
    assert company(runs).along(move(OF), SEEN, LEAVE).evidence == "top: it hangs"


def test_a_journal_that_cannot_be_read_after_the_move_is_no_failure_of_the_move() -> None:
    def broken(other: Resource, wait: float) -> Report:
        raise JournalError("the disk is gone")

    Company(FakeVicinity(relatives=(Neighbour("top", False, TOP),)), broken).lift(OF, SEEN)
