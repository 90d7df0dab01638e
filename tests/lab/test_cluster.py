"""The whole lab: the nodes follow the vCenter, Salt is real, and whatever kills the lab, nothing of it stays."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyVmomi import SoapStubAdapter, vim

from lab import leftovers, loop, trial
from lab.cluster import Lab
from lab.faultdisk import ROOT
from lab.inventory import PASSWORD, USER
from lab.linux import wait_until
from lab.observer import mountpoints
from lab.qemu.scenarios import SCENARIOS as OF_GUESTS
from lab.scenarios import DISK, FIRST, SCENARIOS, SECOND, Scenario
from lab.wishes import DiskWish, Wishes
from tests.lab.conftest import wait_for
from tests.lab.vsphere import add, disks, done, remove


def _login(lab: Lab) -> Any:
    stub = SoapStubAdapter(
        host=lab.vcenter.host,
        port=lab.vcenter.port,
        path="/sdk",
        version="vim.version.v8_0_3_0",
        sslContext=ssl._create_unverified_context(),
    )
    content: Any = vim.ServiceInstance("ServiceInstance", stub).RetrieveContent()
    content.sessionManager.Login(USER, PASSWORD, None)
    return content


def _vm(content: Any, lab: Lab, node: str) -> Any:
    return content.searchIndex.FindByUuid(None, lab.nodes[node].identity.instance_uuid, True, True)


def _key(vm: Any, path: str) -> int:
    """The device key of a VM's disk."""
    return next(int(one.key) for one in disks(vm) if one.backing.fileName == path)


def _move(lab: Lab, path: str, power_off: bool) -> None:
    """What a failover comes to, by hand and by SOAP: off with one node, the disk to the other, mounted there."""
    content = _login(lab)
    one, two = (_vm(content, lab, name) for name in (FIRST, SECOND))
    if power_off and str(one.runtime.powerState) == "poweredOn":
        done(one.PowerOffVM_Task())
    spec = vim.vm.ConfigSpec
    done(one.ReconfigVM_Task(spec(deviceChange=[remove(_key(one, path))])))
    done(two.ReconfigVM_Task(spec(deviceChange=[add(path)])))
    lab.mount(SECOND)


@pytest.fixture
def bare() -> Iterator[Lab]:
    """Nodes and a vCenter, without Salt."""
    with Lab(Wishes(disks=(DiskWish(), DiskWish("spare", holder=None)), salt=False)) as lab:
        yield lab


def test_nodes_follow_the_vcenter(bare: Lab) -> None:
    disk = bare.disks[DISK]
    bare.mount(FIRST)
    content = _login(bare)
    one, two = (_vm(content, bare, name) for name in (FIRST, SECOND))
    with pytest.raises(vim.fault.VimFault):  # held by a running VM
        done(two.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[add(disk.path)])))
    assert mountpoints(bare.nodes[SECOND], disk) == []
    done(one.PowerOffVM_Task())
    assert not bare.nodes[FIRST].is_running
    done(one.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[remove(_key(one, disk.path))])))
    assert disk not in [slot.disk for slot in bare.slots(FIRST)]
    done(two.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[add(disk.path)])))
    bare.mount(SECOND)
    done(one.PowerOnVM_Task())
    assert bare.nodes[FIRST].is_running
    wait_for(lambda: bare.observer.first("mounted", disk, "labdb2-vm", 0.0) is not None)
    assert bare.observer.findings.double_holders == []
    assert bare.observer.findings.double_mounts == []


def test_a_reset_boots_the_node_anew(bare: Lab) -> None:
    before = bare.nodes[FIRST].cell.boot_id
    done(_vm(_login(bare), bare, FIRST).ResetVM_Task())
    assert bare.nodes[FIRST].cell.boot_id != before
    assert bare.disks[DISK] in [slot.disk for slot in bare.slots(FIRST)]


