"""Beacon and engine share one prober: whichever is there, whoever dies, and whatever the other has put down."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from vmdk_failover import signing, versions
from vmdk_failover.guest import channel, complaint, duty, heartbeat, latest, pidfd, teller, watch
from vmdk_failover.guest.watch import Throttle, Watch
from vmdk_failover.model import to_plain

from .conftest import BOOT, Rig, wait_for
from .test_heartbeat import Clock

KEY = "ab" * 32


# -- who puts down what is to be watched


def _pillar(rig: Rig) -> dict[str, Any]:
    return {"vmdk": {"key": KEY, "resources": {"pgdata": to_plain(rig.resource)}}}


def test_the_engine_stands_in_when_the_beacon_gives_no_sign(rig: Rig) -> None:
    clock = Clock()
    rig.state.mkdir()
    duty.sign(rig.state, clock)
    engine = duty.Substitute(rig.state, clock)
    clock.now += duty.FIRST_S
    duty.sign(rig.state, clock)
    assert duty.beacon_lives(rig.state, clock)
    assert (engine.resources(), engine.wants_pillar()) == (None, False)
    clock.now += duty.QUIET_S + 0.1
    assert not duty.beacon_lives(rig.state, clock)
    assert engine.wants_pillar()
    assert not engine.wants_pillar()  # once, then after a while
    engine.take(_pillar(rig))
    assert engine.resources() == {"pgdata": rig.resource}
    assert (rig.state / "heartbeat.key").read_text() == KEY
    clock.now += duty.AGAIN_S
    assert engine.wants_pillar()
    duty.sign(rig.state, clock)
    assert (engine.resources(), engine.wants_pillar()) == (None, False)


def test_the_engine_waits_for_the_beacon_at_first(rig: Rig) -> None:
    clock = Clock()
    engine = duty.Substitute(rig.state, clock)
    assert not engine.wants_pillar()
    clock.now += duty.FIRST_S
    assert engine.wants_pillar()


def test_a_pillar_that_the_master_could_not_make_changes_nothing(rig: Rig) -> None:
    clock = Clock()
    engine = duty.Substitute(rig.state, clock)
    engine.take(_pillar(rig))
    engine.take({"_errors": ["it went wrong"]})
    engine.take({"vmdk": {"key": KEY}})
    assert engine.resources() == {"pgdata": rig.resource}
    engine.take({"vmdk": {"key": KEY, "resources": {}}})
    assert engine.resources() == {}


def test_a_sign_of_the_boot_before_does_not_count(rig: Rig) -> None:
    clock = Clock()
    rig.state.mkdir()
    duty.sign(rig.state, clock)
    assert duty.beacon_lives(rig.state, clock)
    clock.now = 3.0
    assert not duty.beacon_lives(rig.state, clock)
    duty.sign(Path("/proc/nowhere"), clock)  # no exception


# -- one prober


Make = Callable[[], Watch]


@pytest.fixture
def make(rig: Rig) -> Iterator[Make]:
    made: list[Watch] = []

    def one() -> Watch:
        made.append(Watch(rig.state, places=rig.places))
        return made[-1]

    yield one
    for each in made:
        for process in each._processes:
            process.kill()
        each.close()
        for process in each._processes:
            process.wait(10)


def _prober(rig: Rig) -> int:
    said = latest.whole(rig.state, BOOT)
    return int(said["pid"]) if said else 0


def _alive(watches: list[Watch]) -> list[int]:
    return [p.pid for one in watches for p in one._processes if pidfd.stat(p.pid)[0] not in ("", "Z")]


def _turn(rig: Rig, beacon: Watch | None, engine: Watch | None) -> list[dict[str, Any]]:
    told = beacon.poll({"pgdata": rig.resource}) if beacon else []
    return told + (engine.wait(0.01) if engine else [])


def test_both_at_once_make_one_prober(rig: Rig, make: Make) -> None:
    beacon, engine = make(), make()
    beacon.poll({"pgdata": rig.resource})
    engine.poll()  # at the same moment
    assert len(_alive([beacon, engine])) == 2
    wait_for(lambda: bool(_turn(rig, beacon, engine)) or _prober(rig) > 0)
    wait_for(lambda: not _turn(rig, beacon, engine) and _alive([beacon, engine]) == [_prober(rig)])


@pytest.mark.parametrize("left", ["beacon", "engine"])
def test_the_one_that_is_left_keeps_and_renews_the_prober(rig: Rig, make: Make, left: str) -> None:
    watches = {"beacon": make(), "engine": make()}
    wait_for(lambda: _turn(rig, watches["beacon"], watches["engine"]) != [] or _prober(rig) > 0)
    gone = watches.pop("engine" if left == "beacon" else "beacon")
    gone.close()  # kill -9: its descriptors are closed
    gone._epoll = watches[left]._epoll  # closed once more by the fixture
    gone.close = lambda: None  # type: ignore[method-assign]
    before = _prober(rig)

    def turn() -> list[dict[str, Any]]:
        return _turn(rig, watches.get("beacon"), watches.get("engine"))

    wait_for(lambda: (turn(), _prober(rig) == before)[1])
    os.kill(before, signal.SIGKILL)
    assert wait_for(lambda: (turn(), _prober(rig) not in (0, before))[1], 8.0) < 6
    told: list[dict[str, Any]] = []
    wait_for(lambda: told.extend(turn()) is None and _says(told, "unmounted"))


def _says(told: list[dict[str, Any]], condition: str) -> bool:
    return any(one["condition"] == condition for one in told)


def test_the_engine_alone_says_that_a_prober_is_silent(rig: Rig, make: Make) -> None:
    rig.state.mkdir()
    channel.write_config(rig.state, {"pgdata": rig.resource}, rig.places)
    engine = make()
    wait_for(lambda: (engine.wait(0.05), _prober(rig) > 0)[1])
    first = _prober(rig)
    os.kill(first, signal.SIGSTOP)
    told: list[dict[str, Any]] = []
    try:
        wait_for(lambda: told.extend(engine.wait(0.05)) is None and _says(told, "watcher_silent"), 6)
        wait_for(lambda: (engine.wait(0.05), _prober(rig) not in (0, first))[1], 6)
        second = _prober(rig)
        other = make()  # somebody new uses the replacement and starts no third
        wait_for(lambda: (other.wait(0.05), engine.wait(0.01), len(_alive([engine, other])) == 2)[2])
        assert set(_alive([engine, other])) == {first, second}
    finally:
        os.kill(first, signal.SIGCONT)
    wait_for(lambda: (engine.wait(0.05), _alive([engine]) == [second])[1], 10)  # nobody reads from the first


def test_silence_does_not_count_before_there_is_anything_to_watch(rig: Rig, make: Make) -> None:
    clock = Clock()
    rig.state.mkdir()
    idle = make()
    idle._clock = clock
    idle._heard = clock.now
    clock.now += 100  # started long before the master had told of any resource
    assert idle.poll() == []
    channel.write_config(rig.state, {"pgdata": rig.resource}, rig.places)
    assert idle.poll() == []
    assert len(idle._processes) == 1
    os.kill(idle._processes[0].pid, signal.SIGSTOP)
    clock.now += 4
    assert idle.poll() == []
    clock.now += 2
    assert [one["condition"] for one in idle.poll()] == ["watcher_silent"]


def test_what_another_has_put_down_is_put_right(rig: Rig, make: Make) -> None:
    beacon = make()
    wait_for(lambda: (beacon.poll({"pgdata": rig.resource}), _prober(rig) > 0)[1])
    channel.write_config(rig.state, {}, rig.places)
    beacon.poll({"pgdata": rig.resource})
    assert channel.names(rig.state) == ["pgdata"]
    mark = channel.mark(rig.state)
    beacon.poll({"pgdata": rig.resource})
    assert channel.mark(rig.state) == mark


def test_an_older_prober_is_replaced_and_a_newer_one_is_left(
    rig: Rig, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    beacon = make()
    wait_for(lambda: (beacon.poll({"pgdata": rig.resource}), _prober(rig) > 0)[1])
    first = _prober(rig)
    monkeypatch.setattr(watch, "__version__", "0.0.1")
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        beacon.wait(0.05, {"pgdata": rig.resource})
    assert _prober(rig) == first
    monkeypatch.setattr(watch, "__version__", "999.0")
    wait_for(lambda: (beacon.wait(0.05, {"pgdata": rig.resource}), _prober(rig) not in (0, first))[1], 8)
    assert versions.number("1.2.10") > versions.number("1.2.9")
    assert versions.number("rubbish") > versions.number("999.0")


# -- how often a condition is told


def _count(throttle: Throttle, seconds: int, later_s: float) -> int:
    report = {"resource": "r", "condition": "io_error"}
    return sum(throttle.is_due(report, float(at), later_s) for at in range(seconds))


def test_renotify_sets_the_pause_after_the_first_ten() -> None:
    assert _count(Throttle(), 131, 60.0) == 10 + 2
    assert _count(Throttle(), 131, 10.0) == 10 + 12
    assert _count(Throttle(), 3610, 3600.0) == 10 + 1


def test_the_resource_says_how_often(rig: Rig, make: Make) -> None:
    beacon = make()
    beacon._resources = {"pgdata": dataclasses.replace(rig.resource, renotify=7.0)}
    assert beacon._later({"resource": "pgdata"}) == 7.0
    assert beacon._later({"resource": "other", "renotify": 5.0}) == 5.0


def test_what_did_not_arrive_is_due_again() -> None:
    throttle, report = Throttle(), {"resource": "r", "condition": "unmounted"}
    assert throttle.is_due(report, 100.0)
    assert not throttle.is_due(report, 100.1)
    throttle.forget("r")
    assert throttle.is_due(report, 100.2)
    throttle.forget("nobody")


# -- the engine's turn


class Master:
    """A line to a master that can be away."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        self.away = self.broken_pillar = False
        self.opened = self.closed = 0
        self.told: Mapping[str, Any] = {}

    def connect(self) -> Master:
        self.opened += 1
        return self

    def send(self, tag: str, data: Mapping[str, Any]) -> None:
        if self.away:
            raise TimeoutError("no answer")
        self.events.append((tag, data))

    def pillar(self) -> Mapping[str, Any]:
        return self.told

    def close(self) -> None:
        self.closed += 1

    def tags(self, start: str) -> list[str]:
        return [tag for tag, _ in self.events if tag.startswith(start)]


