"""What a look leaves behind for others: how the resource stands, an event if that is news, and counts."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.core.test_engine import SWITCH, Site
from vmdk_failover.channels import counting, noticeboard
from vmdk_failover.channels.announcing import Announcer
from vmdk_failover.channels.counting import Count, Counts
from vmdk_failover.daemon import metrics
from vmdk_failover.errors import ConfigError
from vmdk_failover.journal import LOG_LIMIT, FileJournal
from vmdk_failover.judgement import config, describe, standing
from vmdk_failover.model import Condition, Power
from vmdk_failover.store import sightings
from vmdk_failover.store.history import Follower


class Desk:
    """A site whose engine tells its looks to an announcer. :ivar told: what went onto the bus."""

    def __init__(self, place: Path) -> None:
        self.site, self.place = Site(), place
        self.told: list[Mapping[str, Any]] = []
        self.announcer = Announcer(place, self.site.journal, self.told.append, self.site.clock.wall)

    def run(self, *wish: Any) -> None:
        engine = self.site.engine()
        engine.looked = self.announcer.looked
        engine.run(self.site.resource, *wish)

    @property
    def states(self) -> list[tuple[Any, ...]]:
        return [(one["state"], one["active"], one["protected"]) for one in self.told]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


# -- standing


def test_a_state_is_told_once_while_it_lasts(desk: Desk) -> None:
    for _ in range(3):
        desk.run()
    assert desk.states == [("active", "db1", True)]
    assert noticeboard.read(desk.place, "pgdata")["at"] == desk.site.clock.wall()


def test_a_move_is_told_when_it_begins_and_when_it_has_ended(desk: Desk) -> None:
    desk.run()
    desk.run(SWITCH)
    assert desk.states == [("active", "db1", True), ("moving", "db1", False), ("active", "db2", True)]
    assert desk.told[-1]["before"] == {"state": "moving", "active": "db1", "protected": False}
    assert describe.tag({**desk.told[-1]}) == "vmdk-state/pgdata/active"
    assert describe.sentence(desk.told[-1]) == "pgdata: active on db2"


def test_a_backup_that_is_lost_is_told(desk: Desk) -> None:
    desk.run()
    desk.site.db2.vm.turn(Power.OFF)
    desk.run()
    assert desk.states[-1] == ("active", "db1", False)
    assert "NOT PROTECTED" in describe.sentence(desk.told[-1])
    assert [one["nodes"]["db2"] for one in desk.told] == ["healthy", "off"]


def test_a_hold_in_mid_move_is_a_hold(desk: Desk) -> None:
    desk.site.db1.trouble = Condition.HUNG
    desk.site.guest._release = lambda *_: ""  # type: ignore[attr-defined, assignment]
    desk.site.db1.vm.power_off = lambda *_: None  # type: ignore[attr-defined, method-assign]
    desk.site.hypervisor.power_off = _refuse  # type: ignore[method-assign, assignment]
    desk.run()
    assert desk.site.journal.state("pgdata").move is not None
    assert desk.told[-1]["state"] == "held" and desk.told[-1]["rule"] > 0
    assert describe.sentence(desk.told[-1]).count("NOT PROTECTED") == 1


def _refuse(*_: Any) -> Any:
    from vmdk_failover.errors import StepFailed

    raise StepFailed("no")


@pytest.mark.parametrize(
    ("change", "news"),
    [
        ({}, False),
        ({"reason": "another sentence"}, False),
        ({"not_protected_because": ["silent for 9 s"]}, False),
        ({"not_protected_because": ["a snapshot"]}, True),
        ({"state": "active"}, True),
        ({"active": "db2"}, True),
        ({"rule": 644}, True),
        ({"protected": True}, True),
    ],
)
def test_only_what_people_should_know_is_news(change: dict[str, Any], news: bool) -> None:
    before = {"state": "held", "active": "db1", "protected": False, "rule": 643, "reason": "x",
              "not_protected_because": ["silent for 3 s"]}  # fmt: skip
    assert standing.differs(before, {**before, **change}) is news


def test_a_board_that_cannot_be_written_costs_nothing(desk: Desk) -> None:
    (desk.place / noticeboard.NAME).write_text("in the way")
    desk.run()
    assert desk.states == [("active", "db1", True)]


def test_a_resource_that_cannot_be_looked_at_is_told(desk: Desk) -> None:
    desk.announcer.failed("pgdata", "the journal is lost")
    desk.announcer.failed("pgdata", "the journal is lost")
    assert desk.states == [("unknown", "", False)]


# -- counts


def test_counts_where_nobody_listens_cost_nothing(tmp_path: Path) -> None:
    began = time.monotonic()
    for _ in range(1000):
        Counts(tmp_path).add("rejected", kind="answer")
        Counts(tmp_path / "missing").add("rejected", kind="answer")
    assert time.monotonic() - began < 5


def listening(place: Path, take: Callable[[Count], None]) -> None:
    """Take counts in a thread; returns when they can be sent."""

    def run() -> None:
        for one in counting.receive(place):
            take(one)

    threading.Thread(target=run, daemon=True).start()
    until(lambda: (place / counting.NAME).exists())


def until(what: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_counts_arrive_also_from_a_fork_and_rubbish_does_not(tmp_path: Path) -> None:
    got: list[Count] = []
    listening(tmp_path, got.append)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        for rubbish in (b"", b"{", b"[]", b"\xff", b'{"name": 1}', b'{"name":"x","amount":-1,"labels":{}}',
                        b'{"name":"x","amount":NaN,"labels":{}}', b"[" * 4000):  # fmt: skip
            line.sendto(rubbish, str(tmp_path / counting.NAME))
    pid = os.fork()
    if pid == 0:
        Counts(tmp_path).add("report_latency", 0.25, node="db1")
        os._exit(0)
    os.waitpid(pid, 0)
    until(lambda: got)
    assert got == [Count("report_latency", 0.25, (("node", "db1"),))]
    assert (tmp_path / counting.NAME).stat().st_mode & 0o777 == 0o600


def test_a_listener_that_is_late_holds_nobody_up(tmp_path: Path) -> None:
    """The socket's queue is full: the rest is lost, at once."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / counting.NAME))
        began = time.monotonic()
        for _ in range(2000):
            Counts(tmp_path).add("rejected", kind="answer")
        assert time.monotonic() - began < 5


