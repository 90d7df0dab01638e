"""A node's heartbeats: signed, rising, one a second from one of the two that can send them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from vmdk_failover import signing
from vmdk_failover.guest import heartbeat

KEY = "ab" * 32
OPTS: dict[str, Any] = {"id": "db1", "vmdk": {"address": "10.0.0.1"}}
PILLAR = {"vmdk": {"key": KEY}}


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def believed(beat: Any) -> dict[str, Any]:
    return signing.check_heartbeat(lambda minion: {"db1": KEY}[minion], beat)


def test_it_can_be_verified_and_rises() -> None:
    first, second = (heartbeat.heartbeat("db1", KEY, "10.0.0.1") for _ in range(2))
    assert believed(first)["minion"] == "db1" and believed(first)["address"] == "10.0.0.1"
    assert first["boot_id"] and second["seq"] >= first["seq"]


def test_the_beacon_sends_while_no_engine_does(tmp_path: Path, clock: Clock) -> None:
    state = tmp_path / "vmdk"
    assert believed(heartbeat.of_beacon(state, OPTS, PILLAR, clock))
    pulse = heartbeat.Pulse(state, "db1", clock)
    assert believed(pulse.due(OPTS))
    assert heartbeat.of_beacon(state, OPTS, PILLAR, clock), "what was not sent does not count"
    pulse.sent()
    for _ in range(3):
        assert heartbeat.of_beacon(state, OPTS, PILLAR, clock) is None
        clock.now += 0.8
    clock.now += heartbeat.ENGINE_QUIET
    assert heartbeat.of_beacon(state, OPTS, PILLAR, clock), "the engine has ended"


def test_a_mark_of_the_boot_before_does_not_silence_the_beacon(tmp_path: Path, clock: Clock) -> None:
    heartbeat.Pulse(tmp_path, "db1", clock).sent()
    clock.now = 5.0
    assert heartbeat.of_beacon(tmp_path, OPTS, PILLAR, clock)


def test_the_engine_sends_one_a_second_and_none_without_a_key(tmp_path: Path, clock: Clock) -> None:
    pulse = heartbeat.Pulse(tmp_path, "db1", clock)
    assert pulse.due(OPTS) is None
    heartbeat.of_beacon(tmp_path, OPTS, PILLAR, clock)
    sent = 0
    for _ in range(100):
        sent += pulse.due(OPTS) is not None
        assert 0 <= pulse.left() <= heartbeat.EVERY
        clock.now += 0.1
    assert 8 <= sent <= 11


def test_the_key_is_roots_alone_and_follows_the_pillar(tmp_path: Path, clock: Clock) -> None:
    heartbeat.of_beacon(tmp_path, OPTS, PILLAR, clock)
    fresh = "cd" * 32
    heartbeat.of_beacon(tmp_path, OPTS, {"vmdk": {"key": fresh}}, clock)
    (path,) = (p for p in tmp_path.iterdir() if p.name == "heartbeat.key")
    assert (path.read_text(), os.stat(path).st_mode & 0o777) == (fresh, 0o600)
    assert heartbeat.of_beacon(tmp_path, OPTS, {}, clock) is None


def test_a_directory_that_cannot_be_written_keeps_nobody_from_sending(clock: Clock) -> None:
    assert heartbeat.of_beacon(Path("/proc/nowhere"), OPTS, PILLAR, clock)
    heartbeat.Pulse(Path("/proc/nowhere"), "db1", clock).sent()


def test_the_address_is_the_one_towards_the_master() -> None:
    assert heartbeat.own_address({"master_ip": "127.0.0.1"}) == "127.0.0.1"
    assert heartbeat.own_address({**OPTS, "master_ip": "127.0.0.1"}) == "10.0.0.1"
    assert heartbeat.own_address({}) == heartbeat.own_address({"master_ip": "nonsense"}) == ""


# -- a minion that gets another id ----------------------------------------------------------------------------


def spoken(tmp_path: Path, clock: Clock) -> None:
    """The engine of db1 has spoken; then its minion is restarted as db1-new."""
    pulse = heartbeat.Pulse(tmp_path, "db1", clock)
    heartbeat.keep_key(tmp_path, KEY)
    assert pulse.due(OPTS) and pulse.renamed() is None
    pulse.sent()
    clock.now += 5


def told_of_db1(word: Any) -> dict[str, Any]:
    return signing.check_heartbeat(lambda minion: {"db1": KEY}[minion], word, signing.RENAMED)


def test_a_renamed_minion_says_so_with_the_key_that_it_had(tmp_path: Path, clock: Clock) -> None:
    spoken(tmp_path, clock)
    fresh = "cd" * 32
    for again in range(2):  # also after the engine was started anew
        pulse = heartbeat.Pulse(tmp_path, "db1-new", clock)
        assert (pulse.due(OPTS) is None) is (again == 0), "db1's key says nothing in another name"
        assert told_of_db1(pulse.renamed())["address"] == "db1-new"
        assert pulse.renamed() is None
        clock.now += heartbeat.RENAMED_EVERY
        assert told_of_db1(pulse.renamed())
        heartbeat.keep_key(tmp_path, fresh)
        clock.now += heartbeat.EVERY
        beat = pulse.due(OPTS)
        assert signing.check_heartbeat(lambda minion: {"db1-new": fresh}[minion], beat)
        pulse.sent()
        clock.now += heartbeat.RENAMED_EVERY


def test_a_minion_that_gets_its_id_back_says_no_more(tmp_path: Path, clock: Clock) -> None:
    spoken(tmp_path, clock)
    new = heartbeat.Pulse(tmp_path, "db1-new", clock)
    heartbeat.keep_key(tmp_path, "cd" * 32)
    assert new.due(OPTS)
    new.sent()
    back = heartbeat.Pulse(tmp_path, "db1", clock)
    assert back.renamed() is None
    heartbeat.keep_key(tmp_path, KEY)
    clock.now += heartbeat.EVERY
    assert believed(back.due(OPTS)) and back.renamed() is None
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "heartbeat.sent") == ["heartbeat.key"], (
        "nothing is left of it until it has spoken"
    )


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"minion": "db1"}', '"x"'])
def test_a_damaged_memory_of_an_id_is_none(tmp_path: Path, clock: Clock, damage: str) -> None:
    for name in ("heartbeat.told", "heartbeat.was"):
        (tmp_path / name).write_text(damage)
    heartbeat.keep_key(tmp_path, KEY)
    pulse = heartbeat.Pulse(tmp_path, "db1", clock)
    assert believed(pulse.due(OPTS)) and pulse.renamed() is None


def test_the_key_of_an_id_is_roots_alone(tmp_path: Path, clock: Clock) -> None:
    spoken(tmp_path, clock)
    heartbeat.Pulse(tmp_path, "db1-new", clock)
    assert os.stat(tmp_path / "heartbeat.was").st_mode & 0o777 == 0o600
