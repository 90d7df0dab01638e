"""The beacon as Salt calls it: checked before each call, told what is wrong, quick, and done with when it is closed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import salt.config
import salt.loader
import salt.utils.event

from tests.packaging.source import ROOT
from vmdk_failover import signing
from vmdk_failover.guest import channel, duty
from vmdk_failover.model import to_plain

from .conftest import Rig, wait_for

KEY = "ab" * 32


class Beacon:
    """The beacon in Salt's loader, with the pillar of a node that may hold the rig's resource."""

    def __init__(self, rig: Rig, directory: Path) -> None:
        self.rig = rig
        for kind in ("beacons", "utils"):
            shutil.copytree(ROOT / f"_{kind}", directory / kind, ignore=shutil.ignore_patterns("__pycache__"))
        opts: dict[str, Any] = dict(salt.config.DEFAULT_MINION_OPTS)
        places = ("cachedir", "extension_modules", "pki_dir", "sock_dir")
        opts.update(dict.fromkeys(places, str(directory)))
        vmdk = {"state_dir": str(rig.state), "address": "10.0.0.1"}
        opts.update(file_client="local", grains={"id": "db1"}, id="db1", log_file="", vmdk=vmdk)
        opts["pillar"] = {"vmdk": {"key": KEY}}
        self.functions = salt.loader.beacons(opts, {})
        self.plain = json.loads(json.dumps(to_plain(rig.resource)))

    @property
    def config(self) -> list[dict[str, Any]]:
        """What the pillar says."""
        return [{"resources": {"pgdata": self.plain}}, {"_beacon_name": "vmdk"}]

    def validate(self) -> tuple[bool, str]:
        """Salt's question before each call."""
        told: tuple[bool, str] = self.functions["vmdk.validate"](self.config)
        return told

    def call(self) -> list[dict[str, Any]]:
        """Salt's call, once a second."""
        assert self.validate() == (True, "Valid beacon configuration.")
        told: list[dict[str, Any]] = self.functions["vmdk.beacon"](self.config)
        return told

    def close(self) -> None:
        """What Salt does when the configuration changes."""
        self.functions["vmdk.close"](self.config)


class Bus:
    """The minion's event bus."""

    fired: list[tuple[str, Any]]

    def __init__(self, opts: Any, listen: bool = True) -> None:
        assert not listen

    def fire_event(self, data: Any, tag: str) -> bool:
        assert tag == "fire_master"
        self.fired.append((data["tag"], data["data"]))
        return True

    def destroy(self) -> None:
        """Nothing is held."""


@pytest.fixture(autouse=True)
def bus(monkeypatch: pytest.MonkeyPatch) -> type[Bus]:
    Bus.fired = []
    monkeypatch.setattr(salt.utils.event, "MinionEvent", Bus)
    return Bus


@pytest.fixture
def beacon(rig: Rig, tmp_path: Path) -> Iterator[Beacon]:
    made = Beacon(rig, tmp_path / "extmods")
    try:
        yield made
    finally:
        made.close()
        prober = channel.names(rig.state) and _prober(rig)
        if prober:  # it ends by itself, only later
            wait_for(lambda: not Path(f"/proc/{prober}").exists() or _zombie(prober), 10)


def _prober(rig: Rig) -> int:
    try:
        return int(json.loads((rig.state / "prober.json").read_text())["pid"])
    except (OSError, ValueError):
        return 0


def _zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def _until(beacon: Beacon, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    wait_for(lambda: bool(found.extend(one for one in beacon.call() if fits(one)) or found), 8)
    return found[0]


def test_it_watches_reports_and_beats(beacon: Beacon, rig: Rig, bus: type[Bus]) -> None:
    # this machine's own links are looked at, so the rig's disk is not there: the node is one without the disk
    took = []
    for _ in range(5):
        began = time.monotonic()
        assert [one for one in beacon.call() if one["condition"] != "watcher_silent"] == []
        took.append(time.monotonic() - began)
    assert max(took[1:]) < 0.01, took
    wait_for(lambda: bool(_prober(rig)), 5)
    assert duty.beacon_lives(rig.state)
    beats = [data for tag, data in bus.fired if tag == "vmdk-heartbeat/db1"]
    assert beats and signing.check_heartbeat(lambda _: KEY, beats[0])["address"] == "10.0.0.1"


def test_a_report_is_tagged_with_resource_and_condition(beacon: Beacon, rig: Rig) -> None:
    wait_for(lambda: not beacon.call() and bool(_prober(rig)), 5)
    _stop(rig)
    told = _until(beacon, lambda one: one["condition"] == "watcher_silent")
    assert told["tag"] == "pgdata/watcher_silent"


def _stop(rig: Rig) -> None:
    pid = _prober(rig)
    os.kill(pid, signal.SIGKILL)
    (rig.state / "prober.0.sock").unlink()
    blocker = rig.state / "prober.0.lock"
    blocker.unlink()
    blocker.mkdir()  # nobody can be started in its place


def test_a_mistake_is_told_and_what_is_right_is_taken_up_again(beacon: Beacon, rig: Rig) -> None:
    beacon.call()
    beacon.plain["hang_timeout"] = "soon"
    ok, sentence = beacon.validate()
    assert not ok
    assert "resources.pgdata.hang_timeout must be a number, not 'soon'" in sentence
    beacon.plain["hang_timeout"] = 3.0
    beacon.call()
    assert channel.read_config(rig.state)["resources"]["pgdata"]["hang_timeout"] == 3.0
