"""A dry run of a request says what the request then does: in every golden scenario in which an operator asks for a move."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.core import golden, golden_story
from tests.core.build import resource
from tests.core.golden_stage import Side, Stage
from vmdk_failover.commands import operate
from vmdk_failover.judgement.policy import Wish
from vmdk_failover.model import Condition, Move, MoveKind
from vmdk_failover.views import terminal

FORCED, PLANNED = MoveKind.FAILOVER, MoveKind.SWITCHOVER


def asks(path: Path) -> bool:
    """Whether somebody asks for a move in a story in which nothing happens in mid-move."""
    events = golden.load(path).events
    asked = any(str(one.get("operator")).split(" ")[0] in golden_story.MOVES for one in events)
    return asked and not any(key in one for one in events for key in golden_story.TRIGGERS)


ASKING = [path for path in golden.files() if asks(path)]


class Rehearsed:
    """Each request of an operator, with the dry run just before it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.compared: list[dict[str, Any]] = []
        play = Stage.look

        def look(stage: Stage, wished: str = "", wish: Wish | None = None) -> None:
            if wish is None:
                return play(stage)
            side = stage.sides[wished]
            paper = operate.plan(stage.app(side), wished, wish.target, wish.kind)
            before = len(side.steps)
            play(stage, wished, wish)
            self.compared.append(paper)
            assert not (why := deviation(paper, side, side.steps[before:])), why

        monkeypatch.setattr(Stage, "look", look)


def deviation(paper: dict[str, Any], side: Side, done: list[str]) -> str:
    """What was done or said otherwise than on paper; empty if nothing."""
    assert side.report is not None
    planned = [f"{one['step']} {one['node']}" for one in paper["steps"]]
    told = f"planned: {paper}\ndone: {done} {side.report}"
    for number, (wanted, step) in enumerate(itertools.zip_longest(planned, done, fillvalue="-")):
        if not step.startswith(wanted):
            return "" if number and goes_on(paper["steps"][number - 1], done[number - 1], step) else told
    return "" if side.report.ok == paper["ok"] else told


def goes_on(before: dict[str, Any], end: str, step: str) -> bool:
    """Whether a step that was not planned is what was told for the case that the one before it does not end well."""
    other = before["otherwise"]
    if other is None:
        return end != f"{before['step']} {before['node']}"
    return not other["step"] or step.startswith(f"{other['step']} {other['node']}")


@pytest.mark.parametrize("path", ASKING, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_what_is_said_is_done(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rehearsed = Rehearsed(monkeypatch)
    golden.play(golden.load(path))
    assert rehearsed.compared


def test_there_are_enough_of_them() -> None:
    assert len(ASKING) >= 25


@pytest.fixture
def stage() -> Iterator[Stage]:
    here = Stage([resource()], {"pgdata": "db1"})
    yield here
    here.close()


def plan(stage: Stage, kind: MoveKind | None, target: str = "") -> tuple[str, str, bool]:
    """Decision, steps and whether it would go well."""
    said = operate.plan(stage.app(stage.sides["pgdata"]), "pgdata", target, kind)
    return said["decision"], ", ".join(f"{one['step']} {one['node']}" for one in said["steps"]), said["ok"]


FENCED = "fence db1, detach db1, attach db2, mount db2"


def test_a_silent_holder_is_fenced_for_a_failover_and_refused_for_a_switchover(stage: Stage) -> None:
    stage.sides["pgdata"].guest.nodes["db1"].frozen = True
    assert plan(stage, FORCED) == ("failover", FENCED, True)
    assert plan(stage, PLANNED) == ("refuse", "", False)
    unasked = operate.plan(stage.app(stage.sides["pgdata"]), "pgdata")
    assert unasked["steps"] == [] and "ok" not in unasked
    stage.look("pgdata", Wish(FORCED))
    assert stage.sides["pgdata"].steps == FENCED.split(", ")


def test_damping_does_not_keep_a_person_from_it(stage: Stage) -> None:
    move = {"ok": True, "damped": True, "ended": stage.clock.wall(), "source": "db2", "target": "db1"}
    stage.write_journal(recent=[move] * 3)
    stage.sides["pgdata"].guest.nodes["db1"].trouble = Condition.IO_ERROR
    assert operate.plan(stage.app(stage.sides["pgdata"]), "pgdata")["rule"] == 650
    decision, steps, ok = plan(stage, FORCED)
    assert (decision, ok) == ("failover", True) and steps.endswith("attach db2, mount db2")
    stage.look("pgdata", Wish(FORCED))
    assert stage.sides["pgdata"].steps == steps.split(", ")


def test_the_fence_that_may_follow_is_named(stage: Stage) -> None:
    forced = operate.plan(stage.app(stage.sides["pgdata"]), "pgdata", "", FORCED)
    assert (forced["source"], forced["target"], forced["steps"][0]["step"]) == ("db1", "db2", "release")
    other = forced["steps"][0]["otherwise"]
    assert (other["step"], other["node"], other["rule"]) == ("fence", "db1", 170)
    assert [one["otherwise"] for one in forced["steps"][1:]] == [None] * 3
    lines = terminal.lines(forced) or []
    assert lines[2].startswith(
        "     if that fails: fencing db1 - db1 may still write: its release is not proven"
    )
    planned = operate.plan(stage.app(stage.sides["pgdata"]), "pgdata", "", PLANNED)
    assert (planned["steps"][0]["otherwise"]["step"], planned["steps"][0]["otherwise"]["rule"]) == ("", 150)
    stage.fates["release db1"] = ["fails"]
    stage.look("pgdata", Wish(FORCED))
    assert [one.split(" ")[0] for one in stage.sides["pgdata"].steps] == [
        "release", "fence", "detach", "attach", "mount",
    ]  # fmt: skip


def test_a_request_beside_an_open_move_would_be_refused(stage: Stage) -> None:
    side = stage.sides["pgdata"]
    stage.journal.begin(Move(side.resource, PLANNED, "db1", "db2", 1, "somebody asked"))
    said = operate.plan(stage.app(side), "pgdata", "", FORCED)
    assert (said["decision"], said["ok"]) == ("switchover", False) and "ask again" in said["end"]
    stage.look("pgdata", Wish(FORCED))
    assert side.report is not None and side.report.result == "refused"


def test_a_master_that_only_watches_says_so(stage: Stage) -> None:
    app = stage.app(stage.sides["pgdata"])
    app.bystander = "mb is the active one"
    said = operate.plan(app, "pgdata", "", FORCED)
    assert (said["decision"], said["reason"], said["ok"]) == ("refuse", app.bystander, False)


def test_it_is_said_whether_it_would_be_done_unasked(stage: Stage) -> None:
    app, side = stage.app(stage.sides["pgdata"]), stage.sides["pgdata"]
    assert operate.plan(app, "pgdata")["on"] == "well"
    assert operate.plan(app, "pgdata", "db2")["on"] == "request"
    assert operate.plan(app, "pgdata", "", FORCED)["on"] == "request"
    side.guest.nodes["db1"].trouble = Condition.IO_ERROR
    assert operate.plan(app, "pgdata")["on"] == "itself"
    stage.journal.begin(Move(side.resource, PLANNED, "db1", "db2", 1, "somebody asked"))
    assert operate.plan(app, "pgdata")["on"] == "under way"
