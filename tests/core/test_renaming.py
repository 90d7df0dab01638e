"""A minion that got another id: only the node that has the recorded one's key can say so, and only for as long as it lives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.core.build import resource, vm
from tests.core.test_farewell import KEYS
from vmdk_failover import signing
from vmdk_failover.daemon.listening import Ear
from vmdk_failover.daemon.renaming import LONGEST, Renames
from vmdk_failover.model import HypervisorFacts
from vmdk_failover.presence.vicinity import RENAMED, FileVicinity

SEEN = HypervisorFacts(True, "", (vm("db1"), vm("db2")))


class Master:
    """The listener's side and the note, with a clock of their own; db1 was heard until a moment ago."""

    def __init__(self, place: Path) -> None:
        self.now = 1000.0
        self.warnings: list[str] = []
        self.ear = Ear(place, KEYS.__getitem__, lambda *_: None, self.warnings.append, lambda: self.now)
        self.ear.watch({"pgdata": resource()})
        self.vicinity = FileVicinity(place, dict, lambda name: False, lambda: self.now)
        self.renames = Renames(self.ear, self.vicinity.renames)
        self.ear.hear(said(signing.ALIVE, seq=40_000))

    def renamed(self) -> dict[str, str]:
        return dict(self.vicinity.look(resource(), SEEN).renamed)


@pytest.fixture
def master(tmp_path: Path) -> Master:
    return Master(tmp_path)


def said(purpose: str = signing.RENAMED, key: str = KEYS["db1"], **changes: Any) -> dict[str, Any]:
    """A word of db1, whose minion is db1-new by now."""
    body = {"minion": "db1", "boot_id": "boot", "seq": 50_000, "uptime": 50.0, "address": "db1-new"}
    return signing.sign_heartbeat(key, {**body, "version": "1", **changes}, purpose)


def test_a_true_word_is_noted_for_some_seconds(master: Master) -> None:
    master.renames.take(said())
    assert master.renamed() == {"db1": "db1-new"}
    master.now += RENAMED - 0.1
    assert master.renamed() == {"db1": "db1-new"}
    master.now += 0.2
    assert master.renamed() == {}


@pytest.mark.parametrize(
    "word",
    [
        said(key=KEYS["db2"]),
        said(signing.ALIVE),
        said(signing.LEAVING),
        {**said(), "address": "db9"},
        {**said(), "signature": ""},
        said(boot_id="before"),
        said(seq=40_000),
        "renamed",
        None,
        {},
    ],
    ids=str,
)
def test_nobody_else_keeps_a_node_from_being_failed_over(master: Master, word: Any) -> None:
    master.renames.take(word)
    assert master.renamed() == {}


def test_a_word_is_not_played_again(master: Master) -> None:
    first = said()
    master.renames.take(first)
    master.now += RENAMED + 1
    master.renames.take(first)
    assert master.renamed() == {}
    master.renames.take(said(seq=55_000))
    assert master.renamed() == {"db1": "db1-new"}
    master.now += RENAMED + 1
    master.ear.hear(said(signing.ALIVE, seq=70_000))  # it has its id back
    master.renames.take(said(seq=60_000))
    assert master.renamed() == {}


def test_a_node_that_was_never_heard_has_no_boot_to_speak_of(tmp_path: Path) -> None:
    master = Master(tmp_path)
    master.ear.known.nodes.clear()  # type: ignore[attr-defined]
    master.renames.take(said())
    assert master.renamed() == {}


def test_a_node_that_was_given_up_under_its_old_id_is_nobodys_trouble(master: Master) -> None:
    master.ear.watch({})
    for _ in range(3):
        master.renames.take(said())
    assert (master.renamed(), master.warnings) == ({}, [])


def test_an_id_is_told_as_people_can_read_it(master: Master) -> None:
    master.renames.take(said(address="db1\n\x1b[31m" + "x" * 200))
    (shown,) = master.renamed().values()
    assert shown.isprintable() and len(shown) == LONGEST


def test_a_note_that_cannot_be_written_is_no_reason_to_stop_listening(master: Master, tmp_path: Path) -> None:
    (tmp_path / "renamed").write_text("in the way", encoding="utf-8")
    master.renames.take(said())
    assert master.renamed() == {}
