"""A resource in the hands of its operator: planned moves, maintenance, the job cache, and work on the bare device."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from lab import product
from lab.cluster import Lab
from lab.linux import wait_until
from lab.observer import mountpoints
from lab.saltlab import salt_call
from lab.scenarios import DISK, FIRST, SECOND
from lab.wishes import Wishes

LIMIT = 20.0


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab with pgdata active on labdb1, without a service on it."""
    wishes = Wishes(
        master_overrides=lambda lab: product.master_options(lab, {DISK: {"hang_timeout": 1}}),
        minion_overrides=product.minion_options,
    )
    with Lab(wishes) as up:
        assert wait_until(lambda: _is_on(up, FIRST), LIMIT, 0.1)
        yield up


@pytest.fixture(autouse=True)
def settled(lab: Lab) -> Iterator[None]:
    """Each test begins and ends with the resource in order on labdb1."""
    assert _status(lab)["active"] == FIRST
    yield
    assert wait_until(lambda: _status(lab)["state"] == "active", LIMIT, 0.5), _status(lab)
    assert not lab.observer.amiss()


def _is_on(lab: Lab, node: str) -> bool:
    return bool(mountpoints(lab.nodes[node], lab.disks[DISK]))


def _status(lab: Lab) -> dict[str, Any]:
    found: dict[str, Any] = lab.master.run("vmdk.status", DISK)["resources"][DISK]
    return found


def _recover(lab: Lab) -> dict[str, Any]:
    """What the product says when it is asked to look; a look that is under way is waited for."""
    answer: dict[str, Any] = {}

    def looked() -> bool:
        answer.update(lab.master.run("vmdk.recover", DISK))
        return answer["result"] != "busy"

    assert wait_until(looked, LIMIT, 0.2)
    return answer


def test_there_and_back_leaves_its_trace_in_the_job_cache(lab: Lab) -> None:
    plan = lab.master.run("vmdk.plan", DISK, f"target={SECOND}")
    assert [(s["step"], s["node"]) for s in plan["steps"]] == [
        ("release", FIRST), ("detach", FIRST), ("attach", SECOND), ("mount", SECOND),
    ]  # fmt: skip
    assert _status(lab)["active"] == FIRST  # a plan changes nothing
    there = lab.master.run("vmdk.switchover", DISK, f"target={SECOND}")
    assert (there["result"], there["active"]) == ("done", SECOND)
    assert [(s["step"], s["node"]) for s in there["steps"]] == [(s["step"], s["node"]) for s in plan["steps"]]
    back = lab.master.run("vmdk.switchover", DISK)
    assert (back["result"], back["active"]) == ("done", FIRST)
    jobs = lab.master.run("jobs.list_jobs", "search_function=state.single").values()
    ran = {(job["Arguments"][0]["fun"], job["Target"][0]) for job in jobs}
    moves = {("vmdk.unmounted", n) for n in (FIRST, SECOND)} | {("vmdk.mounted", n) for n in (FIRST, SECOND)}
    assert moves <= ran
    kinds = [
        line["finished"]["kind"] for line in lab.master.run("vmdk.history", DISK)[DISK] if "finished" in line
    ]
    assert kinds[-2:] == ["switchover", "switchover"]


def test_a_switchover_that_cannot_be_clean_changes_nothing(lab: Lab) -> None:
    blocker = lab.nodes[SECOND].run(["sh", "-c", f"touch {lab.mountpoint()}/in-the-way"])
    assert blocker.code == 0
    refused = lab.master.run("vmdk.switchover", DISK)
    assert refused["result"] == "refused" and "not empty" in refused["reason"] and refused["steps"] == []
    assert refused["retcode"] == 1 and _is_on(lab, FIRST)
    assert lab.nodes[SECOND].run(["rm", f"{lab.mountpoint()}/in-the-way"]).code == 0


def test_maintenance_leaves_everything_alone(lab: Lab) -> None:
    lab.master.run("vmdk.pause", DISK)
    assert lab.nodes[FIRST].run(["umount", lab.mountpoint()]).code == 0
    held = _recover(lab)
    assert held["result"] == "held" and "paused" in held["reason"] and not _is_on(lab, FIRST)
    lab.master.run("vmdk.resume", DISK)
    assert wait_until(lambda: _is_on(lab, FIRST), LIMIT, 0.1)