@pytest.fixture
def master() -> Master:
    return Master()


@pytest.fixture
def engine(rig: Rig, make: Make, master: Master) -> teller.Teller:
    words: list[str] = []
    made = teller.Teller(
        {"id": "db1", "vmdk": {"address": "10.0.0.1"}},
        make(),
        heartbeat.Pulse(rig.state, "db1"),
        duty.Substitute(rig.state),
        connect=master.connect,
        is_enrolled=lambda: True,
        warn=words.append,
        complaints=complaint.Complaints(rig.state),
    )
    made.opts["words"] = words
    return made


def _until(engine: teller.Teller, condition: Callable[[], bool], seconds: float = 6) -> float:
    return wait_for(lambda: (engine.turn(), condition())[1], seconds)


def test_without_a_beacon_the_engine_does_it_all(
    rig: Rig, engine: teller.Teller, master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    master.told = _pillar(rig)
    engine.substitute._next = 0.0
    _until(engine, lambda: _prober(rig) > 0 and bool(master.tags("vmdk-heartbeat/db1")))
    assert channel.names(rig.state) == ["pgdata"]
    _until(engine, lambda: master.tags("vmdk/") == ["vmdk/pgdata/unmounted"])
    master.told = {"vmdk": {"key": KEY, "resources": {}}}
    engine.substitute._next = 0.0
    _until(engine, lambda: channel.names(rig.state) == [])


def test_what_the_master_did_not_take_is_told_when_it_is_back(
    rig: Rig, engine: teller.Teller, master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_EACH_TIMES", 1)  # else it would be repeated within a second anyway
    rig.state.mkdir()
    channel.write_config(rig.state, {"pgdata": rig.resource}, rig.places)
    master.away = True
    _until(engine, lambda: master.closed >= 2)
    assert master.events == []
    said = len(engine.opts["words"])
    assert said >= 1
    assert "TimeoutError: no answer" in engine.opts["words"][0]
    master.away = False
    assert _until(engine, lambda: master.tags("vmdk/") == ["vmdk/pgdata/unmounted"]) < 2.5
    assert master.opened == master.closed + 1


def test_nothing_is_sent_before_the_minion_has_met_its_master(
    rig: Rig, engine: teller.Teller, master: Master
) -> None:
    met: list[int] = []
    engine.is_enrolled = lambda: bool(met)
    rig.state.mkdir()
    channel.write_config(rig.state, {"pgdata": rig.resource}, rig.places)
    _until(engine, lambda: _prober(rig) > 0)
    for _ in range(3):
        engine.turn()
    assert master.opened == 0
    met.append(1)
    assert _until(engine, lambda: master.tags("vmdk/") != []) < 2.5


def test_the_engine_of_a_renamed_minion_says_so_under_the_old_id(
    rig: Rig, engine: teller.Teller, master: Master
) -> None:
    heartbeat.keep_key(rig.state, KEY)
    _until(engine, lambda: bool(master.tags("vmdk-heartbeat/db1")))
    assert master.tags("vmdk-renamed/") == []
    engine.opts["id"] = "db1-new"
    engine.pulse = heartbeat.Pulse(rig.state, "db1-new")
    _until(engine, lambda: bool(master.tags("vmdk-renamed/")))
    ((tag, word),) = [one for one in master.events if one[0].startswith("vmdk-renamed/")]
    assert (tag, word["minion"], word["address"]) == ("vmdk-renamed/db1", "db1", "db1-new")
    signing.check_heartbeat({"db1": KEY}.__getitem__, word, signing.RENAMED)
    assert master.tags("vmdk-heartbeat/db1-new") == [], "not with the key of another id"


def test_the_engine_says_which_disk_cannot_be_used(
    rig: Rig, engine: teller.Teller, master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    heartbeat.keep_key(rig.state, KEY)
    report = {"resource": "pgdata", "condition": "hung", "evidence": "sdb: nothing for 10 s"}
    monkeypatch.setattr(latest, "whole", lambda *_, **__: {"reports": {"pgdata": report}})
    _until(engine, lambda: bool(master.tags("vmdk-failing/")))
    tag, word = next(one for one in master.events if one[0].startswith("vmdk-failing/"))
    assert (tag, word["address"]) == ("vmdk-failing/db1", "pgdata")
    signing.check_heartbeat({"db1": KEY}.__getitem__, word, signing.FAILING)
