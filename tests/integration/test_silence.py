"""Heartbeats on the real bus, and what a person sees when only an agent has died."""

from __future__ import annotations

import time
from typing import Any

import pytest

from lab import saltconf, trial
from lab.cluster import Lab
from lab.linux import wait_until
from lab.product import master_options, minion_options
from lab.scenarios import DISK, FIRST, SCENARIOS, SECOND, be_heard
from lab.wishes import DiskWish, Wishes


def heartbeats(lab: Lab, node: str, seconds: float) -> list[Any]:
    """Those that arrive within so many seconds."""
    since = time.monotonic()
    wait_until(lambda: time.monotonic() - since > seconds, seconds + 1, 0.1)
    return [one.data for one in lab.master.events.seen(f"vmdk-heartbeat/{node}", since)]


@pytest.mark.parametrize("by", ["engine", "beacon"])
def test_one_heartbeat_a_second(by: str) -> None:
    wishes = Wishes(
        disks=(DiskWish(DISK, "ext4"),),
        master_overrides=lambda lab: master_options(lab, {DISK: {}}),
        minion_overrides=minion_options if by == "engine" else {},
    )
    with Lab(wishes) as lab:
        assert lab.master.events.wait(f"vmdk-heartbeat/{SECOND}", 20.0, 0.0)
        found = heartbeats(lab, SECOND, 3.0) and heartbeats(lab, SECOND, 6.0)
        assert 5 <= len(found) <= 7
        words = [one.get("data", one) for one in found]
        assert {one["minion"] for one in words} == {SECOND}
        assert {one["address"] for one in words} == {lab.nodes[SECOND].identity.address}
        numbers = [one["seq"] for one in words]
        assert numbers == sorted(set(numbers))


def test_status_says_that_only_the_agent_is_silent() -> None:
    scenario = SCENARIOS["agent-dies"]
    with trial.prepared(scenario, trial.Settings()) as lab:
        scenario.prepare(lab)
        scenario.fault(lab)
        assert wait_until(
            lambda: any(
                one.data.get("rule") == scenario.held
                for one in lab.master.events.seen(f"vmdk-move/{DISK}/decided", 0.0)
            ),
            scenario.limit,
            0.1,
        )
        told = lab.master.run("vmdk.status", DISK)["resources"][DISK]
        assert (told["state"], told["rule"]) == ("held", scenario.held)
        assert FIRST in told["reason"] and "address answers" in told["reason"]
        assert told["nodes"][FIRST]["holds"] is True


def test_a_node_whose_minion_cannot_work_any_more_loses_the_disk_that_fails() -> None:
    """Nothing can be written where its minion notes its jobs, as on a root disk that is full or fails too."""
    scenario = SCENARIOS["eio-switchover"]
    with trial.prepared(scenario, trial.Settings()) as lab:
        be_heard(lab)
        jobs = f"{saltconf.MINION_ROOT}/var/cache/salt/minion/proc"
        full = lab.nodes[FIRST].run(["mount", "-t", "tmpfs", "-o", "nr_inodes=1", "tmpfs", jobs])
        assert full.code == 0, full
        scenario.fault(lab)

        def there() -> bool:
            return any(one.mountpoint == "/srv/pgdata" for one in lab.nodes[SECOND].mounts())

        moved = wait_until(there, 30.0 * lab.patience, 0.2)
        told = [one.data["sentence"] for one in lab.master.events.seen(f"vmdk-move/{DISK}/*", 0.0)]
        assert moved and any("(rule 637)" in one for one in told), told