def test_who_cannot_mount_it_any_more_lets_it_go_to_the_other_node_without_a_fence(lab: Lab) -> None:
    """As a service does that is started at boot and writes into the bare mount point."""
    lab.master.run("vmdk.pause", DISK)  # so that it is not mounted again before the file is there
    alone = f"umount {lab.mountpoint()} && touch {lab.mountpoint()}/in-the-way"
    assert lab.nodes[FIRST].run(["sh", "-c", alone]).code == 0
    lab.master.run("vmdk.resume", DISK)
    assert wait_until(lambda: _status(lab)["active"] == SECOND, LIMIT, 0.2), _status(lab)
    last = _status(lab)["last_move"]
    assert (last["by"], last["damped"], last["fenced"]) == (735, True, False)
    assert "not empty" in last["because"] and lab.nodes[FIRST].is_running
    assert lab.nodes[FIRST].run(["rm", f"{lab.mountpoint()}/in-the-way"]).code == 0
    assert lab.master.run("vmdk.switchover", DISK)["active"] == FIRST
    lab.master.run("vmdk.clear", DISK)


HOLD_DEVICE = """
import os, sys, time
fd = os.open(sys.argv[1], eval(sys.argv[2], vars(os)))
print("holding", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("flags", "words"), [("O_RDWR", "has /dev/loop"), ("O_RDONLY|O_EXCL", "holds the device exclusively")]
)
def test_somebody_at_work_on_the_device_is_left_alone(lab: Lab, flags: str, words: str) -> None:
    device = f"/dev/disk/by-id/wwn-0x{lab.disks[DISK].uuid.replace('-', '').lower()}"
    script = lab.run_dir / "shared" / "hold.py"
    script.write_text(HOLD_DEVICE)
    lab.master.run("vmdk.pause", DISK)  # so that it is not mounted again before the device is held
    assert lab.nodes[FIRST].run(["umount", lab.mountpoint()]).code == 0
    start = f"setsid python3 /run/lab/shared/hold.py {device} '{flags}' >/run/hold.out 2>&1 & echo $! >/run/hold.pid"
    assert lab.nodes[FIRST].run(["sh", "-c", start]).code == 0
    assert wait_until(lambda: "holding" in lab.nodes[FIRST].run(["cat", "/run/hold.out"]).out, LIMIT, 0.1)
    lab.master.run("vmdk.resume", DISK)
    held = _recover(lab)
    end = time.monotonic() + 3
    while time.monotonic() < end:  # it stays so: the events of three seconds change nothing
        assert not _is_on(lab, FIRST) and not _is_on(lab, SECOND)
        time.sleep(0.2)
    assert held["result"] == "held" and FIRST in held["reason"] and words in held["reason"]
    assert _status(lab)["nodes"][FIRST]["holds"] is True
    assert lab.nodes[FIRST].run(["sh", "-c", "kill -9 $(cat /run/hold.pid)"]).code == 0
    assert wait_until(
        lambda: _is_on(lab, FIRST), 45.0, 0.2
    )  # by itself, with the engine's tick at the latest


def test_local_view_without_the_master(lab: Lab) -> None:
    said = salt_call(lab.nodes[FIRST], "vmdk.status", DISK)[DISK]
    assert (said["mounted"], said["condition"], said["minion"]) == ("mounted", "ok", FIRST)
    assert [salt_call(lab.nodes[node], "vmdk.is_active", DISK) for node in (FIRST, SECOND)] == [True, False]


def test_orders_without_a_permit_change_nothing(lab: Lab) -> None:
    for state, so in {"vmdk.unmounted": False, "vmdk.mounted": True, "vmdk.halted": False}.items():
        said = lab.master.local(FIRST, "state.single", state, DISK)
        (only,) = said.values()
        assert only["result"] is so and only["changes"] == {} and "only the master" in only["comment"]
    forged = {"resource": DISK, "node": FIRST, "act": "release", "epoch": 99, "boot_id": "x", "deadline": 1e9,
              "nonce": "0", "digest": "0", "signature": "0" * 64}  # fmt: skip
    resource = lab.master.local(FIRST, "pillar.get", f"vmdk:resources:{DISK}")
    said = lab.master.local(FIRST, "state.single", "vmdk.unmounted", DISK, resource=resource, permit=forged)
    (only,) = said.values()
    assert only["result"] is False and "not signed" in only["comment"] and _is_on(lab, FIRST)


def test_rubbish_on_the_bus_starts_a_look_at_most(lab: Lab) -> None:
    epoch = _status(lab)["epoch"]
    for body in (
        {"resource": "../../etc/passwd"},
        {"resource": "x'\n\nevil:\n  local.cmd.run:\n"},
        {"resource": ["a"]},
        {},
    ):
        lab.master.local(SECOND, "event.send", f"vmdk/{DISK}/rubbish", body)
        lab.master.local(SECOND, "event.send", "vmdk/x/y", {"data": body})
    assert _status(lab)["epoch"] == epoch
    assert _recover(lab)["result"] == "nothing"