# -- sightings


def test_sightings_are_kept_once_in_a_while_and_stay_small(tmp_path: Path) -> None:
    now = [1000.0]
    book = sightings.Sightings(tmp_path, lambda: now[0])
    for _ in range(50):
        book.note("pgdata", "db1", "hung", "x" * 5000)
        now[0] += 1
    found = sightings.read(tmp_path, "pgdata", 0, 2000)
    assert [one["at"] for one in found] == [1000, 1010, 1020, 1030, 1040]
    assert len(found[0]["words"]) == sightings.LONGEST
    for number in range(4000):
        book.note("pgdata", f"n{number}", "hung", "x" * 100)
    size = sum(path.stat().st_size for path in (tmp_path / sightings.FOLDER).iterdir())
    assert size < 2.1 * sightings.LIMIT and sightings.read(tmp_path, "pgdata", 0, 2000)


def test_damaged_sightings_are_passed_over(tmp_path: Path) -> None:
    book = sightings.Sightings(tmp_path)
    book.note("pgdata", "db1", "hung")
    with open(tmp_path / sightings.FOLDER / "pgdata.log", "ab") as file:
        file.write(b'{"at": "x"}\n[]\n\xff\xfe\n{"at"')
    assert [one["who"] for one in sightings.read(tmp_path, "pgdata", 0, float("inf"))] == ["db1"]
    assert sightings.read(tmp_path, "other", 0, float("inf")) == []


# -- histories


def test_a_history_is_followed_across_its_parts(tmp_path: Path) -> None:
    journal, follower = FileJournal(tmp_path), Follower(tmp_path)
    assert list(follower.news()) == []
    journal.note("pgdata", {"n": 1})
    journal.note("mail", {"n": 2})
    assert sorted(entry["n"] for _, entry in follower.news()) == [1, 2]
    assert list(follower.news()) == []
    journal.note("pgdata", {"n": 3})
    with open(tmp_path / "pgdata.log", "a", encoding="utf-8") as file:
        file.write(json.dumps({"big": "x" * LOG_LIMIT}) + "\n" + '{"torn": ')
    assert [sorted(entry) for _, entry in follower.news()] == [["n"], ["big"]]
    journal.note("pgdata", {"n": 4})  # begins a new part
    journal.note("pgdata", {"n": 5})
    assert [entry.get("n") for _, entry in follower.news()][-2:] == [4, 5]
    assert [entry["n"] for _, entry in Follower(tmp_path).news() if "n" in entry] == [2, 1, 3, 4, 5]


