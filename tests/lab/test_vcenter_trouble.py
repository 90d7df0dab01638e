"""What goes wrong on purpose in the lab's vCenter: lost hosts, answers, sessions and privileges, slow and refusing hooks."""

from __future__ import annotations

import http.client
import threading
import time
from typing import Any

import pytest
from pyVmomi import vim, vmodl

from lab import linux
from lab.hypervisor import Vcenter, VcenterError
from tests.lab.vsphere import (
    DISK,
    USER,
    Client,
    Watch,
    add,
    connect,
    disks,
    done,
    reconfigure,
    remove,
)


def test_a_lost_host_hides_what_its_guests_do(db1: Any, client: Client, vcenter: Vcenter) -> None:
    vcenter.connect_host("esx1", "disconnected")
    assert (
        db1.runtime.connectionState == "disconnected"
        and db1.runtime.host.runtime.connectionState == "disconnected"
    )
    for act in (db1.PowerOffVM_Task, lambda: reconfigure(db1), db1.ShutdownGuest):
        with pytest.raises(vmodl.fault.HostNotConnected):
            act()
    with pytest.raises(vim.fault.GenericVmConfigFault):
        done(reconfigure(client.vm("db2"), add()))
    vcenter.guest_power("db1", "poweredOff")
    assert db1.runtime.powerState == "poweredOn", "nobody can know yet"
    done(reconfigure(client.vm("db2"), add()))  # the lock went with the guest
    vcenter.connect_host("esx1")
    assert (db1.runtime.connectionState, db1.runtime.powerState) == ("connected", "poweredOff")


def test_a_host_lost_during_a_task(db1: Any, vcenter: Vcenter) -> None:
    vcenter.delays(detach=300)
    task = reconfigure(db1, remove(disks(db1)[0].key))
    vcenter.connect_host("esx1", "notResponding")
    with pytest.raises(vmodl.fault.HostNotConnected):
        done(task)
    assert len(disks(db1)) == 1


def test_a_guest_halts_only_if_its_tools_run(db1: Any, vcenter: Vcenter) -> None:
    vcenter.guest("db1", tools="guestToolsNotRunning")
    with pytest.raises(vim.fault.ToolsUnavailable):
        db1.ShutdownGuest()
    vcenter.guest("db1", tools="guestToolsRunning")
    vcenter.delays(shutdown=300)
    db1.ShutdownGuest()
    assert db1.runtime.powerState == "poweredOn"
    assert linux.wait_until(lambda: db1.runtime.powerState == "poweredOff", 5)
    assert db1.guestHeartbeatStatus == "gray"
    with pytest.raises(vim.fault.InvalidPowerState):
        db1.ShutdownGuest()


def test_privileges(db1: Any, vcenter: Vcenter) -> None:
    vcenter.deny(USER, "VirtualMachine.Config.RemoveDisk", "VirtualMachine.Interact.PowerOff")
    with pytest.raises(vim.fault.NoPermission) as caught:
        reconfigure(db1, remove(disks(db1)[0].key))
    assert caught.value.privilegeId == "VirtualMachine.Config.RemoveDisk"
    with pytest.raises(vim.fault.NoPermission):
        db1.PowerOffVM_Task()
    vcenter.deny(USER)
    done(db1.PowerOffVM_Task())


def test_faults_of_the_nth_call(db1: Any, client: Client, vcenter: Vcenter) -> None:
    vcenter.fault("ReconfigVM_Task", "TaskInProgress", vm="db1", skip=1, count=2)
    done(reconfigure(client.vm("db2")))
    done(reconfigure(db1))
    for _ in range(2):
        with pytest.raises(vim.fault.TaskInProgress):
            reconfigure(db1)
    vcenter.fault("ReconfigVM_Task", "FileLocked", where="task", text="held by a backup")
    task = reconfigure(db1)
    with pytest.raises(vim.fault.FileLocked) as caught:
        done(task)
    assert "held by a backup" in caught.value.msg
    done(reconfigure(db1))
    assert vcenter.calls()["methods"]["ReconfigVM_Task"] == 6


@pytest.mark.parametrize(
    "fault", ["InvalidPowerState", "NoPermission", "NotAuthenticated", "SystemError", "Timedout"]
)
def test_every_fault_can_be_read(fault: str, db1: Any, vcenter: Vcenter) -> None:
    for where in ("call", "task"):
        vcenter.fault("PowerOffVM_Task", fault, where=where)
        with pytest.raises(Exception) as caught:
            done(db1.PowerOffVM_Task())
        assert type(caught.value).__name__.rpartition(".")[2] == fault


