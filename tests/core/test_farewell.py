"""A node's word that it shuts down, on the master: only a true and fresh one counts, and not for ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.core.build import resource, vm
from vmdk_failover import signing
from vmdk_failover.around import BACK_IN
from vmdk_failover.daemon.farewell import OLDER, Farewells
from vmdk_failover.daemon.listening import Ear
from vmdk_failover.model import HypervisorFacts
from vmdk_failover.presence.vicinity import FileVicinity

KEYS = {"db1": "11" * 32, "db2": "22" * 32}
SEEN = HypervisorFacts(True, "", (vm("db1"), vm("db2")))


class Master:
    """The listener's side and the note, with a clock of their own."""

    def __init__(self, place: Path) -> None:
        self.now = 1000.0
        self.hints: list[tuple[str, str]] = []
        self.warnings: list[str] = []
        self.ear = Ear(place, KEYS.__getitem__, lambda *_: None, self.warnings.append, lambda: self.now)
        self.ear.watch({"pgdata": resource()})
        self.vicinity = FileVicinity(place, dict, lambda name: False, lambda: self.now)
        self.farewells = Farewells(
            self.ear, self.vicinity.leaves, lambda name, node: self.hints.append((name, node))
        )

    def leaving(self) -> dict[str, str]:
        return dict(self.vicinity.look(resource(), SEEN).leaving)


@pytest.fixture
def master(tmp_path: Path) -> Master:
    return Master(tmp_path)


def said(purpose: str = signing.LEAVING, key: str = KEYS["db1"], **changes: Any) -> dict[str, Any]:
    """A word of db1."""
    body = {"minion": "db1", "boot_id": "boot", "seq": 50_000, "uptime": 50.0, "address": "", "version": "1"}
    return signing.sign_heartbeat(key, {**body, **changes}, purpose)


def test_a_true_word_is_noted_and_every_resource_of_the_node_is_looked_at(master: Master) -> None:
    master.farewells.take(said())
    assert master.leaving() == {"db1": "boot"}
    assert master.hints == [("pgdata", "db1")]


@pytest.mark.parametrize(
    "word",
    [
        said(key=KEYS["db2"]),
        said(signing.ALIVE),
        {**said(), "minion": "db2"},
        {**said(), "signature": ""},
        said(minion="web1"),
        "leaving",
        None,
        {},
    ],
    ids=str,
)
def test_anything_else_is_ignored(master: Master, word: Any) -> None:
    master.farewells.take(word)
    assert (master.leaving(), master.hints) == ({}, [])
    assert len(master.warnings) == 1


def test_a_heartbeat_is_no_farewell_and_a_farewell_no_heartbeat(master: Master) -> None:
    master.ear.hear(said())
    assert master.ear.known.nodes == {}


@pytest.mark.parametrize("replayed", [{"boot_id": "before"}, {"seq": 50_000 - OLDER - 1}], ids=str)
def test_an_old_word_does_not_count_again(master: Master, replayed: dict[str, Any]) -> None:
    master.ear.hear(said(signing.ALIVE))
    master.farewells.take(said(**replayed))
    assert (master.leaving(), master.hints) == ({}, [])


def test_one_that_overtook_a_heartbeat_counts(master: Master) -> None:
    master.ear.hear(said(signing.ALIVE))
    master.farewells.take(said(seq=49_500))
    assert master.leaving() == {"db1": "boot"}


def test_it_lasts_for_three_minutes(master: Master) -> None:
    master.farewells.take(said())
    master.now += BACK_IN - 0.1
    assert master.leaving() == {"db1": "boot"}
    master.now += 0.2
    assert master.leaving() == {}


def test_a_note_that_cannot_be_written_is_no_reason_to_stop_listening(master: Master, tmp_path: Path) -> None:
    (tmp_path / "leaving").write_text("in the way", encoding="utf-8")
    master.farewells.take(said())
    assert master.leaving() == {} and master.hints == [("pgdata", "db1")]
