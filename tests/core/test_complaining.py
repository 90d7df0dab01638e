"""A node that says unasked that it cannot use its disk: its own fresh word counts, of its own disks, for some seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.core.build import resource, vm
from tests.core.test_farewell import KEYS
from vmdk_failover import signing
from vmdk_failover.around import Complaint
from vmdk_failover.daemon.complaining import EACH, FOR, OLDER, Complaints
from vmdk_failover.daemon.listening import Ear
from vmdk_failover.model import Condition, HypervisorFacts
from vmdk_failover.presence.vicinity import COMPLAINED, FileVicinity

SEEN = HypervisorFacts(True, "", (vm("db1"), vm("db2")))
SAID = {"db1": Complaint(Condition.HUNG, "sdb: nothing for 10 s")}


class Master:
    """The listener's side and the note, with a clock of their own; db1 was heard until a moment ago."""

    def __init__(self, place: Path) -> None:
        self.now = 1000.0
        self.hints: list[tuple[str, str]] = []
        self.ear = Ear(place, KEYS.__getitem__, lambda *_: None, lambda words: None, lambda: self.now)
        self.ear.watch({"pgdata": resource()})
        self.vicinity = FileVicinity(place, dict, lambda name: False, lambda: self.now)
        self.complaints = Complaints(self.ear, self.vicinity.complains, lambda *hint: self.hints.append(hint))
        self.ear.hear(said(signing.ALIVE, seq=40_000))

    def failing(self) -> dict[str, Complaint]:
        return dict(self.vicinity.look(resource(), SEEN).failing)


@pytest.fixture
def master(tmp_path: Path) -> Master:
    return Master(tmp_path)


def said(purpose: str = signing.FAILING, key: str = KEYS["db1"], **changes: Any) -> dict[str, Any]:
    """A word of db1."""
    body = {"minion": "db1", "boot_id": "boot", "seq": 50_000, "uptime": 50.0, "address": "pgdata"}
    return signing.sign_heartbeat(key, {**body, "version": "hung: sdb: nothing for 10 s", **changes}, purpose)


def test_a_true_word_is_noted_for_some_seconds(master: Master) -> None:
    master.complaints.take(said())
    assert (master.failing(), master.hints) == (SAID, [("pgdata", "db1")])
    master.now += COMPLAINED - 0.1
    assert master.failing() == SAID
    master.now += 0.2
    assert master.failing() == {}


@pytest.mark.parametrize(
    "word",
    [
        said(key=KEYS["db2"]),
        said(signing.ALIVE),
        {**said(), "version": "io_error: forged"},
        said(boot_id="before"),
        said(seq=40_000 - OLDER),
        said(address="wal"),
        said(version="slow: sdb"),
        said(version=""),
        "failing",
        None,
    ],
    ids=str,
)
def test_nobody_else_and_nothing_old_takes_the_disk_from_a_node(master: Master, word: Any) -> None:
    master.complaints.take(word)
    assert (master.failing(), master.hints) == ({}, [])


def test_a_word_is_not_played_again(master: Master) -> None:
    master.complaints.take(said())
    master.now += COMPLAINED + 1
    master.complaints.take(said())
    assert master.failing() == {}


def test_looks_are_asked_for_now_and_then_and_not_for_ever(master: Master) -> None:
    for second in range(int(FOR) + 30):
        master.complaints.take(said(seq=50_000 + 1000 * second))
        master.now += 1.0
    assert len(master.hints) == FOR // EACH
