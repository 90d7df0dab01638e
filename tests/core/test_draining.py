"""A node is drained: all that it holds leaves it, in order, or nothing does. The real engine on doubles."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import pytest

from tests.core.build import DATA, WAL, resource
from tests.core.golden_stage import Ready, Stage
from tests.core.test_states import loaded
from vmdk_failover.commands import draining, operate, panorama
from vmdk_failover.engine import Report
from vmdk_failover.errors import FailoverError, Refused
from vmdk_failover.judgement.policy import Wish
from vmdk_failover.model import Condition, Disk, Move, MoveKind, Power, Resource
from vmdk_failover.views import terminal

THIRD = Disk("[ds1] shared/web.vmdk", "6000c29" + "0" * 24 + "3", 1, 2)


def named(name: str, disk: Disk, nodes: int = 2, **options: Any) -> Resource:
    (mount,) = resource().mounts
    mounts = (
        replace(mount, mountpoint=f"/srv/{name}", fs_uuid=f"c0ffee00-0000-4000-8000-{disk.uuid[-12:]}"),
    )
    return replace(resource(nodes, (disk,), **options), name=name, mounts=mounts)


class Hall:
    """Some resources on the same nodes, all of them on db1 unless said otherwise, and a master that can be asked."""

    def __init__(self, *resources: Resource, **holders: str) -> None:
        self.stage = Stage(resources, {one.name: holders.get(one.name, "db1") for one in resources})
        self.asked: list[str] = []

    def app(self) -> Any:
        app = self.stage.app(self.stage.current)
        app.engine = self
        app.run = self.run
        return app

    def look(self, of: Resource) -> Any:
        return self.stage.engine(self.stage.sides[of.name]).look(of)

    def run(self, name: str, wish: Wish | None = None, wait: float = 0.0) -> Report:
        self.asked += [f"{name} to {wish.target}"] if wish else [f"look at {name}"]
        side = self.stage.current = self.stage.sides[name]
        with self.stage._tables():
            return self.stage.engine(side).run(side.resource, wish, wait)

    def another(self) -> AbstractContextManager[Any]:
        return nullcontext(self.app())

    def drain(self, node: str = "db1", test: bool = False) -> dict[str, Any]:
        said = draining.drain(self.app(), node, self.another, test)
        self.stage.check("a drain")
        assert self.stage.broken == []
        return said

    def on(self) -> dict[str, list[str]]:
        return {name: side.writers() for name, side in self.stage.sides.items()}

    def steps(self) -> list[str]:
        return [step for side in self.stage.sides.values() for step in side.steps]


Build = Callable[..., Hall]


@pytest.fixture
def hall(monkeypatch: pytest.MonkeyPatch) -> Iterator[Build]:
    """One at a time, for the doubles are no master; and each is looked at by itself."""
    made: list[Hall] = []

    def build(*resources: Resource, **holders: str) -> Hall:
        made.append(Hall(*resources, **holders))
        return made[-1]

    def look(app: Any, names: Sequence[str], seen: Any = None) -> dict[str, panorama.Look]:
        return {name: operate._look(app, name) for name in names}

    monkeypatch.setattr(draining, "AT_ONCE", 1)
    monkeypatch.setattr(panorama, "look", look)
    yield build
    for one in made:
        one.stage.close()


PGDATA, WEB = named("pgdata", DATA), named("web", THIRD)
APP = named("app", WAL, depends_on=("pgdata",))


def words(said: dict[str, Any]) -> list[str]:
    lines = terminal.lines(said)
    assert lines is not None
    return lines


def test_everything_leaves_and_a_second_time_nothing_is_there(hall: Build) -> None:
    here = hall(PGDATA, WEB)
    done = here.drain()
    assert (done["ok"], done["moved"], done["stays"]) == (True, ["pgdata", "web"], [])
    assert done["resources"]["web"] == {"ok": True, "target": "db2", "rule": 70, "reason": "active on db2"}
    assert here.on() == {"pgdata": ["db2"], "web": ["db2"]}
    assert words(done) == [
        "db1: drained, it holds nothing.",
        "  pgdata: on db2",
        "  web: on db2",
        "It is a backup as before; 'salt-run vmdk.power_off db1' keeps it out.",
    ]
    before = here.steps()
    again = here.drain()
    assert (again["ok"], again["moved"], again["stays"], again["resources"]) == (True, [], [], {})
    assert here.steps() == before and words(again)[0] == "db1: holds nothing."


def test_what_is_elsewhere_stays_there(hall: Build) -> None:
    here = hall(PGDATA, WEB, web="db2")
    assert here.drain()["moved"] == ["pgdata"]
    assert here.on() == {"pgdata": ["db2"], "web": ["db2"]} and here.asked == ["pgdata to db2"]


def test_each_goes_to_its_own_best_backup(hall: Build) -> None:
    here = hall(named("pgdata", DATA, 3), named("web", THIRD, 3))
    here.stage.sides["web"].flaws = {"db2": ("a service is not known there",)}
    here.stage.check_nodes()
    assert here.drain()["ok"] and here.on() == {"pgdata": ["db2"], "web": ["db3"]}


def test_a_dry_run_says_what_is_then_done_and_does_nothing(hall: Build) -> None:
    here = hall(PGDATA, APP, WEB)
    would = here.drain(test=True)
    assert here.steps() == [] and here.on() == {name: ["db1"] for name in ("pgdata", "app", "web")}
    assert words(would)[:2] == ["db1: would be drained; nothing was done.", "  app: would go to db2"]
    done = here.drain()
    changing = {"took", "test", "resources"}
    assert {k: would[k] for k in would.keys() - changing} == {k: done[k] for k in done.keys() - changing}
    assert would["test"] is True and "test" not in done
    assert {name: way["target"] for name, way in would["resources"].items()} == {
        name: way["target"] for name, way in done["resources"].items()
    }


def test_one_that_cannot_leave_keeps_all_of_them_there(hall: Build) -> None:
    here = hall(PGDATA, WEB)
    here.stage.ask("web", "pause")
    for test in (True, False):
        said = here.drain(test=test)
        assert (said["ok"], said["moved"], said["stays"]) == (False, [], ["pgdata", "web"])
        assert said["resources"]["pgdata"]["ok"] is True and said["resources"]["web"]["rule"] == 510
        assert words(said)[1] == "  web: paused by an operator; 'salt-run vmdk.resume web' ends it (rule 510)"
        assert words(said)[2] == "  pgdata: could leave for db2"
        assert words(said)[0].startswith("db1: NOT DRAINED, nothing w")
    assert here.steps() == [] and here.asked == []


def sick(here: Hall) -> None:
    here.stage.sides["web"].guest.nodes["db1"].trouble = Condition.IO_ERROR


def without_backup(here: Hall) -> None:
    here.stage.sides["web"].guest.nodes["db2"].silent = True


def on_the_way(here: Hall) -> None:
    side = here.stage.sides["web"]
    here.stage.journal.begin(Move(side.resource, MoveKind.SWITCHOVER, "db1", "db2", 1, "a person asked"))


def coming(here: Hall) -> None:
    side = here.stage.sides["web"]
    side.guest.nodes["db1"].vm.disks.clear()
    here.stage.journal.begin(Move(side.resource, MoveKind.SWITCHOVER, "db2", "db1", 1, "a person asked"))


def damaged(here: Hall) -> None:
    def look(of: Resource) -> Any:
        if of.name == "web":
            raise FailoverError("the journal of web is damaged", "journal")
        return Hall.look(here, of)

    here.look = look  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("happens", "reason"),
    [
        (sick, "web is not in good health on db1"),
        (without_backup, "its minion gave no signed answer"),
        (on_the_way, "it is under way already: a person asked; 'salt-run vmdk.status web' tells when"),
        (coming, "it is under way already"),
        (damaged, "the journal of web is damaged"),
    ],
)
def test_what_keeps_one_there_is_told(hall: Build, happens: Callable[[Hall], None], reason: str) -> None:
    here = hall(PGDATA, WEB)
    happens(here)
    said = here.drain(test=True)
    assert said["ok"] is False and reason in said["resources"]["web"]["reason"], said
    assert said["moved"] == [] and here.asked == []


def test_a_node_that_is_off_and_lists_what_another_one_has_is_told_apart(hall: Build) -> None:
    here = hall(PGDATA, web="db1")
    node = here.stage.sides["pgdata"].guest.nodes["db2"]
    node.vm.plug(DATA)
    node.vm.turn(Power.OFF)
    said = here.drain("db2", test=True)
    assert said["ok"] is False and "db1 has it, and the VM of db2 lists its disk too" in said["resources"][
        "pgdata"]["reason"], said  # fmt: skip


def test_those_that_depend_on_each_other_are_asked_for_once(hall: Build) -> None:
    here = hall(APP, PGDATA, WEB)
    done = here.drain()
    assert done["ok"] and done["moved"] == ["pgdata", "web", "app"]
    assert here.on() == {"app": ["db2"], "pgdata": ["db2"], "web": ["db2"]}
    assert sorted(here.asked) == [
        "pgdata to db2",
        "web to db2",
    ]  # app went along, and is not asked for to go back
    steps = here.stage.sides["app"].steps
    assert steps.count("release db1") == 1 and steps[-1] == "mount db2"


def test_what_others_depend_on_comes_first_and_strangers_are_apart() -> None:
    three = {"a": replace(APP, name="a", depends_on=("b",)), "b": replace(APP, name="b", depends_on=("c",))}
    known = {**three, "c": replace(PGDATA, name="c"), "z": WEB}
    assert sorted(draining._groups(known, ["a", "c", "z"])) == [["c", "a"], ["z"]]


def test_one_that_does_not_leave_after_all_keeps_no_stranger_there(hall: Build) -> None:
    here = hall(PGDATA, APP, WEB)
    here.stage.fates["release db1"] = ["fails"]  # of app, which leaves first
    said = here.drain()
    assert (said["ok"], said["moved"], said["stays"]) == (False, ["web"], ["app", "pgdata"])
    assert said["resources"]["app"]["reason"] == "it was not tried, because pgdata has not left"
    assert here.on() == {"pgdata": ["db1"], "app": ["db1"], "web": ["db2"]}
    assert words(said)[0] == "db1: NOT DRAINED: app, pgdata did not leave as it should."


def test_what_somebody_else_has_moved_meanwhile_is_left_there(
    hall: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = hall(PGDATA, WEB)
    ask = draining._ask

    def then(app: Any, name: str, target: str) -> Any:
        if name == "pgdata":
            here.run("web", Wish(MoveKind.SWITCHOVER, "db2"))
        return ask(app, name, target)

    monkeypatch.setattr(draining, "_ask", then)
    assert here.drain()["ok"] and here.on() == {"pgdata": ["db2"], "web": ["db2"]}
    assert here.asked == ["web to db2", "pgdata to db2"]


def test_a_node_that_is_slow_to_answer_once_is_asked_again(
    hall: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = hall(PGDATA)
    node, ask = here.stage.sides["pgdata"].guest.nodes["db2"], draining._ask

    def then(app: Any, name: str, target: str) -> Any:
        node.silent = True
        here.stage.ready.append(Ready(lambda: setattr(node, "silent", False), here.stage.clock.now + 1.0))
        return ask(app, name, target)

    monkeypatch.setattr(draining, "_ask", then)
    assert here.drain()["ok"] and here.asked == ["pgdata to db2"] * 2


def test_one_that_is_refused_for_good_is_told(hall: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    here = hall(PGDATA)
    monkeypatch.setattr(draining, "_has_left", lambda *_: here.stage.ask("pgdata", "pause") == "")
    said = here.drain()
    assert said["stays"] == ["pgdata"] and said["resources"]["pgdata"]["rule"] == 510
    assert here.asked == ["pgdata to db2"] * draining.TRIES


def test_a_move_that_takes_one_along_is_waited_for(hall: Build) -> None:
    """The engine has taken the rider over, so that the drain's own run did not bring it to its end."""
    here = hall(PGDATA, APP)
    done = here.run("pgdata", Wish(MoveKind.SWITCHOVER, "db2"))
    assert done.ok
    side = here.stage.sides["app"]
    side.guest.nodes["db2"].mounted, done_before = False, here.stage.journal.state("app").epoch
    here.stage.journal.begin(
        Move(side.resource, MoveKind.SWITCHOVER, "db1", "db2", done_before + 1, "it follows", 571)
    )
    here.asked.clear()
    assert draining._has_left(here.app(), "db1", "app") is True
    assert here.asked == ["look at app"] and here.on()["app"] == ["db2"]


