"""Checks of nodes on the lab's vCenter: what they find is a note that looks read, and costs a move nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.hypervisor import Vcenter
from tests.core.build import active
from tests.vsphere.test_adopt import Site
from tests.vsphere.world import DISK, USER, inventory, resource, vm
from vmdk_failover import app
from vmdk_failover.app import App
from vmdk_failover.commands import operate
from vmdk_failover.daemon import fitness
from vmdk_failover.daemon.fitness import AGAIN, BATCH, EVERY, Checks
from vmdk_failover.model import Condition

TAKE = "VirtualMachine.Config.AddExistingDisk"


class Master(Site):
    """A master; its checks live in one process and have a clock of their own."""

    def __init__(self, vcenter: Vcenter, place: Path) -> None:
        super().__init__(vcenter, place)
        self.checks, self.now, self.warned = Checks(), 1000.0, list[str]()
        self.checker = App({"id": "ma", "vmdk": self.section}, self.nodes, warn=self.warned.append)
        self.apps.append(self.checker)

    def check(self, later: float = 0.0) -> int:
        """The turn of so many seconds later; returns how often vCenter was called."""
        self.now += later
        before = self.checker.session.calls
        self.checker.__dict__.pop("settings", None)
        self.checks.turn(self.checker, self.now)
        return int(self.checker.session.calls - before)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = operate.status(self.app(), "pgdata")["resources"]["pgdata"]
        return found

    def why_not(self, minion: str = "db2") -> str:
        return "; ".join(self.status()["nodes"][minion]["why_not"])


@pytest.fixture
def bare(program: Path) -> Iterator[Vcenter]:
    """The VM of db2 lacks disk.EnableUUID."""
    with Vcenter(inventory(vms=[vm(0), vm(1, enable_uuid=False)]), binary=program) as running:
        yield running


@pytest.fixture
def master(vcenter: Vcenter, tmp_path: Path) -> Iterator[Master]:
    here = Master(vcenter, tmp_path)
    yield here
    here.close()


def test_where_all_is_well_nothing_is_noted_and_seldom_asked(master: Master) -> None:
    assert master.check() > 0
    assert (master.why_not(), master.status()["protected"]) == ("", True)
    assert not (master.place / "state/flaws").exists()
    assert [master.check(10), master.check(EVERY - 11)] == [0, 0]
    assert 0 < master.check(1) <= 5


def test_a_backup_without_enable_uuid_is_not_ready_and_nobody_is_fenced_for_it(
    bare: Vcenter, tmp_path: Path
) -> None:
    master = Master(bare, tmp_path)
    try:
        assert (master.why_not(), master.status()["protected"]) == ("", True), "not checked yet"
        master.check()
        words = "disk.EnableUUID is not TRUE on VM db2-vm: set it and restart the VM"
        assert master.why_not() == words
        assert master.status()["not_protected_because"] == [f"no other node can take it (db2: {words})"]
        master.nodes.words["db1"] = active("db1", device=True, condition=Condition.HUNG)
        held = operate.recover(master.app(), "pgdata")
        assert (held["result"], held["rule"], words in held["reason"]) == ("held", 670, True)
        assert master.why_not("db1") == "", "who has the disk needs not take it"
    finally:
        master.close()


def test_a_flaw_is_looked_at_again_soon_and_ends_when_it_is_mended(master: Master) -> None:
    master.vcenter.deny(USER, TAKE)
    master.check()
    assert f"lacks {TAKE} on the VM of db2" in master.why_not()
    assert master.check(AGAIN - 1) == 0
    master.vcenter.deny(USER)
    assert "lacks" in master.why_not()
    assert master.check(1) > 0
    assert master.why_not() == ""


def test_an_unreadable_vcenter_adds_nothing(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "READ_S", 0.5)
    master.vcenter.deny(USER, TAKE)
    master.check()
    master.vcenter.net("503")
    master.check(AGAIN)
    master.vcenter.net("")
    assert "lacks" in master.why_not(), "the note is as old as it is"
    master.vcenter.deny(USER)
    master.check(AGAIN)
    assert master.why_not() == ""


def test_a_note_that_cannot_be_written_ends_no_checks(master: Master) -> None:
    master.vcenter.deny(USER, TAKE)
    (master.place / "state/flaws").parent.mkdir(exist_ok=True)
    (master.place / "state/flaws").write_text("no folder")
    master.check()
    master.check(AGAIN)
    assert len(master.warned) == 1 and "not checked" in master.warned[0]


def test_many_resources_take_turns(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    of = {f"r{number}": replace(resource(DISK), name=f"r{number}") for number in range(BATCH + 5)}
    master.checker.__dict__["settings"] = replace(master.checker.settings, resources=of)
    asked: list[str] = []

    def find(app: App, resources: dict[str, Any]) -> dict[str, Any]:
        asked.extend(resources)
        assert len(resources) <= BATCH
        return {name: {} for name in resources}

    monkeypatch.setattr(fitness, "_find", find)
    for number in range(3):
        master.checks.turn(master.checker, master.now + 5 * number)
    assert sorted(asked) == sorted(of)


def test_without_a_vcenter_nothing_is_checked(master: Master) -> None:
    without = {"id": "ma", "vmdk": {**master.section, "vcenter": {}}}
    Checks().turn(App(without, master.nodes, warn=master.warned.append), 0.0)
    assert master.warned == []


class Ended(BaseException):
    """The process is ended."""


def test_it_goes_on_with_the_configuration_as_it_is(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[set[str]] = []

    def sleep(seconds: float) -> None:
        rounds.append(set(os.listdir(master.place / "vmdk.d")))
        if len(rounds) == 2:
            master.vcenter.deny(USER, TAKE)
            (master.place / "vmdk.d/pgdata.yaml").rename(master.place / "vmdk.d/other.yaml")
        if len(rounds) == 4:
            raise Ended

    monkeypatch.setattr("vmdk_failover.daemon.fitness.time.sleep", sleep)
    with pytest.raises(Ended):
        fitness.check_for_ever(master.checker)
    assert os.listdir(master.place / "state/flaws") == ["other.json"]