def test_a_guest_that_halts_itself_is_off_in_the_vcenter(bare: Lab) -> None:
    bare.nodes[FIRST].cell.start(["sh", "-c", "echo o > /run/lab/sysrq"])
    wait_for(lambda: bare.vcenter.vm("labdb1-vm")["power"] == "poweredOff")
    assert bare.vcenter.vm("labdb2-vm")["power"] == "poweredOn"
    bare.nodes[SECOND].cell.start(["sh", "-c", "echo b > /run/lab/sysrq"])
    old = bare.nodes[SECOND].cell.boot_id
    wait_for(lambda: bare.nodes[SECOND].is_running and bare.nodes[SECOND].cell.boot_id != old)


def _post(url: str, body: bytes) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as problem:
        return problem.code, json.load(problem)


def test_the_hook_is_the_second_line_behind_the_lock(bare: Lab) -> None:
    """Asked directly, as if the vCenter's own lock had failed."""
    url = bare.follower.url
    where = {"path": bare.disks[DISK].path, "uuid": bare.disks[DISK].uuid, "bus": 1, "unit": 0}
    step = json.dumps({"op": "attach", "vm": "labdb2-vm", **where}).encode()
    code, answer = _post(url, step)
    assert (code, answer["fault"]) == (409, "FileLocked")
    assert "in use by another running node" in answer["message"]
    assert _post(url, b"{")[0] == 400
    assert _post(url, b'{"op": "explode", "vm": "labdb2-vm"}')[0] == 400
    assert _post(url, b'{"op": "poweroff", "vm": "somebody else"}') == (200, {})
    assert bare.nodes[SECOND].is_running


def test_the_witness_sees_a_disk_at_two_nodes(bare: Lab) -> None:
    """Its judgement is tested by deceiving it: the same mount is shown under both nodes' names."""
    disk = bare.disks[DISK]
    bare.mount(FIRST)
    two: Any = bare.nodes[SECOND]
    two.device_of, two.mounts = bare.nodes[FIRST].device_of, bare.nodes[FIRST].mounts
    wait_for(lambda: bool(bare.observer.findings.double_mounts))
    assert bare.observer.findings.double_mounts[0][1:] == (disk.path, ("labdb1-vm", "labdb2-vm"))
    bare.vcenter.add_disk(
        path="[ds1] shared/other.vmdk", capacity_mb=8, attached_to="labdb2-vm", bus=0, unit=1
    )
    assert bare.observer.findings.double_holders == []


def _by_hand(scenario: Scenario, power_off: bool) -> trial.Outcome:
    path = f"[ds1] shared/{DISK}.vmdk"

    def act(lab: Lab) -> None:
        _move(lab, path, power_off)
        lab.master.local(SECOND, "service.start", "ledger")

    return trial.run(scenario, trial.Settings(by_hand=act))


@pytest.mark.timeout(240)
def test_a_scenario_moved_by_hand_loses_nothing_that_was_acknowledged() -> None:
    """Real master, real minions, a hung disk; a person in the place of the product."""
    outcome = _by_hand(SCENARIOS["hang-switchover"], power_off=True)
    assert outcome.ok, outcome
    assert (outcome.lost, outcome.double_holders, outcome.double_mounts) == (0, 0, 0)
    assert outcome.acknowledged >= 50
    assert outcome.fault_to_mounted_ms is not None
    assert [(step.name, step.node) for step in outcome.steps] == [
        ("poweroff", FIRST),
        ("detach", FIRST),
        ("attach", SECOND),
    ]
    assert set(outcome.plain()) >= {
        "scenario", "ok", "fault_to_event_ms", "fault_to_decision_ms", "fault_to_mounted_ms", "steps", "acknowledged",
        "lost", "double_holders", "double_mounts", "notes",
    }  # fmt: skip


@pytest.mark.timeout(240)
def test_a_scenario_that_does_not_reach_its_end_is_not_ok() -> None:
    never = Scenario("never", "Nothing is repaired.", lambda lab: lab.crash(FIRST), limit=1.0)
    outcome = trial.run(never, trial.Settings(by_hand=lambda _: None))
    assert not outcome.ok
    assert outcome.fault_to_mounted_ms is None
    assert any("not mounted on labdb2" in note for note in outcome.notes)