# -- metrics


def test_a_move_is_counted_once_however_often_it_is_scraped(tmp_path: Path) -> None:
    from prometheus_client import generate_latest

    journal = FileJournal(tmp_path / "journal")
    for line in (
        {"finished": {"kind": "failover", "ok": True, "took": 2.2}},
        {"finished": {"kind": "switchover", "ok": False, "took": 9}},
        {"outcome": {"step": {"kind": "fence"}, "result": "unknown", "took": 1.0}},
        {"outcome": "rubbish"},
        {"finished": {"kind": ["x"], "ok": True, "took": "long"}},
        {"hold": {"rule": 643}},
        {"hold": None},
    ):
        journal.note("pgdata", {**line, "outcome_": 1})
    registry = metrics.registry_of(tmp_path, lambda: ["pgdata"])
    for _ in range(3):
        text = generate_latest(registry).decode()
    assert 'vmdk_moves_total{kind="failover",resource="pgdata",result="done"} 1.0' in text
    assert 'vmdk_moves_total{kind="switchover",resource="pgdata",result="given_up"} 1.0' in text
    assert 'vmdk_step_duration_seconds_count{result="unknown",step="fence"} 1.0' in text
    assert 'vmdk_holds_total{resource="pgdata",rule="643"} 1.0' in text
    assert 'vmdk_resource_state{resource="pgdata",state="unknown"} 1.0' in text  # nobody has looked yet


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_it_is_served_and_counts_what_is_sent(tmp_path: Path) -> None:
    at = config.Metrics(port=free_port())
    threading.Thread(target=metrics.serve, args=(tmp_path, at, list), daemon=True).start()
    until(lambda: (tmp_path / counting.NAME).exists())
    for name, labels in (("rejected", {"kind": "answer"}), ("rejected", {"who": "me"}), ("other", {})):
        Counts(tmp_path).add(name, **labels)

    def counted() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{at.port}/metrics", timeout=5) as answer:
            return b'vmdk_rejected_total{kind="answer"} 1.0' in answer.read()

    until(counted)


class Enough(Exception):
    """The test has seen what it wanted."""


def said_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: config.Metrics) -> list[str]:
    """What is said while serving is tried three times."""
    said: list[str] = []
    naps = iter((None, None))

    def nap(seconds: float) -> None:
        if next(naps, Enough) is Enough:
            raise Enough

    monkeypatch.setattr(metrics.time, "sleep", nap)
    with pytest.raises(Enough):
        metrics.serve_for_ever(tmp_path, at, list, said.append)
    return said


def test_without_the_library_one_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "prometheus_client", None)
    with pytest.raises(ConfigError, match="salt-pip install prometheus-client"):
        metrics.registry_of(tmp_path, list)
    (only,) = said_of(tmp_path, monkeypatch, config.Metrics())
    assert "prometheus_client is not installed" in only


def test_a_port_that_is_taken_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (only,) = said_of(tmp_path, monkeypatch, config.Metrics(port=taken.getsockname()[1]))
    assert os.strerror(errno.EADDRINUSE) in only


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (None, None),
        (False, None),
        (True, config.Metrics()),
        ({}, config.Metrics()),
        ({"port": 9000, "address": "::1"}, config.Metrics("::1", 9000)),
        ({"port": 0}, "metrics.port"),
        ({"port": True}, "metrics.port"),
        ({"address": "everywhere"}, "metrics.address"),
        ({"adress": "127.0.0.1"}, "did you mean address"),
        ("yes", "must be a mapping"),
    ],
)
def test_where_they_are_served_is_configured(raw: Any, wanted: Any) -> None:
    found = config.parse({"metrics": raw})
    said = [str(fault) for fault in found.faults if fault.where.startswith("metrics")]
    if isinstance(wanted, str):
        assert found.metrics is None and len(said) == 1 and wanted in said[0]
    else:
        assert (found.metrics, said) == (wanted, [])