def test_answers_that_the_network_loses(db1: Any, vcenter: Vcenter) -> None:
    vcenter.net("drop", 1, "PowerOffVM_Task")
    assert db1.runtime.powerState == "poweredOn"  # other methods pass
    with pytest.raises((OSError, http.client.HTTPException)):
        db1.PowerOffVM_Task()
    assert db1.runtime.powerState == "poweredOn", "a dropped call was executed"
    vcenter.net("dropreply", 1, "PowerOffVM_Task")
    with pytest.raises((OSError, http.client.HTTPException)):
        db1.PowerOffVM_Task()
    assert linux.wait_until(lambda: db1.runtime.powerState == "poweredOff", 5), "the call was not executed"
    vcenter.net("503", 2)
    for _ in range(2):
        with pytest.raises(http.client.HTTPException):
            _ = db1.name
    assert db1.name == "db1"


def test_what_never_came_is_told_when_it_ends(db1: Any, vcenter: Vcenter) -> None:
    vcenter.net("drop", 2, "PowerOffVM_Task")
    assert db1.runtime.powerState == "poweredOn"
    with pytest.raises((OSError, http.client.HTTPException)):
        db1.PowerOffVM_Task()
    assert vcenter.net("") == 1 and vcenter.net("503") == 0
    assert vcenter.net("") == 0, "a mode without a count waits for nobody"
    vcenter.fault("PowerOffVM_Task", "Timedout", where="task", count=2)
    vcenter.fault("ReconfigVM_Task", "Timedout", where="task")
    with pytest.raises(vim.fault.Timedout):
        done(db1.PowerOffVM_Task())
    assert vcenter.end_fault("PowerOffVM_Task") == 1 and vcenter.end_fault("PowerOffVM_Task") == 0
    done(db1.PowerOffVM_Task())
    assert vcenter.end_fault("ReconfigVM_Task") == 1


def test_a_hanging_network_ends_when_told(db1: Any, vcenter: Vcenter) -> None:
    vcenter.net("hang")
    ends: list[str] = []

    def read() -> None:
        try:
            ends.append(db1.name)
        except (OSError, http.client.HTTPException):
            ends.append("cut")

    thread = threading.Thread(target=read)
    thread.start()
    thread.join(0.5)
    assert thread.is_alive() and ends == []
    vcenter.net("")
    thread.join(5)
    assert ends == ["cut"] and db1.name == "db1"


def test_expired_sessions(db1: Any, client: Client, vcenter: Vcenter) -> None:
    query = vmodl.query.PropertyCollector
    what = query.PropertySpec(type=vim.VirtualMachine, pathSet=["runtime.powerState"])
    which = [query.FilterSpec(objectSet=[query.ObjectSpec(obj=db1)], propSet=[what])]
    read = client.content.propertyCollector
    assert len(read.RetrievePropertiesEx(which, query.RetrieveOptions()).objects) == 1
    vcenter.expire_sessions()
    with pytest.raises(vim.fault.NotAuthenticated):
        db1.PowerOffVM_Task()
    with pytest.raises(vim.fault.NotAuthenticated):
        read.RetrievePropertiesEx(which, query.RetrieveOptions())
    with pytest.raises(vim.fault.NotAuthenticated):
        client.content.rootFolder.childEntity[0].vmFolder.CreateFolder("x")
    assert connect(vcenter).vm("db1").runtime.powerState == "poweredOn"


def test_who_waits_in_an_expired_session_is_told(client: Client, db1: Any, vcenter: Vcenter) -> None:
    watch, ends = Watch(client, db1, "runtime.powerState"), []

    def wait() -> None:
        try:
            watch.next(30)
        except vim.fault.NotAuthenticated:
            ends.append("told")

    thread = threading.Thread(target=wait)
    thread.start()
    asked = "WaitForUpdatesEx"
    assert linux.wait_until(lambda: vcenter.calls()["methods"].get(asked, 0) == 2, 5)
    vcenter.expire_sessions()
    thread.join(5)
    assert ends == ["told"]


def test_reset_gives_everything_back(db1: Any, vcenter: Vcenter) -> None:
    vcenter.fault("ReconfigVM_Task", "FileLocked", count=9)
    vcenter.deny(USER, "VirtualMachine.Interact.PowerOff")
    vcenter.delays(poweroff=5000)
    vcenter.net("503")
    vcenter.reset()
    assert vcenter.calls() == {"total": 0, "methods": {}}
    started = time.monotonic()
    done(reconfigure(db1))
    done(db1.PowerOffVM_Task())
    assert time.monotonic() - started < 2


def test_the_control_interface_says_what_is_wrong(vcenter: Vcenter) -> None:
    for path, body, words in (
        ("/guest-power", {"vm": "none", "power": "poweredOn"}, "no VM is named"),
        ("/guest-power", {"vm": "db1", "power": "on"}, "use poweredOn or poweredOff"),
        ("/disk", {"path": DISK, "capacity_mb": 1}, "choose another path"),
        ("/fault", {"method": "X", "type": "Nonsense"}, "does not exist"),
        ("/nowhere", {}, "no such control call"),
    ):
        with pytest.raises(VcenterError, match=words):
            vcenter.call(path, body)
    assert vcenter.vm("db1")["power"] == "poweredOn"
