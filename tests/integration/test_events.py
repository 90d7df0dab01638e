"""docs/events.md against the real bus: each event that is there has exactly the keys that are written down, and an example."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from typing import Any

import pytest

from lab import trial
from lab.cluster import Lab
from lab.events import Event
from lab.linux import wait_until
from lab.scenarios import DISK, FIRST, SCENARIOS
from tests.packaging.events_page import page
from vmdk_failover.daemon import watching
from vmdk_failover.judgement.case import Then

OURS = ("vmdk", "salt/beacon/*/vmdk/*")


def _body(event: Event) -> dict[str, Any]:
    """What was sent: without what Salt puts around and into every event."""
    inner = event.data.get("data")
    body = inner if isinstance(inner, dict) and event.data.get("cmd") == "_minion_event" else event.data
    return {key: value for key, value in body.items() if key not in ("_stamp", "id")}


@pytest.fixture(scope="module")
def seen() -> Iterator[list[Event]]:
    """All our events of a failover after an I/O error, a switchover back, and of a node that falls silent."""
    scenario = SCENARIOS["eio-switchover"]
    with trial.prepared(scenario, trial.Settings()) as lab:
        scenario.prepare(lab)
        scenario.fault(lab)
        failover = _wait(lab, f"vmdk-move/{DISK}/ended", lambda body: body["epoch"] == 2, 60)
        assert failover and _body(failover)["result"] == "done"  # epoch 1 was the first mount of all
        back = lab.master.run("vmdk.switchover", DISK)
        assert (back["result"], back.get("active")) == ("done", FIRST), back
        assert lab.master.events.wait(f"vmdk-heartbeat/{FIRST}", 20)
        lab.master.run("vmdk.pause", DISK)
        assert lab.nodes[FIRST].run(["umount", "-l", lab.mountpoint()]).code == 0  # in use
        assert wait_until(lambda: _by_beacon(lab), 60), "no beacon has told a condition that lasts"
        everything = [one for one in lab.master.events.seen() if _is_ours(one.tag)]
    yield everything


def _by_beacon(lab: Lab) -> bool:
    """A beacon, which looks once a second, has told of the disk."""
    told = f"salt/beacon/*/vmdk/{DISK}/*"
    return any(fnmatch.fnmatch(one.tag, told) for one in lab.master.events.seen())


def _wait(lab: Lab, tag: str, fits: Any, seconds: float) -> Event | None:
    return lab.master.events.wait(tag, seconds, 0.0, lambda event: fits(_body(event)))


def _is_ours(tag: str) -> bool:
    return tag.startswith("vmdk") or fnmatch.fnmatch(tag, OURS[1])


def test_every_event_has_the_keys_that_are_written_down(seen: list[Event]) -> None:
    written = page()
    assert len(seen) > 20
    met = set()
    for event in seen:
        meant = next((one for one in written if fnmatch.fnmatch(event.tag, one.pattern)), None)
        assert meant is not None, f"docs/events.md does not know {event.tag}: {event.data}"
        keys = set(_body(event))
        assert meant.keys <= keys, (event.tag, meant.keys - keys)
        assert keys <= meant.keys | meant.sometimes, (event.tag, keys - meant.keys - meant.sometimes)
        met.add(meant.pattern)
    assert {
        "salt/beacon/*/vmdk/*/*", "vmdk-heartbeat/*", "vmdk-move/*/decided", "vmdk-move/*/step",
        "vmdk-move/*/outcome", "vmdk-move/*/done", "vmdk-move/*/ended",
    } <= met, met  # fmt: skip


def test_every_example_has_the_keys_of_its_event() -> None:
    written = page()
    assert len(written) >= 10
    for one in written:
        keys = set(one.example) - {"_stamp", "id"}
        assert one.keys <= keys <= one.keys | one.sometimes, one.pattern


def test_both_ways_a_condition_comes_are_the_same(seen: list[Event]) -> None:
    """The beacon looks once a second: what was over sooner it need not have told."""
    ways = {
        start: {
            str(_body(one)["condition"]): set(_body(one))
            for one in seen
            if fnmatch.fnmatch(one.tag, start) and "condition" in _body(one)
        }
        for start in ("salt/beacon/*/vmdk/*", f"vmdk/{DISK}/*")
    }
    beacon, engine = ways.values()
    assert "io_error" in engine
    assert beacon and set(beacon) <= set(engine), ways
    assert all(beacon[condition] == engine[condition] for condition in beacon), ways


def test_every_hint_and_every_verdict_is_written_down() -> None:
    patterns = {one.pattern for one in page()}
    hints = watching.WORTH | {"watching", "unfinished", "silent", "appointed", "leaving", "booted"}
    assert {f"vmdk/*/{one}" for one in hints} <= patterns
    told = {"decided", "step", "outcome", "ended"} | {one.value for one in Then}
    assert {f"vmdk-move/*/{one}" for one in told} <= patterns
