"""Where the disk was last for certain: what is remembered of it, by whom it is forgotten, and what follows from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.core.build import EPOCH, THERE, active, came_to, gone, look, move, resource, says, vm
from tests.core.test_claims import Site as Masters
from tests.core.test_engine import FORCE, SWITCH, Site
from tests.core.test_hosts import say_off
from tests.doubles.journal import MemoryJournal
from vmdk_failover.journal import RECENT, FileJournal
from vmdk_failover.judgement import homes, rules, standing
from vmdk_failover.judgement.homes import GIVEN, HAD
from vmdk_failover.model import Condition, Move, MoveKind, Power, Result, StepKind, VmFacts

DB1, AT_4 = {"node": "db1", "epoch": 0}, {"node": "db3", "epoch": 4}


def ended(target: str, epoch: int, ok: bool = False, **more: Any) -> dict[str, Any]:
    return {"target": target, "epoch": epoch, "ok": ok, **more}


@pytest.mark.parametrize(
    ("recent", "home", "expected"),
    [
        ([], None, {}),
        ([], DB1, {"db1": HAD}),
        ([ended("db2", 1, True)], None, {"db2": HAD}),  # a journal of before
        ([ended("db2", 1, True)], DB1, {"db2": HAD}),
        ([ended("db2", 4, True)], AT_4, {"db3": HAD}),  # it was moved by hand after that move
        ([ended("db2", 5, True)], AT_4, {"db2": HAD}),
        ([ended("db2", 5)], AT_4, {"db3": HAD}),
        ([ended("db2", 5, given=True)], AT_4, {"db2": GIVEN, "db3": HAD}),
        ([ended("db2", 5, given=True, taken=["db3"])], AT_4, {"db2": GIVEN}),
        ([ended("db2", 5, taken=["db3"])], AT_4, {}),
        ([ended("db3", 3, True), ended("db2", 5, taken=["db3"])], None, {}),
        ([ended("db2", 5, given=True), ended("db1", 6, taken=["db2"])], AT_4, {"db3": HAD}),
        ([ended("db2", 5, taken=["db1"]), ended("db1", 6, given=True)], DB1, {"db1": GIVEN}),
        ([ended("db2", 3, given=True)], AT_4, {"db3": HAD}),
        ([ended("db2", 3, True, forgotten=True)], None, {}),
        ([ended("db2", 3, True, forgotten=True)], AT_4, {"db3": HAD}),  # seen since somebody cleared
        ([ended("db2", 5, True, forgotten=True)], None, {}),
        ([ended("", 5, True)], AT_4, {}),  # another master's, whose name did not fit
    ],
)
def test_what_is_known_of_it(recent: Any, home: Any, expected: dict[str, str]) -> None:
    assert homes.known(recent, home) == expected
    assert list(homes.known(recent, home)) == list(expected)


WELL = (vm("db1", THERE), active("db1"))
FREE = (vm("db2"), says("db2"))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (WELL, FREE, "db1"),
        (
            (WELL[0], active("db1", condition=Condition.IO_ERROR)),
            FREE,
            "db1",
        ),  # not well, and there all the same
        (WELL, (vm("db2", THERE, power=Power.OFF), None), "db1"),
        ((WELL[0], None), FREE, ""),
        ((WELL[0], says("db1")), FREE, ""),
        ((vm("db1", THERE, connected=False), active("db1")), FREE, ""),
        ((vm("db1", THERE, power=Power.UNKNOWN), active("db1")), FREE, ""),
        ((vm("db1", THERE, power=Power.OFF), None), FREE, ""),
        ((vm("db1"), active("db1")), FREE, ""),
        (WELL, (vm("db2", THERE), says("db2")), ""),
        ((vm("db1"), says("db1")), FREE, ""),
    ],
)
def test_what_is_certain(first: Any, second: Any, expected: str) -> None:
    assert homes.sighted(look(resource(), (first[0], second[0]), (first[1], second[1]))) == expected
    assert homes.sighted(look(resource(), (first[0], second[0]), (first[1], second[1]), readable=False)) == ""


def test_it_is_written_down_when_it_changes_and_not_after_a_move_that_is_under_way() -> None:
    assert homes.changed("db1", [], None) == {"node": "db1", "epoch": 0}
    assert homes.changed("", [], None) is None
    assert homes.changed("db1", [], DB1) is None
    assert homes.changed("db2", [ended("db2", 5, True)], DB1) is None
    assert homes.changed("db1", [ended("db2", 5, True)], DB1) == {"node": "db1", "epoch": 5}
    assert homes.changed("db1", [ended("db2", 5, given=True)], DB1) == {"node": "db1", "epoch": 5}
    assert homes.changed("db1", [ended("db1", 5, True, forgotten=True)], None) == {"node": "db1", "epoch": 5}


@pytest.mark.parametrize(
    ("first", "home", "expected"),
    [
        ((WELL[0], None), None, {"node": "db1", "epoch": 0}),
        ((vm("db1", THERE, power=Power.OFF), None), None, {"node": "db1", "epoch": 0}),
        (
            (WELL[0], None),
            {"node": "db2", "epoch": 0},
            None,
        ),  # a list of a vCenter that was just restored, perhaps
        ((vm("db1", THERE, connected=False), None), None, None),
        ((vm("db1", THERE, power=Power.UNKNOWN), None), None, None),
        ((vm("db1"), says("db1")), None, None),
        (WELL, {"node": "db2", "epoch": 0}, {"node": "db1", "epoch": 0}),
    ],
)
def test_a_list_alone_is_better_than_no_memory_and_replaces_none(
    first: Any, home: Any, expected: Any
) -> None:
    assert homes.news(look(resource(), (first[0], FREE[0]), (first[1], FREE[1])), [], home) == expected
    assert homes.news(look(resource(), (first[0], FREE[0]), readable=False), [], home) is None


ATTACHED, DETACHED = (
    came_to(StepKind.ATTACH, "db2", Result.DONE),
    came_to(StepKind.DETACH, "db1", Result.DONE),
)


@pytest.mark.parametrize(
    ("target", "outcomes", "expected"),
    [
        (vm("db2"), (), (False, [])),
        (vm("db2", THERE), ATTACHED, (True, [])),
        (vm("db2", connected=False), ATTACHED, (True, [])),
        (gone("db2"), ATTACHED, (True, [])),  # who is not seen is not deleted
        (vm("db2", connected=False), came_to(StepKind.ATTACH, "db2", Result.UNKNOWN), (True, [])),
        (vm("db2", connected=False), came_to(StepKind.ATTACH, "db2"), (False, [])),
        (vm("db2"), (*DETACHED, *ATTACHED), (False, ["db1"])),  # it is seen to be without it
        (vm("db2"), came_to(StepKind.DETACH, "db1", Result.UNKNOWN), (False, [])),
    ],
)
def test_what_a_move_says_of_it_when_it_ends(target: VmFacts, outcomes: Any, expected: Any) -> None:
    seen = look(resource(), (vm("db1"), target), ())
    assert homes.left(move(resource()), seen, outcomes) == dict(
        zip(("given", "taken"), expected, strict=True)
    )


# -- the engine and its journal -------------------------------------------------------------------------------


class Writes(MemoryJournal):
    """:ivar count: how often it was written."""

    count = 0

    def write(self, resource: str, text: str) -> None:
        self.count += 1
        super().write(resource, text)


@pytest.fixture
def site() -> Site:
    site = Site(3)
    site.journal = Writes()
    return site


def restore_vcenter(site: Site) -> None:
    """From a backup of a time when db1 had no disk; db1 runs on with it, and its host has not reconnected."""
    site.db1.vm.disks.clear()
    site.db1.vm.connected, site.db1.cut = False, True


def test_a_disk_that_has_never_moved_is_not_taken_for_free_after_vcenter_was_restored(site: Site) -> None:
    site.run()
    restore_vcenter(site)
    assert site.run() == ("held", 792)
    assert site.acts() == []
    seen, record = site.engine().look(site.resource)
    told = standing.of(seen, record, site.clock.wall())
    assert (told["state"], told["rule"]) == ("held", 792)
    assert "db1 was the last to have it, and what vCenter says of db1 is not current" in told["reason"]
    for wish in (SWITCH, FORCE):
        assert site.run(wish)[0] == "refused"
    assert site.acts() == []


def test_it_is_written_once_and_holds_nothing_back_that_is_known(site: Site) -> None:
    for _ in range(3):
        assert site.run() == ("nothing", 600)
    assert isinstance(site.journal, Writes) and site.journal.count == 1
    assert site.run(SWITCH) == ("done", 70)
    before = site.journal.count
    assert [site.run() for _ in range(3)] == [("nothing", 600)] * 3
    assert site.journal.count == before
    site.db2.vm.disks.clear()
    site.db2.mounted = False
    assert site.run() == ("done", 70), "its current word says that it has it no more"


@pytest.mark.parametrize("way", ["clear", "reconnect", "confirm_off"])
def test_there_are_ways_out(site: Site, way: str) -> None:
    site.run()
    restore_vcenter(site)
    assert site.run() == ("held", 792)
    if way == "clear":
        site.journal.clear("pgdata", site.clock.wall())
    elif way == "reconnect":
        site.db1.vm.connected, site.db1.cut, site.db1.mounted = True, False, False
    else:
        say_off(site)
        site.clock.now += 30.0
    assert site.run() == ("done", 70), site.told[-1]


def test_what_was_moved_by_hand_is_seen_there_even_in_maintenance(site: Site) -> None:
    site.run(SWITCH)
    site.journal.pause("pgdata", {"by": "me"})
    site.db2.vm.disks.clear()
    site.db2.mounted = False
    site.db1.vm.plug(site.resource.disks[0])
    site.db1.mounted = True
    assert site.run() == ("held", 510)
    site.journal.pause("pgdata", None)
    restore_vcenter(site)
    assert site.run() == ("held", 792)


def test_what_is_seen_after_a_clear_is_remembered_again(site: Site) -> None:
    site.run(SWITCH)
    site.run(SWITCH)
    site.journal.clear("pgdata", site.clock.wall())
    state = site.journal.state("pgdata")
    assert homes.known(state.recent, state.home) == {}
    site.run()
    restore_vcenter(site)
    assert site.run() == ("held", 792)


def test_a_move_that_failed_after_it_gave_the_disk_away_leaves_its_target_in_doubt(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """db2 has the disk and has not mounted it when its host is lost to a vCenter that knows nothing of that."""
    site.run()
    monkeypatch.setattr(site.guest, "mount", lambda move, facts: came_to(StepKind.MOUNT, move.target)[0])
    site.run(SWITCH)
    ends = site.journal.state("pgdata").recent
    assert [(m["target"], m["given"], m["taken"]) for m in ends[:2]] == [
        ("db2", True, ["db1"]),
        ("db1", True, ["db2"]),
    ]
    assert homes.known(ends, site.journal.state("pgdata").home) == {"db3": GIVEN}, (
        "it was taken from all others"
    )
    db3 = site.guest.nodes["db3"]
    db3.vm.disks.clear()
    db3.vm.connected, db3.cut = False, True
    assert site.run() == ("held", 792)
    assert "db3 was to get it in a move that failed, and what vCenter says of db3" in site.told[-1]["reason"]


def test_the_file_does_not_grow_and_old_tries_do_not_push_it_out(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    of = Move(resource(), MoveKind.START, "", "db2", 1, "a test")
    journal.begin(of)
    journal.finish("pgdata", ended("db2", 1, True))
    for epoch in range(2, RECENT + 10):
        journal.begin(replace(of, epoch=epoch))
        journal.finish("pgdata", ended("db3", epoch))
    state = FileJournal(tmp_path).state("pgdata")
    assert homes.known(state.recent, state.home) == {"db2": HAD}
    journal.clear("pgdata", 1.0)
    assert FileJournal(tmp_path).state("pgdata").home is None


def test_it_survives_the_master_and_adopt_takes_what_is_seen(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    journal.sight("pgdata", DB1)
    assert FileJournal(tmp_path).state("pgdata").home == DB1
    journal.adopt("pgdata", 9, {"active": "db2"})
    assert FileJournal(tmp_path).state("pgdata").home == {"node": "db2", "epoch": 9}
    journal.adopt("pgdata", 12, {"active": ""})
    assert FileJournal(tmp_path).state("pgdata").home is None


# -- several masters ------------------------------------------------------------------------------------------


@pytest.fixture
def masters(tmp_path: Path) -> Masters:
    return Masters(tmp_path)


def memory(journal: FileJournal) -> dict[str, str]:
    state = journal.state("pgdata")
    return homes.known(state.recent, state.home)


def test_who_clears_means_every_masters_memory(masters: Masters) -> None:
    ma, mb = masters.journal("ma"), masters.journal("mb")
    for one in (ma, mb):
        one.state("pgdata")
        one.sight("pgdata", DB1)
    for clears in (ma, mb):
        clears.clear("pgdata", 1.0)
        assert memory(ma) == memory(mb) == {}, "nothing has moved that could be forgotten instead"
        mb.sight("pgdata", DB1)
        assert (memory(ma), memory(mb)) == ({}, {"db1": HAD})
    mb.adopt("pgdata", 3, {"active": "db3"})
    assert memory(ma) == {}
    ma.sight("pgdata", DB1)
    assert (memory(ma), memory(mb)) == ({"db1": HAD}, {"db3": HAD})


def test_adopt_on_one_ends_the_memory_of_the_other(masters: Masters) -> None:
    ma, mb = masters.journal("ma"), masters.journal("mb")
    mb.state("pgdata")
    mb.sight("pgdata", DB1)
    ma.adopt("pgdata", 1, {"active": "db2"})
    assert (memory(ma), memory(mb)) == ({"db2": HAD}, {})


def test_a_look_in_the_midst_of_another_masters_move_is_older_than_its_end(masters: Masters) -> None:
    ma, mb = masters.journal("ma"), masters.journal("mb")
    ma.state("pgdata")
    ma.begin(Move(resource(), MoveKind.FAILOVER, "db1", "db2", 1, "a test"))
    record = mb.state("pgdata")
    fresh = homes.changed("db1", record.recent, record.home)
    assert record.epoch == 1 and fresh is not None
    mb.sight("pgdata", fresh)
    ma.finish("pgdata", ended("db2", 1, True, ended=1.0))
    assert memory(ma) == memory(mb) == {"db2": HAD}


@pytest.mark.parametrize("given", [True, False])
def test_another_master_hears_that_the_target_of_a_failed_move_may_have_it(
    masters: Masters, given: bool
) -> None:
    ma, mb = masters.journal("ma"), masters.journal("mb")
    mb.state("pgdata")
    mb.sight("pgdata", DB1)
    ma.state("pgdata")
    ma.begin(Move(resource(), MoveKind.FAILOVER, "db1", "db2", 1, "a test"))
    ma.finish("pgdata", ended("db2", 1, given=given, ended=1.0))
    assert memory(mb) == ({"db2": GIVEN, "db1": HAD} if given else {"db1": HAD})


# -- the tables -----------------------------------------------------------------------------------------------


def test_a_start_whose_last_home_is_not_to_be_seen_any_more_goes_no_further() -> None:
    seen = look(resource(3), (gone("db1"), vm("db2"), vm("db3")), (None, says("db2"), says("db3")))
    begun = move(resource(3), MoveKind.START, "")
    for last, rule in (
        ({"db1": HAD}, 195),
        ({"db3": GIVEN, "db1": HAD}, 195),
        ({"db3": HAD}, 200),
        ({}, 200),
    ):
        assert rules.next_verdict(rules.Case(begun, seen, (), EPOCH, last=last)).rule == rule
    held = rules.next_verdict(rules.Case(begun, seen, (), EPOCH, last={"db1": HAD}))
    assert held.reason.startswith("db1 was the last to have it, and its VM is not to be seen in vCenter")
    said = rules.Case(begun, seen, (), EPOCH, missing_ok=("db1",), last={"db1": HAD})
    assert rules.next_verdict(said).rule == 200
