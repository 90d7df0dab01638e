"""The engine on a node with a real Salt: at once while the minion is busy, after a restart of the master, without the beacon."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lab import product
from lab.cluster import Lab
from lab.linux import wait_until
from lab.scenarios import DISK, FIRST
from lab.wishes import Wishes

LIMIT = 20.0
STATE = "/run/vmdk"


def _watching_only(lab: Lab) -> dict[str, Any]:
    """A master that gives pillars and acts on nothing."""
    options = product.master_options(lab, {DISK: {}})
    return {key: options[key] for key in ("vmdk", "ext_pillar")}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab in which pgdata is mounted on labdb1 and whose master does nothing."""
    wishes = Wishes(master_overrides=_watching_only, minion_overrides=product.minion_options)
    with Lab(wishes) as up:
        _mount(up)
        assert wait_until(lambda: _status(up).get("condition") == "ok", LIMIT, 0.5), _status(up)
        yield up


@pytest.fixture(autouse=True)
def mounted(lab: Lab) -> Iterator[None]:
    """Each test begins with the disk mounted and told to be so."""
    if not lab.nodes[FIRST].run(["findmnt", lab.mountpoint()]).out:
        _mount(lab)
    assert wait_until(lambda: _status(lab).get("condition") == "ok", LIMIT, 0.2), _status(lab)
    time.sleep(1.2)  # the beacon has told that all is well again
    yield


def _status(lab: Lab) -> dict[str, Any]:
    said = lab.master.local(FIRST, "vmdk.status") or {}
    found: dict[str, Any] = said.get(DISK, {}) if isinstance(said, dict) else {}
    return found


def _mount(lab: Lab) -> None:
    lab.mount(FIRST)
    assert lab.nodes[FIRST].run(["mount", "-o", "remount,noatime", lab.mountpoint()]).code == 0


def _unmount(lab: Lab) -> float:
    began = time.monotonic()
    assert lab.nodes[FIRST].run(["umount", lab.mountpoint()]).code == 0
    return began


def _pids(lab: Lab, words: str) -> list[int]:
    rows = lab.nodes[FIRST].run(["ps", "-eo", "pid=,args="]).out.splitlines()
    return [int(row.split()[0]) for row in rows if words in row]


def test_both_tell_the_same(lab: Lab) -> None:
    began = _unmount(lab)
    engine = lab.master.events.wait(f"vmdk/{DISK}/unmounted", LIMIT, began)
    beacon = lab.master.events.wait(f"salt/beacon/{FIRST}/vmdk/{DISK}/unmounted", LIMIT, began)
    assert engine is not None and beacon is not None
    assert engine.monotonic - began < 1.0
    assert beacon.monotonic - began < 4.0
    same = ("resource", "condition", "evidence", "since", "boot_id")
    assert [engine.data["data"][key] for key in same] == [beacon.data[key] for key in same]


@contextmanager
def stopped_minion(lab: Lab) -> Iterator[None]:
    """The minion's main loop, and with it the beacon, stands still; its engine goes on."""
    engines = _pids(lab, "Engine")
    minions = [str(pid) for pid in _pids(lab, "salt-minion") if pid not in engines]
    assert engines and minions
    assert lab.nodes[FIRST].run(["kill", "-STOP", *minions]).code == 0
    try:
        yield
    finally:
        lab.nodes[FIRST].run(["kill", "-CONT", *minions])


def test_at_once_while_the_minions_main_loop_stands_still(lab: Lab) -> None:
    with stopped_minion(lab):
        began = _unmount(lab)
        engine = lab.master.events.wait(f"vmdk/{DISK}/unmounted", LIMIT, began)
        assert engine is not None and engine.monotonic - began < 2.0
        assert not lab.master.events.seen(f"salt/beacon/{FIRST}/vmdk/{DISK}/unmounted", began)


def test_after_a_restart_of_the_master(lab: Lab) -> None:
    lab.master.restart()
    assert lab.master.events.wait(f"vmdk-heartbeat/{FIRST}", LIMIT)
    began = _unmount(lab)
    engine = lab.master.events.wait(f"vmdk/{DISK}/unmounted", LIMIT, began)
    assert engine is not None and engine.monotonic - began < 2.0


def test_what_happens_while_the_master_is_away_is_told_when_it_is_back(lab: Lab) -> None:
    lab.master.cell.kill()
    assert lab.master.cell.wait_end(10)
    _unmount(lab)
    time.sleep(4)  # longer than a request waits for an answer
    lab.master.restart()
    assert lab.master.events.wait(f"vmdk/{DISK}/unmounted", LIMIT), lab.master.events.seen("vmdk*")


def test_without_the_beacon_it_fetches_the_pillar_and_starts_the_prober(lab: Lab) -> None:
    node = lab.nodes[FIRST]
    (config,) = node.run(["find", "/run", "-path", "*/vmdk/prober.config.json"]).out.split()
    with stopped_minion(lab):
        assert wait_until(lambda: not _beacon_beats(lab, config), LIMIT, 0.1)
        assert node.run(["rm", config]).code == 0
        assert node.run(["kill", "-9", *map(str, _pids(lab, "guest/prober.py"))]).code == 0
        assert wait_until(lambda: bool(_speaking(lab)), 70, 0.2)
        assert "pgdata" in node.run(["cat", config]).out  # by nobody but the engine
        began = _unmount(lab)
        assert lab.master.events.wait(f"vmdk/{DISK}/unmounted", LIMIT, began)
        assert not lab.master.events.seen(f"salt/beacon/{FIRST}/vmdk/*", began)


def _speaking(lab: Lab) -> list[int]:
    """Probers that are no zombies: who has started them may stand still."""
    rows = lab.nodes[FIRST].run(["ps", "-eo", "pid=,stat=,args="]).out.splitlines()
    return [int(row.split()[0]) for row in rows if "guest/prober.py" in row and row.split()[1][0] != "Z"]


def _beacon_beats(lab: Lab, config: str) -> bool:
    """Whether the beacon has given a sign within two and a half seconds."""
    sign = ["stat", "-c", "%Y", config.replace("prober.config.json", "beacon.alive")]
    before = lab.nodes[FIRST].run(sign).out
    time.sleep(2.5)
    return lab.nodes[FIRST].run(sign).out != before