def test_several_leave_at_the_same_time(hall: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "AT_ONCE", 2)
    here, both = hall(PGDATA, WEB), threading.Barrier(2, timeout=20)

    def ask(app: Any, name: str, target: str) -> draining.Way:
        both.wait()
        return draining.Way(True, target, 70, "active on db2")

    monkeypatch.setattr(draining, "_ask", ask)
    assert draining.drain(here.app(), "db1", here.another)["moved"] == ["pgdata", "web"]


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_after_ctrl_c_what_is_under_way_ends_and_nothing_more_is_begun(
    hall: Build, monkeypatch: pytest.MonkeyPatch, end: type[BaseException]
) -> None:
    here, begun, told, ask, cancel = (
        hall(PGDATA, WEB),
        threading.Event(),
        threading.Event(),
        draining._ask,
        Future.cancel,
    )

    def slow(app: Any, name: str, target: str) -> draining.Way:
        begun.set()
        assert told.wait(20)
        return ask(app, name, target)

    def interrupted(_: Any) -> None:
        assert begun.wait(20)
        raise end

    def cancelled(one: Future[Any]) -> bool:
        done = cancel(one)
        told.set() if not done else None
        return done

    monkeypatch.setattr(draining, "_ask", slow)
    monkeypatch.setattr(draining, "wait", interrupted)
    monkeypatch.setattr(Future, "cancel", cancelled)
    said = here.drain()
    assert (said["ok"], said["moved"], said["stays"]) == (False, ["pgdata"], ["web"])
    assert said["resources"]["web"]["reason"] == "it was not tried, because the drain was interrupted"
    assert here.on() == {"pgdata": ["db2"], "web": ["db1"]}


