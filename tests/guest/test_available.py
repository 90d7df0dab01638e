"""Services that a node's service manager does not know: asked by a child that nobody waits for, told from a file."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vmdk_failover import signing
from vmdk_failover.errors import ConfigError
from vmdk_failover.guest import available, bonds, places
from vmdk_failover.guest.available import lacking, renew
from vmdk_failover.guest.found_out import AGAIN_S, COUNTS_S
from vmdk_failover.guest.node import LocalNode, Services
from vmdk_failover.model import MountState, NodeFacts, Resource, VolumeGroup

from .conftest import wait_for

PGDATA = Resource("pgdata", (), (), (), services=("pg", "backup"))
HELD, BARE = dataclasses.replace(PGDATA, name="held"), Resource("bare", (), (), ())
KEY = "ab" * 32
WORDS = "the service pg is not known there: install it, or mend its name"


class Manager:
    """A service manager, and the clock of its node; children are carried out at once and counted."""

    def __init__(self, place: Path) -> None:
        self.place, self.now, self.known, self.begun = place, 100.0, {"pg": True, "backup": True}, 0
        self.salt: dict[str, Any] = {"service.available": self.known.__getitem__}

    def ask(self, *resources: Resource, boot: str = "b1") -> tuple[str, ...]:
        renew(resources or (PGDATA,), self.place, boot, self.salt, lambda: self.now, self._leave)
        return self.said(boot)

    def said(self, boot: str = "b1") -> tuple[str, ...]:
        return lacking(PGDATA, self.place, boot, self.now)

    def _leave(self, function: Callable[[], Any]) -> None:
        self.begun += 1
        function()


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    return Manager(tmp_path)


def test_a_service_that_is_not_known_is_told_with_what_to_do(manager: Manager) -> None:
    assert manager.said() == ()
    manager.known["pg"] = False
    assert manager.ask() == (WORDS,)


def test_it_is_asked_once_a_minute_and_told_until_nobody_asks_any_more(manager: Manager) -> None:
    manager.known["pg"] = False
    manager.ask()
    manager.now += AGAIN_S - 1
    manager.known["pg"] = True
    assert (manager.ask(), manager.begun) == ((WORDS,), 1)
    manager.now += 1
    assert (manager.ask(), manager.begun) == ((), 2)
    manager.known["pg"] = False
    manager.now += AGAIN_S
    assert manager.ask() == (WORDS,)
    manager.now += COUNTS_S + 1
    assert manager.said() == ()


@pytest.mark.parametrize("trouble", ["no such function", "raises", "hangs"])
def test_a_question_without_an_answer_says_nothing(
    manager: Manager, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(available, "ASK_S", 0.2)

    def broken(name: str) -> bool:
        if trouble == "raises":
            raise OSError("no bus")
        time.sleep(30)
        return False

    manager.salt = {} if trouble == "no such function" else {"service.available": broken}
    assert manager.ask() == ()
    assert manager.begun == 1


def test_a_child_that_does_not_come_back_is_not_begun_again_at_once(manager: Manager) -> None:
    manager.known["pg"] = False
    manager.ask()
    manager.now += AGAIN_S
    left: list[Any] = []
    for _ in range(3):
        renew([PGDATA], manager.place, "b1", manager.salt, lambda: manager.now, left.append)
    assert len(left) == 1
    assert manager.said() == (WORDS,), "the word before it still counts"


def test_another_boot_or_a_damaged_file_says_nothing(manager: Manager) -> None:
    manager.known["pg"] = False
    assert manager.ask() == (WORDS,)
    assert manager.said("b2") == ()
    for rubbish in (
        "",
        "[]",
        '{"boot_id": "b1", "at": "now", "services": ["pg"]}',
        '{"boot_id": "b1", "at": 99.0}',
    ):
        (manager.place / "pgdata.services").write_text(rubbish)
        assert manager.said() == ()
    assert manager.ask(boot="b2") == (WORDS,) and manager.said("b1") == ()


def test_one_child_asks_for_all_resources(manager: Manager) -> None:
    other = dataclasses.replace(PGDATA, name="web", services=("pg",))
    manager.known["pg"] = False
    assert manager.ask(PGDATA, other) == (WORDS,)
    assert manager.begun == 1
    assert lacking(other, manager.place, "b1", manager.now) == (WORDS,)


def test_where_nothing_can_be_written_nothing_is_said(manager: Manager, tmp_path: Path) -> None:
    manager.place = tmp_path / "nowhere"
    assert manager.ask() == () and manager.begun == 0


# -- in the node's own word -----------------------------------------------------------------------------------


def _word(node: LocalNode, resource: Resource) -> list[str]:
    nonce = signing.new_nonce()
    return list(signing.check_answer(KEY, node.answer(resource, nonce), nonce, "db1")["unready"])


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalNode:
    """A backup of every resource but ``held``, on which no service is known."""

    def facts(of: Resource, **_: Any) -> NodeFacts:
        boot_id = places.read(places.HERE.boot_id) or ""
        here = of.name == "held"
        mounted = MountState.MOUNTED if here else MountState.UNMOUNTED
        return NodeFacts("db1", boot_id, uptime=places.boot_clock(), device=here, mounted=mounted)

    monkeypatch.setattr("vmdk_failover.guest.facts.node_facts", facts)
    return LocalNode("db1", KEY, Services({"service.available": lambda name: False}), tmp_path)


def test_a_backup_says_so_and_nobody_waits_for_the_service_manager(node: LocalNode) -> None:
    began = time.monotonic()
    assert _word(node, PGDATA) == []
    assert time.monotonic() - began < available.ASK_S
    wait_for(lambda: WORDS in _word(node, PGDATA))
    many = node.answers([PGDATA, HELD, BARE], "n")
    assert {name: WORDS in word["unready"] for name, word in many.items()} == {
        "pgdata": True,
        "held": False,
        "bare": False,
    }


def test_what_was_found_out_before_it_got_the_disk_counts_no_more(node: LocalNode) -> None:
    wait_for(lambda: WORDS in _word(node, PGDATA))
    (node.state_dir / "held.services").write_bytes((node.state_dir / "pgdata.services").read_bytes())
    assert _word(node, HELD) == []


def test_who_has_the_disk_is_not_asked(node: LocalNode) -> None:
    assert _word(node, HELD) == [] == _word(node, BARE)
    assert list(node.state_dir.glob("*.services")) == []


def test_what_binds_a_mounted_disk_to_the_node_is_in_its_word(
    node: LocalNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(bonds, "told", lambda of, *_: ("bound",) if of.vgs else ())
    monkeypatch.setattr(bonds, "renew", lambda of, *_: asked.append([one.name for one in of]))
    held = dataclasses.replace(HELD, vgs=(VolumeGroup("pgvg", "u"),), services=())
    apart = dataclasses.replace(held, name="apart")
    said = node.answers([held, apart], "n")
    assert [said[name].get("bound") for name in ("held", "apart")] == [["bound"], []]
    assert asked == [["held"]]


def test_many_resources_take_one_child(node: LocalNode, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[Any] = []
    monkeypatch.setattr(available.renew, "__defaults__", (left.append,))
    node.answers([dataclasses.replace(PGDATA, name=f"r{n}") for n in range(9)], "n")
    assert len(left) == 1


def test_without_a_key_there_is_no_word(node: LocalNode) -> None:
    with pytest.raises(ConfigError, match="no key"):
        dataclasses.replace(node, key="").answer(PGDATA, "n")