@pytest.mark.timeout(240)
def test_salt_is_real() -> None:
    started = time.monotonic()
    with Lab() as lab:
        assert time.monotonic() - started < 60
        assert lab.master.local(FIRST, "test.ping") is True
        assert lab.master.local(FIRST, "grains.get", "uuid") == lab.nodes[FIRST].identity.uuid
        assert sorted(lab.master.run("manage.up")) == [FIRST, SECOND]
        lab.mount(FIRST)
        assert lab.master.local(FIRST, "service.start", "ledger") is True
        assert lab.master.local(FIRST, "service.status", "ledger") is True
        assert lab.master.local(FIRST, "service.stop", "ledger") is True
        assert lab.master.local(SECOND, "service.start", "ledger") is False  # nothing is mounted there
        lab.crash(FIRST)
        assert lab.master.local(FIRST, "test.ping", seconds=1.0) is None
        again = time.monotonic()
        lab.nodes[FIRST].power_on()
        lab.master.wait_minions([FIRST], 60, again)
        assert lab.master.local(FIRST, "test.ping") is True


_OWNER = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests in the background ignores it
from lab.cluster import Lab
from lab.wishes import Wishes
with Lab(Wishes(salt=False)) as lab:
    lab.mount("labdb1")
    lab.nodes["labdb1"].cell.start(["sh", "-c", "while :; do date > /srv/pgdata/x; sync -f /srv/pgdata; done"])
    lab.fault("labdb1", "pgdata", "all=hang")
    disk = lab.fault_disk("labdb1", "pgdata")
    pids = [lab.nodes["labdb1"].cell.pid, lab.disks_host.pid, disk.pid, lab.vcenter.pid]
    print(lab.run_dir, *pids, disk.loop, flush=True)
    time.sleep(600)
"""


@contextmanager
def _owner() -> Iterator[tuple[subprocess.Popen[str], Path, list[int], str]]:
    """A lab in a process of its own: (process, directory, processes of the lab's helpers, device of the hung disk)."""
    command = [sys.executable, "-c", _OWNER]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        try:
            assert process.stdout is not None
            name, *numbers, device = process.stdout.readline().split()
            yield process, Path(name), [int(number) for number in numbers], device
        finally:
            process.kill()


@pytest.mark.parametrize("stopped", [False, True], ids=["killed", "killed with stopped helpers"])
def test_what_a_killed_lab_leaves_is_given_back(stopped: bool) -> None:
    """Stopped helpers cannot see that the lab is gone, so something really stays until the next start."""
    with _owner() as (process, directory, pids, device):
        was = loop.configuration(device)
        assert leftovers.running()[directory] == process.pid
        assert not any(str(directory) in sentence for sentence in leftovers.give_back())  # it lives
        for pid in pids if stopped else ():
            os.kill(pid, signal.SIGSTOP)
    assert not stopped or not loop.wait_gone(device, was, 0.3)
    assert any(str(directory) in sentence for sentence in leftovers.give_back())
    assert not directory.exists()
    assert wait_until(lambda: not any(_lives(pid) for pid in pids), 5)
    assert loop.wait_gone(device, was, 5)
    assert not any(str(directory) in sentence for sentence in leftovers.give_back())


def _lives(pid: int) -> bool:
    try:
        return "lab" in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False


def test_ctrl_c_ends_a_lab_without_a_trace() -> None:
    with _owner() as (process, directory, pids, device):
        started, was = time.monotonic(), loop.configuration(device)
        process.send_signal(signal.SIGINT)
        process.wait(20)
        assert time.monotonic() - started < 10
        assert not directory.exists()
        assert not any(_lives(pid) for pid in pids)
        assert loop.wait_gone(device, was, 0)


def test_the_command_line_lists_the_scenarios() -> None:
    done_ = subprocess.run(
        [sys.executable, "-m", "lab", "--list"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert [line.split()[0] for line in done_.stdout.splitlines()] == [*SCENARIOS, *OF_GUESTS]
    refused = subprocess.run(
        [sys.executable, "-m", "lab", "run", "nonsense"], capture_output=True, text=True, cwd=ROOT
    )
    assert refused.returncode == 2
    assert "invalid choice" in refused.stderr