def test_what_a_thread_meets_is_not_lost(hall: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    here = hall(PGDATA)
    monkeypatch.setattr(draining, "_ask", broken)
    with pytest.raises(ZeroDivisionError):
        here.drain()


def test_a_stranger_and_a_master_that_only_watches_are_refused(hall: Build) -> None:
    here = hall(PGDATA)
    with pytest.raises(Refused, match="db7 is not a node of any resource"):
        here.drain("db7")
    app = here.app()
    app.bystander = "mb is the active one"
    with pytest.raises(Refused, match="mb is the active one"):
        draining.drain(app, "db1", here.another, test=True)


# -- the state ------------------------------------------------------------------------------------------------


class Runners:
    """What the state asks the master for."""

    def __init__(self, hall: Hall) -> None:
        self.hall, self.tests = hall, []
        self.states = loaded(__salt__={"saltutil.runner": self.run})

    def run(self, function: str, kwarg: dict[str, Any]) -> dict[str, Any]:
        assert function == "vmdk.drain"
        self.tests.append(kwarg["test"])
        try:
            return self.hall.drain(kwarg["node"], kwarg["test"])
        except FailoverError as err:
            return {"ok": False, "error": err.reason, "code": err.code}

    def call(self, node: str = "db1", test: bool = False, **more: Any) -> dict[str, Any]:
        self.states.__opts__["test"] = test
        said: dict[str, Any] = self.states.drained(node, **more)
        return said


def test_the_state_says_what_it_does_and_does_it_once(hall: Build) -> None:
    state = Runners(hall(PGDATA, WEB))
    moved = {name: {"old": "db1", "new": "db2"} for name in ("pgdata", "web")}
    would = state.call(test=True)
    assert (would["result"], would["changes"]) == (None, moved)
    assert would["comment"] == "would be switched over: pgdata to db2, web to db2"
    done = state.call()
    assert (done["result"], done["changes"]) == (True, moved)
    for test in (True, False):
        again = state.call(test=test)
        assert (again["result"], again["changes"], again["comment"]) == (True, {}, "db1 holds nothing")


def test_the_state_fails_where_one_cannot_leave_and_in_a_dry_run_too(hall: Build) -> None:
    here = hall(PGDATA, WEB)
    here.stage.ask("web", "pause")
    state = Runners(here)
    for test in (True, False):
        said = state.call(test=test)
        assert (said["result"], said["changes"]) == (False, {})
        assert (
            said["comment"]
            == "db1 is not drained: web: paused by an operator; 'salt-run vmdk.resume web' ends it"
        )
    assert state.call("db7")["comment"] == "db7 is not a node of any resource"


def test_the_state_waits_until_all_can_leave_but_not_in_a_dry_run(
    hall: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = hall(PGDATA, WEB)
    here.stage.ask("web", "pause")
    state, slept = Runners(here), []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        here.stage.ask("web", "resume")

    monkeypatch.setattr(state.states.time, "sleep", sleep)
    assert state.call(test=True, wait=60)["result"] is False and slept == []
    assert state.call(wait=60)["result"] is True and len(slept) == 1


@pytest.mark.parametrize("fails", [1, 2])
def test_what_stays_after_all_is_tried_once(hall: Build, fails: int) -> None:
    """A release that fails has stopped the services, and they were started again."""
    here = hall(PGDATA, WEB)
    here.stage.fates["release db1"] = ["fails"] * fails
    state = Runners(here)
    said = state.call(wait=60)
    assert said["result"] is False and len(said["changes"]) == 2 - fails, said
    assert "pgdata: db1 did not release the disk cleanly" in said["comment"]
    assert state.tests == [True, False] and here.asked == ["pgdata to db2", "web to db2"]
