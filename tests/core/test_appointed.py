"""What is appointed for later: times as people write them, planned switchovers, maintenance that ends by itself."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles import engine
from vmdk_failover.app import App
from vmdk_failover.commands import operate
from vmdk_failover.daemon import appointed
from vmdk_failover.engine import Report
from vmdk_failover.errors import ConfigError, FailoverError, JournalError, Refused
from vmdk_failover.judgement.policy import Wish
from vmdk_failover.model import Move, MoveKind
from vmdk_failover.store import schedule

NOW = datetime.datetime(2026, 3, 10, 12, 0).astimezone().timestamp()
BODY = {
    "nodes": ["db1", "db2"],
    "vm_uuids": {f"db{n}": f"5037aaaa-0000-4000-8000-00000000000{n}" for n in (1, 2)},
    "mounts": [{"mountpoint": "/srv/x", "fs_uuid": "0b6e9a2c-0000-4000-8000-00000000f5f5", "fstype": "xfs"}],
}
DISK = {"path": "[ds1] a/x.vmdk", "uuid": "6000c29a111122223333444455556666", "bus": 1, "unit": 0}


class Master(App):
    """A master whose runs are only written down."""

    def __init__(self, place: Path) -> None:
        web = {**BODY, "disks": [{**DISK, "path": "[ds1] web.vmdk", "uuid": f"{7:032x}", "unit": 1}]}
        web["mounts"] = [{**BODY["mounts"][0], "mountpoint": "/srv/web"}]  # type: ignore[index]
        resources = {"pgdata": {**BODY, "disks": [DISK]}, "web": web}
        section = {"resources": resources, "state_dir": str(place), "resources_dir": str(place / "none")}
        super().__init__({"id": "ma", "vmdk": section}, client=self)
        self.state: Any = None  # what makes it a SaltCall
        self.ran: list[Wish | None] = []

    def run(self, name: str, wish: Wish | None = None) -> Report:
        self.ran.append(wish)
        return Report(name, "done", 70, "active on db2")


@pytest.fixture
def idle(tmp_path: Path) -> Master:
    """A master whose engine does not run."""
    return Master(tmp_path)


@pytest.fixture
def master(idle: Master, tmp_path: Path) -> Iterator[Master]:
    with engine.running(tmp_path):
        yield idle


def at(hours: int, minutes: int = 0, seconds: int = 0, day: int = 10) -> float:
    return datetime.datetime(2026, 3, day, hours, minutes, seconds).astimezone().timestamp()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("22:00", at(22)),
        (1320, at(22)),  # what YAML makes of it
        ("22:00:30", at(22, 0, 30)),
        (79230, at(22, 0, 30)),
        ("9:05", at(9, 5, day=11)),
        (545, at(9, 5, day=11)),
        (6000, at(1, 40, day=11)),  # 1:40:00, as no number of hours and minutes has it
        ("12:00", at(12, day=11)),
        ("2026-03-12T01:30", at(1, 30, day=12)),
        ("2026-03-12 01:30:15", at(1, 30, 15, day=12)),
    ],
)
def test_times_as_people_write_them(text: Any, expected: float) -> None:
    assert schedule.moment_of(text, NOW) == expected


@pytest.mark.parametrize(
    "text",
    # 1440, 1500 and 5999 are what YAML makes of 24:00, 25:00 and 99:59
    [
        "",
        "soon",
        "25:00",
        1440,
        1500,
        5999,
        "22:61",
        "2026-03-09T01:30",
        "2029-01-01T00:00",
        -5,
        True,
        None,
        1e9,
        "22",
    ],
)
def test_what_is_no_time_to_come_is_refused(text: Any) -> None:
    with pytest.raises(Refused, match=r"22:00|year that comes"):
        schedule.moment_of(text, NOW)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("90min", 5400), ("90m", 5400), ("1d12h", 129600), ("1.5h", 5400), ("30s", 30)],
)
def test_lengths(text: Any, seconds: float) -> None:
    assert schedule.seconds_of(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "2", "h", "-2h", "2 weeks", 0, -1, 30, 120, float("nan"), True, None, "400d", [2]]
)
def test_what_is_no_length_is_refused(text: Any) -> None:
    with pytest.raises(Refused, match="is no length of time"):
        schedule.seconds_of(text)


def test_a_planned_switchover_is_carried_out_once(master: Master, tmp_path: Path) -> None:
    moment = time.time() + 5
    schedule.write(tmp_path, "pgdata", schedule.Plan(moment, "db2", "ann"))
    assert schedule.due(tmp_path, moment - 1) == [] and schedule.due(tmp_path, moment) == ["pgdata"]
    appointed.run(master, "pgdata")
    assert master.ran == [None] and schedule.read(tmp_path, "pgdata") is not None  # not yet
    schedule.write(tmp_path, "pgdata", schedule.Plan(time.time() - 1, "db2", "ann"))
    assert appointed.due(master) == ["pgdata"]
    appointed.run(master, "pgdata")
    appointed.run(master, "pgdata")
    assert master.ran == [None, Wish(MoveKind.SWITCHOVER, "db2"), None]
    told = [one["appointed"] for one in master.journal.history("pgdata") if "appointed" in one]
    assert [(one["result"], one["target"]) for one in told] == [("done", "db2")]


def test_one_that_is_too_late_is_told_and_not_carried_out(master: Master, tmp_path: Path) -> None:
    schedule.write(tmp_path, "pgdata", schedule.Plan(time.time() - schedule.TOO_LATE - 1))
    assert "too late" in appointed.run(master, "pgdata").reason
    assert master.ran == [] and schedule.read(tmp_path, "pgdata") is None
    assert [one["appointed"]["result"] for one in master.journal.history("pgdata")] == ["refused"]


def test_planning_and_cancelling(master: Master, tmp_path: Path) -> None:
    planned = appointed.plan(master, "pgdata", "db2", "22:00", "ann")
    assert planned["planned"] > time.time()
    shown = operate.status(master)["resources"]
    assert shown["pgdata"]["planned"] == {"at": planned["planned"], "target": "db2", "by": "ann"}
    assert shown["web"]["planned"] is None
    assert appointed.cancel(master, "pgdata")["cancelled"] == planned["planned"]
    with pytest.raises(Refused, match="no switchover of pgdata is planned"):
        appointed.cancel(master, "pgdata")
    for wrong in (
        lambda: appointed.plan(master, "pgdata", "dbx", "22:00"),
        lambda: appointed.plan(master, "x", "", "22:00"),
    ):
        with pytest.raises(FailoverError):
            wrong()
    assert schedule.due(tmp_path, time.time() + 1e6) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"at": "soon"}', "\x00"])
def test_a_damaged_plan_is_none(master: Master, tmp_path: Path, text: str) -> None:
    schedule.write(tmp_path, "pgdata", schedule.Plan(1.0))
    (tmp_path / "schedule/pgdata.json").write_text(text)
    assert schedule.due(tmp_path, 2.0) == [] and schedule.take(tmp_path, "pgdata", 2.0) is None


def test_maintenance_of_all_ends_by_itself_by_the_boot_clock(
    master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = appointed.pause(master, "all", "2h", "ann")
    assert said["paused"] == ["pgdata", "web"] and abs(said["until"] - time.time() - 7200) < 5
    moment = appointed.now()

    def later(**change: Any) -> Callable[[], Any]:
        return lambda: type(moment)(**{**vars(moment), **change})

    monkeypatch.setattr(appointed, "now", later(wall=moment.wall + 1e6))  # somebody sets the clock
    assert appointed.due(master) == [] and master.journal.state("pgdata").paused
    monkeypatch.setattr(appointed, "now", later(seconds=moment.seconds + 7201))
    assert appointed.due(master) == ["pgdata", "web"]
    assert not master.journal.state("pgdata").paused and not master.journal.state("web").paused


def test_after_a_boot_the_wall_clock_counts(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    appointed.pause(master, "pgdata", "2h")
    moment = appointed.now()
    for wall, ended in ((moment.wall + 7000, []), (moment.wall + 7300, ["pgdata"])):
        monkeypatch.setattr(appointed, "now", lambda wall=wall: type(moment)("another boot", 5.0, wall))
        assert appointed.due(master) == ended


@pytest.mark.parametrize("test", [True, False])
def test_nothing_is_appointed_that_nobody_would_carry_out(idle: Master, test: bool) -> None:
    for appoint, instead in (
        (
            lambda: appointed.plan(idle, "pgdata", "db2", "22:00", test=test),
            "'salt-run vmdk.switchover pgdata'",
        ),
        (
            lambda: appointed.pause(idle, "pgdata", "2h", test=test),
            "'salt-run vmdk.pause pgdata' lasts until",
        ),
        (lambda: appointed.pause(idle, "all", "2h", test=test), "'salt-run vmdk.pause all' lasts until"),
    ):
        with pytest.raises(Refused, match="the engine vmdk of this master does not answer") as refused:
            appoint()
        assert (refused.value.code, instead in refused.value.reason) == ("no_engine", True)
    shown = operate.status(idle)["resources"]["pgdata"]
    assert (shown["planned"], shown["pause"]) == (None, None)
    assert appointed.pause(idle, "pgdata")["paused"] and appointed.resume(idle, "pgdata")["paused"] is False


def test_maintenance_without_an_end_stays(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "until" not in appointed.pause(master, "pgdata")
    moment = appointed.now()
    monkeypatch.setattr(
        appointed, "now", lambda: type(moment)(moment.boot, moment.seconds + 1e9, moment.wall + 1e9)
    )
    assert appointed.due(master) == [] and master.journal.state("pgdata").paused
    assert appointed.resume(master, "all") == {"resumed": ["pgdata"]}
    assert appointed.resume(master, "all") == {"resumed": []}
    assert not master.journal.state("pgdata").paused
    assert operate.resume(master, "pgdata")["was_paused"] is False
    pauses = [entry["pause"] is not None for entry in master.journal.history("pgdata") if "pause" in entry]
    assert pauses == [True, False]  # what was not paused has not ended


def test_a_maintenance_begun_meanwhile_goes_on(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    appointed.pause(master, "pgdata", "1h")

    def over(*_: Any) -> bool:
        appointed.pause(master, "pgdata", "3h")  # a person is quicker
        return True

    monkeypatch.setattr(schedule, "is_over", over)
    appointed.due(master)
    assert master.journal.state("pgdata").paused


def renamed(place: Path) -> Master:
    """The same master, where the file of pgdata is called pg now."""
    master = Master(place)
    section = master.opts["vmdk"]["resources"]
    section["pg"] = section.pop("pgdata")
    return master


def test_maintenance_of_a_renamed_resource_goes_on_until_somebody_ends_it(
    tmp_path: Path, idle: Master
) -> None:
    """`mv pgdata.yaml pg.yaml` in the midst of it."""
    operate.pause(idle, "pgdata", "ann")
    master = renamed(tmp_path)
    pg = master.settings.resources["pg"]
    begun = Move(pg, MoveKind.FAILOVER, "db1", "db2", 1, "a test")
    with pytest.raises(JournalError, match=r"'salt-run vmdk\.resume pgdata'"):
        master.shared.begin(begun)
    assert operate.resume(master, "pgdata", test=True) == {
        "resource": "pgdata",
        "paused": False,
        "was_paused": True,
        "test": True,
    }
    assert master.journal.state("pgdata").paused
    assert operate.resume(master, "pgdata")["paused"] is False
    assert not master.journal.state("pgdata").paused
    master.shared.begin(begun)
    with pytest.raises(ConfigError, match="there is no resource called 'pgdata'"):
        operate.resume(master, "pgdata")


def test_so_does_one_with_an_end_and_it_ends(
    tmp_path: Path, master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    appointed.pause(master, "pgdata", "1h")
    other = renamed(tmp_path)
    assert appointed.due(other) == []
    monkeypatch.setattr(schedule, "is_over", lambda *moment: True)
    assert appointed.due(other) == ["pgdata"]
    assert not other.journal.state("pgdata").paused
