"""On a node with a real Salt: the local diagnostics without a master, in order and while the disk hangs."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lab import product, saltconf
from lab.cluster import Lab
from lab.linux import wait_until
from lab.observer import mountpoints
from lab.saltlab import program
from lab.scenarios import DISK, FIRST, SECOND
from lab.wishes import Wishes

LIMIT = 20.0


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab with pgdata active on labdb1, whose master never acts on a hang."""
    wishes = Wishes(
        master_overrides=lambda lab: product.master_options(lab, {DISK: {"hang_timeout": 600}}),
        minion_overrides=product.minion_options,
    )
    with Lab(wishes) as up:
        assert wait_until(lambda: bool(mountpoints(up.nodes[FIRST], up.disks[DISK])), LIMIT, 0.1)
        # the beacon tells the node of its resources; the master may have mounted them before
        assert wait_until(lambda: _watcher(up).get("speaks", False), LIMIT, 0.5)
        yield up


def _call(lab: Lab, *arguments: str, node: str = FIRST) -> tuple[int, Any]:
    """salt-call --local on a node: its exit code and its answer."""
    argv = [sys.executable, program("salt-call"), "-c", saltconf.MINION_ROOT, "--local", "--out=json"]
    done = lab.nodes[node].run([*argv, "--retcode-passthrough", *arguments], 60)
    assert done.out.startswith("{"), done.err
    return done.code, json.loads(done.out)["local"]


def _read(lab: Lab, *arguments: str) -> tuple[list[str], float]:
    """The same as people see it: its lines, and the seconds that it took."""
    argv = [sys.executable, program("salt-call"), "-c", saltconf.MINION_ROOT, "--local", "--no-color"]
    began = time.monotonic()
    done = lab.nodes[FIRST].run([*argv, *arguments], 60)
    return done.out.splitlines(), time.monotonic() - began


def _watcher(lab: Lab) -> dict[str, Any]:
    found: dict[str, Any] = _call(lab, "vmdk.status")[1].get(DISK, {}).get("watcher", {})
    return found


def test_in_order(lab: Lab) -> None:
    code, said = _call(lab, "vmdk.check", DISK, "write=True")
    assert (code, said["condition"]) == (0, "ok"), said
    code, said = _call(lab, "vmdk.check", DISK, node=SECOND)
    assert (code, said["condition"]) == (0, "standby"), said
    _, status = _call(lab, "vmdk.status")
    assert (status[DISK]["mounted"], status[DISK]["condition"]) == ("mounted", "ok")
    assert status[DISK]["watcher"]["sources"]["mountinfo"] == "live"


def test_doctor_and_users(lab: Lab) -> None:
    code, said = _call(lab, "vmdk.doctor")
    errors = [one for one in said["findings"] if one["severity"] == "error"]
    assert (code, said["ok"], errors) == (0, True, [])
    assert said["kernel"] == os.uname().release
    path = f"{lab.mountpoint()}/held"
    start = f"setsid sleep 60 <>{path} >/dev/null 2>&1 & echo $!"
    pid = int(lab.nodes[FIRST].run(["sh", "-c", start]).out)
    try:
        _, said = _call(lab, "vmdk.users", DISK)
        assert f"fd 0: {path}" in next(one for one in said["processes"] if one["pid"] == pid)["holds"]
    finally:
        lab.nodes[FIRST].run(["kill", "-9", str(pid)])


def test_as_people_read_it(lab: Lab) -> None:
    assert _read(lab, "vmdk.status")[0][:2] == ["local:", f"  {DISK}: all is well."]
    assert _read(lab, "vmdk.check", DISK)[0][1].startswith(f"  {DISK}: ok - ")
    assert _read(lab, "vmdk.users", DISK)[0][1].startswith(f"  {DISK}: ")
    assert _read(lab, "vmdk.doctor")[0][1] == "  Nothing stands in the way of a failover."


def test_an_unknown_resource_is_told(lab: Lab) -> None:
    argv = [sys.executable, program("salt-call"), "-c", saltconf.MINION_ROOT, "--local", "vmdk.check", "x"]
    done = lab.nodes[FIRST].run(argv, 60)
    assert done.code != 0 and f"known are: {DISK}" in done.out + done.err


def test_while_the_disk_hangs(lab: Lab) -> None:
    fault = lab.fault_disk(FIRST, DISK)
    began = time.monotonic()
    fault.set("all=hang")
    try:
        code, said = _call(lab, "vmdk.check", DISK, "timeout=1")
        assert (code, said["condition"], said["ok"]) == (1, "hung", False)
        for function in (["vmdk.status"], ["vmdk.doctor"], ["vmdk.users", DISK]):
            _call(lab, *function)
        assert time.monotonic() - began < 40
    finally:
        fault.set("ok")
    assert wait_until(lambda: _call(lab, "vmdk.check", DISK)[0] == 0, LIMIT, 0.5)


def test_each_answers_within_three_seconds_while_the_disk_hangs_and_the_master_is_gone(lab: Lab) -> None:
    lab.master.cell.kill()
    fault = lab.fault_disk(FIRST, DISK)
    fault.set("all=hang")
    write = (
        f"dd if=/dev/zero of={lab.mountpoint()}/stuck oflag=direct bs=4k count=1 >/dev/null 2>&1 & echo $!"
    )
    pid = lab.nodes[FIRST].run(["sh", "-c", write]).out.strip()
    state = ["ps", "-o", "stat=", "-p", pid]
    try:
        assert wait_until(lambda: "D" in lab.nodes[FIRST].run(state).out, 5, 0.05)
        usual = max(1.0, _read(lab, "test.ping")[1])  # what Salt's start takes on this machine now
        took = {}
        for arguments in (
            ["vmdk.status"],
            ["vmdk.check", DISK, "timeout=1"],
            ["vmdk.users", DISK],
            ["vmdk.doctor"],
        ):
            lines, took[arguments[0]] = _read(lab, *arguments)
            assert len(lines) >= 2, lines
            if arguments[0] == "vmdk.users":
                assert any(f"(pid {pid}" in line and "D)" in line for line in lines), lines
            if arguments[0] == "vmdk.check":
                assert lines[1].startswith(f"  {DISK}: hung - ")
        assert max(took.values()) < 3 * usual, (took, usual)
    finally:
        fault.set("ok")
