"""Many resources at one glance, on the lab's vCenter: the same answers as one by one, and what may spoil them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.hypervisor import Vcenter
from tests.vsphere.test_adopt import Nodes, Site
from tests.vsphere.world import DISK, SECOND, resource
from vmdk_failover import signing
from vmdk_failover.around import Flaws
from vmdk_failover.commands import draining, operate, powering
from vmdk_failover.errors import ConfigError, FailoverError, Refused
from vmdk_failover.judgement import config
from vmdk_failover.model import Move, MoveKind, Resource, to_plain


class Many(Nodes):
    """Nodes that answer questions about several resources; ``known`` is what their pillar has."""

    def __init__(self, known: Mapping[str, Resource]) -> None:
        super().__init__()
        self.known = dict(known)
        self.asked: list[str] = []
        self.spoil: dict[str, Any] = {}

    def ask(
        self, minions: Sequence[str], function: str, kwargs: Mapping[str, Any], wait: float, sure: Any
    ) -> Mapping[str, Any]:
        self.asked.append(function)
        if function != "vmdk.all_facts":
            return super().ask(minions, function, kwargs, wait, sure)
        found = {m: self._answers(m, kwargs) for m in minions if m in self.words}
        return {**found, **self.spoil}

    def _answers(self, minion: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        names = [name for name in kwargs["names"] if name in self.known]
        word = to_plain(self.words[minion])
        marks = {name: signing.part_of(kwargs["nonce"], self.known[name]) for name in names}
        return {name: signing.sign_answer(self.keys[minion], word, mark) for name, mark in marks.items()}


class Two(Site):
    """Two resources on the same nodes, both active on db1."""

    def __init__(self, vcenter: Vcenter, place: Path) -> None:
        super().__init__(vcenter, place)
        web = replace(
            resource(SECOND),
            name="web",
            mounts=(replace(resource(DISK).mounts[0], mountpoint="/srv/w", fs_uuid="0" * 8),),
        )
        (place / "vmdk.d/web.yaml").write_text(yaml.safe_dump(config.to_body(web)))
        many = Many(self.app().settings.resources)
        many.keys = self.nodes.keys
        self.nodes = self.many = many

    def both(self) -> dict[str, Any]:
        found: dict[str, Any] = operate.status(self.app())["resources"]
        return found


@pytest.fixture
def two(vcenter: Vcenter, tmp_path: Path) -> Iterator[Two]:
    here = Two(vcenter, tmp_path)
    yield here
    here.close()


def test_it_says_the_same_as_one_by_one_with_one_question(two: Two) -> None:
    together = two.both()
    assert two.many.asked == ["vmdk.all_facts"]
    assert together == {
        name: operate.status(two.app(), name)["resources"][name] for name in ("pgdata", "web")
    }
    assert together["pgdata"]["state"] == "active" and together["web"]["nodes"]["db2"]["ready"]


def test_what_is_wrong_with_one_is_its_own(two: Two) -> None:
    (two.place / "vmdk.d/pgdata.yaml").write_text("nodes: [")
    (two.place / "state/journal").mkdir(parents=True, exist_ok=True)
    (two.place / "state/journal/web.json").write_text("rubbish")
    found = two.both()
    assert found["pgdata"]["state"] == "active" and found["pgdata"]["configuration"] == "last good"
    assert found["web"]["state"] == "unknown" and "damaged" in found["web"]["reason"]


def test_a_resource_that_is_not_there_is_an_error_and_not_a_state(two: Two) -> None:
    with pytest.raises(ConfigError, match="no resource called 'pgdatta'; known are: "):
        operate.status(two.app(), "pgdatta")


def test_a_node_with_an_older_pillar_is_asked_apart(two: Two) -> None:
    two.many.known["web"] = replace(two.many.known["web"], hang_timeout=99.0)
    found = two.both()
    assert found["web"]["state"] == "active" and two.many.asked == ["vmdk.all_facts", "vmdk.facts"]


@pytest.mark.parametrize(
    "spoil", [None, "x", [], {"pgdata": None}, {"pgdata": {"minion": "db1"}}, {"other": 1}, 5]
)
def test_rubbish_and_forged_answers_are_no_answers(two: Two, spoil: Any) -> None:
    two.many.spoil = {"db1": spoil, "stranger": {}}
    assert two.both() == operate.status(two.app())["resources"]
    del two.many.words["db1"]
    assert two.both()["pgdata"]["active"] == ""


def test_an_answer_to_another_question_does_not_count(two: Two) -> None:
    two.both()
    old = two.many._answers("db1", {"names": ["pgdata", "web"], "nonce": "old"})
    two.many.spoil = {"db1": old}
    del two.many.words["db1"]
    assert two.both()["pgdata"]["active"] == ""


def test_an_open_move_is_looked_at_as_it_began(two: Two) -> None:
    frozen = replace(two.app().resource("pgdata"), hang_timeout=3.0)
    two.app().journal.begin(Move(frozen, MoveKind.FAILOVER, "db1", "db2", 1, "once"))
    found = two.both()
    assert (found["pgdata"]["state"], found["web"]["state"]) == ("moving", "active")


def test_without_vcenter_it_does_not_take_longer_for_many(two: Two) -> None:
    two.vcenter.net("503")
    began = time.monotonic()
    try:
        found = two.both()
    finally:
        two.vcenter.net("")
    assert all("vCenter" in one["reason"] for one in found.values())
    assert time.monotonic() - began < 9  # one wait for vCenter, not one for each


# -- power-off ----------------------------------------------------------------------------------------------------


def test_an_idle_node_is_powered_off_and_that_is_read_back(two: Two) -> None:
    assert powering.power_off(two.app(), "db2", test=True) == {"node": "db2", "off": False, "changed": True}
    assert two.vcenter.vm("db2-vm")["power"] == "poweredOn"
    assert powering.power_off(two.app(), "db2") == {"node": "db2", "off": True, "changed": True}
    assert two.vcenter.vm("db2-vm")["power"] == "poweredOff"
    assert powering.power_off(two.app(), "db2") == {"node": "db2", "off": True, "changed": False}


@pytest.mark.parametrize(("node", "words"), [("db1", "has the disk of"), ("dbx", "not a node")])
def test_who_must_not_be_powered_off_stays_on(two: Two, node: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        powering.power_off(two.app(), node)
    assert two.vcenter.vm("db1-vm")["power"] == "poweredOn"


def test_nobody_is_powered_off_in_mid_move_or_unseen(two: Two) -> None:
    two.vcenter.net("503")
    try:
        with pytest.raises(FailoverError, match="cannot be seen"):
            powering.power_off(two.app(), "db2")
    finally:
        two.vcenter.net("")
    two.app().journal.begin(Move(two.app().resource("web"), MoveKind.FAILOVER, "db1", "db2", 1, "once"))
    with pytest.raises(Refused, match="a move of web is open"):
        powering.power_off(two.app(), "db2")
    assert two.vcenter.vm("db2-vm")["power"] == "poweredOn"


def test_a_lock_that_is_held_keeps_it_on(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(powering, "WISH_WAIT", 0.1)
    with two.app().lock.resource("web", "switchover"), pytest.raises(FailoverError):
        powering.power_off(two.app(), "db2")
    assert two.vcenter.vm("db2-vm")["power"] == "poweredOn"


# -- a node is drained ----------------------------------------------------------------------------------------------


def drained(two: Two, node: str, test: bool = False) -> dict[str, Any]:
    return draining.drain(two.app(), node, lambda: contextlib.nullcontext(two.app()), test)


def test_what_would_leave_is_seen_at_one_glance(two: Two) -> None:
    said = drained(two, "db1", test=True)
    assert (said["ok"], said["moved"], said["test"]) == (True, ["pgdata", "web"], True), said
    assert {way["target"] for way in said["resources"].values()} == {"db2"}
    assert two.many.asked == ["vmdk.all_facts"]
    assert drained(two, "db2")["resources"] == {}


def test_nothing_leaves_where_it_is_not_known_who_has_what(two: Two) -> None:
    two.vcenter.net("503")
    try:
        said = drained(two, "db2")
    finally:
        two.vcenter.net("")
    assert (said["ok"], said["moved"], said["stays"]) == (False, [], ["pgdata", "web"])
    assert all("vCenter cannot be read" in way["reason"] for way in said["resources"].values())


def test_the_best_backup_of_one_that_is_not_ready_keeps_all_there(two: Two) -> None:
    two.app().vicinity.find("web", {"db2": Flaws(two.vcenter.vm("db2-vm")["host"], ("a tool is missing",))})
    said = drained(two, "db1")
    assert [said["resources"][name]["ok"] for name in ("pgdata", "web")] == [True, False]
    assert "a tool is missing" in said["resources"]["web"]["reason"] and said["moved"] == []
