"""The property stream of the lab's vCenter: complete, at once, also under load and for many who wait."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

import pytest
from pyVim.task import WaitForTask
from pyVmomi import vim, vmodl

from lab.hypervisor import Vcenter
from tests.lab.vsphere import (
    Client,
    Device,
    Spec,
    Watch,
    connect,
    disks,
    done,
    reconfigure,
    remove,
)


def test_a_watcher_hears_of_everything_at_once(client: Client, db1: Any, vcenter: Vcenter) -> None:
    paths = (
        "runtime.powerState",
        "runtime.connectionState",
        "guestHeartbeatStatus",
        "config.hardware.device",
    )
    watch, leaf = Watch(client, db1, *paths, "config.changeVersion", "snapshot"), "snapshot.currentSnapshot"
    narrow = Watch(client, db1, leaf)
    key = disks(db1)[0].key

    def heard(act: Any) -> dict[str, Any]:
        act()
        started = time.monotonic()
        changes = watch.next()
        assert time.monotonic() - started < 1
        return changes

    assert heard(lambda: vcenter.guest("db1", heartbeat="yellow")) == {"guestHeartbeatStatus": "yellow"}
    made = heard(lambda: vcenter.snapshot("db1", "x"))
    assert made["snapshot"].currentSnapshot is not None
    assert narrow.next() == {leaf: made["snapshot"].currentSnapshot}
    assert any(getattr(d.backing, "parent", None) for d in made["config.hardware.device"])
    gone = heard(lambda: vcenter.remove_snapshots("db1"))
    assert gone["snapshot"] is None and narrow.next() == {leaf: None}
    lost = heard(lambda: vcenter.connect_host("esx1", "notResponding"))
    assert lost == {"runtime.connectionState": "disconnected"}
    assert heard(lambda: vcenter.connect_host("esx1")) == {"runtime.connectionState": "connected"}
    assert heard(lambda: vcenter.guest_power("db1", "poweredOff"))["runtime.powerState"] == "poweredOff"
    detached = heard(lambda: done(reconfigure(db1, remove(key))))
    assert "config.changeVersion" in detached
    assert not [d for d in detached["config.hardware.device"] if isinstance(d, Device.VirtualDisk)]


def test_a_watcher_keeps_up_with_many_writers(client: Client, db2: Any, vcenter: Vcenter) -> None:
    watch, stop = Watch(client, db2, "guestHeartbeatStatus", "config.hardware.device"), threading.Event()

    def write() -> None:
        other = connect(vcenter).vm("db1")
        while not stop.is_set():
            with suppress(vim.fault.TaskInProgress):
                done(other.ReconfigVM_Task(Spec(annotation="x")))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(20):
            colour = ("red", "green")[number % 2]
            started = time.monotonic()
            vcenter.guest("db2", heartbeat=colour)
            assert watch.next() == {"guestHeartbeatStatus": colour}
            assert time.monotonic() - started < 1
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    assert len(vcenter.tasks()) > 20


def test_many_wait_on_one_collector(client: Client, vcenter: Vcenter) -> None:
    vcenter.delays(reconfigure=100)
    names, ends = [f"x{n}" for n in range(12)], []
    for name in names:
        vcenter.add_vm(name=name)

    def write(name: str) -> None:
        WaitForTask(
            client.vm(name).ReconfigVM_Task(Spec(annotation=name))
        )  # streams of one session's collector
        ends.append(name)

    threads = [threading.Thread(target=write, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(ends) == sorted(names)


def test_a_deleted_vm_is_gone_for_everybody(client: Client, db2: Any) -> None:
    watch = Watch(client, db2, "name")
    done(db2.PowerOffVM_Task())
    db2.UnregisterVM()
    assert watch.kinds() == ["leave"]
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        _ = db2.runtime.powerState
