"""The rules of the lab's vCenter, seen through pyVmomi: what it must refuse, what it must show, and when."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from pyVmomi import vim

from lab.hypervisor import Vcenter
from tests.lab.vsphere import (
    DISK,
    UUID,
    Client,
    Spec,
    Watch,
    add,
    connect,
    disks,
    done,
    reconfigure,
    remove,
)


def test_a_disk_moves_to_the_other_vm(db1: Any, db2: Any, vcenter: Vcenter) -> None:
    before = db1.config.changeVersion
    done(reconfigure(db1, remove(disks(db1)[0].key), version=before))
    assert disks(db1) == [] and db1.config.changeVersion != before
    done(reconfigure(db2, add(), version=db2.config.changeVersion))
    (disk,) = disks(db2)
    assert (disk.backing.fileName, disk.backing.uuid, disk.unitNumber) == (DISK, UUID, 0)
    assert disk.capacityInKB == 64 * 1024
    assert db2.summary.config.numVirtualDisks == 1
    (controller,) = [one for one in db2.config.hardware.device if one.key == disk.controllerKey]
    assert controller.busNumber == 1 and controller.device == [disk.key]
    assert [task["method"] for task in vcenter.tasks()] == ["ReconfigVM_Task", "ReconfigVM_Task"]
    assert "task ReconfigVM_Task db2 success" in vcenter.log_text()


def test_what_a_strict_client_reads(db1: Any) -> None:
    assert db1.runtime.powerState == "poweredOn" and db1.summary.runtime.connectionState == "connected"
    assert db1.snapshot is None and db1.parentVApp is None
    assert {o.key: o.value for o in db1.config.extraConfig}["disk.EnableUUID"] == "TRUE"
    assert db1.guestHeartbeatStatus == "green" and db1.guest.toolsRunningStatus == "guestToolsRunning"


def test_a_file_of_a_running_vm_is_locked(db1: Any, db2: Any, vcenter: Vcenter) -> None:
    with pytest.raises(vim.fault.GenericVmConfigFault) as caught:
        done(reconfigure(db2, add()))
    assert "Failed to lock the file" in [m.message for m in caught.value.faultMessage]
    vcenter.guest_power("db1", "poweredOff")
    done(reconfigure(db2, add()))
    with pytest.raises(vim.fault.GenericVmConfigFault) as caught:
        done(db1.PowerOnVM_Task())
    assert "Failed to lock the file" in [m.message for m in caught.value.faultMessage]
    done(reconfigure(db1, remove(disks(db1)[0].key)))
    done(db1.PowerOnVM_Task())


def test_only_one_of_many_changes_based_on_one_version_is_made(vcenter: Vcenter, db2: Any) -> None:
    version, ends = db2.config.changeVersion, []

    def write(number: int) -> None:
        vm = connect(vcenter).vm("db2")
        option = vim.option.OptionValue(key="vmdk.epoch", value=str(number))
        while True:
            try:
                done(vm.ReconfigVM_Task(Spec(changeVersion=version, extraConfig=[option])))
                return ends.append("won")
            except vim.fault.TaskInProgress:
                time.sleep(0.01)
            except vim.fault.ConcurrentAccess:
                return ends.append("lost")

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(ends) == ["lost"] * 7 + ["won"]


def test_power_moves_the_version(db1: Any, vcenter: Vcenter) -> None:
    seen = [db1.config.changeVersion]
    done(db1.PowerOffVM_Task())
    seen.append(db1.config.changeVersion)
    done(db1.PowerOnVM_Task())
    seen.append(db1.config.changeVersion)
    vcenter.guest_power("db1", "poweredOff")
    seen.append(db1.config.changeVersion)
    assert seen == sorted(set(seen))
    with pytest.raises(vim.fault.ConcurrentAccess):
        done(reconfigure(db1, remove(disks(db1)[0].key), version=seen[0]))


def test_a_vm_at_work_refuses_more_and_stays_readable(db1: Any, client: Client, vcenter: Vcenter) -> None:
    vcenter.delays(detach=1200)
    watch = Watch(client, db1, "guestHeartbeatStatus")
    started = time.monotonic()
    task = reconfigure(db1, remove(disks(db1)[0].key))
    here = vim.vm.RelocateSpec(host=db1.runtime.host)
    for refused in (db1.PowerOffVM_Task, lambda: reconfigure(db1), lambda: db1.RelocateVM_Task(here)):
        with pytest.raises(vim.fault.TaskInProgress) as caught:
            refused()
        assert caught.value.task == task
    assert len(disks(db1)) == 1 and str(task.info.state) == "running"
    vcenter.guest("db1", heartbeat="red")
    assert watch.next() == {"guestHeartbeatStatus": "red"}
    assert time.monotonic() - started < 1.0, "reading waited for the task"
    done(task)
    assert 1.2 <= time.monotonic() - started < 3 and disks(db1) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda: add("[ds1] free.vmdk", unit=7), vim.fault.InvalidDeviceSpec),
        (lambda: add("[ds1] free.vmdk", unit=65), vim.fault.InvalidDeviceSpec),
        (lambda: add("[ds1] free.vmdk", unit=0), vim.fault.InvalidDeviceSpec),
        (lambda: add("[ds1] free.vmdk", controller=4242), vim.fault.InvalidController),
        (lambda: add("[ds1] none.vmdk", unit=1), vim.fault.FileNotFound),
        (lambda: remove(4242), vim.fault.InvalidDeviceSpec),
    ],
    ids=["unit-7", "unit-65", "unit-taken", "no-controller", "no-file", "no-key"],
)
def test_bad_device_changes(change: Any, fault: type[Exception], db1: Any, vcenter: Vcenter) -> None:
    vcenter.add_disk(path="[ds1] free.vmdk", capacity_mb=8)
    before = db1.config.changeVersion
    with pytest.raises(fault):
        done(reconfigure(db1, add("[ds1] free.vmdk", unit=2), change()))
    assert len(disks(db1)) == 1 and db1.config.changeVersion == before, "half of a refused spec was made"


def test_a_suspended_vm_keeps_its_devices(db1: Any) -> None:
    done(db1.SuspendVM_Task())
    with pytest.raises(vim.fault.InvalidPowerState):
        done(reconfigure(db1, remove(disks(db1)[0].key)))
    done(db1.PowerOffVM_Task())
    done(reconfigure(db1, remove(disks(db1)[0].key)))


def test_a_disk_in_a_snapshot_stays(db1: Any, vcenter: Vcenter) -> None:
    vcenter.add_disk(
        path="[ds1] own.vmdk", capacity_mb=8, attached_to="db1", unit=1, mode="independent_persistent"
    )
    done(db1.CreateSnapshot_Task("before", "", False, False))
    vcenter.add_disk(path="[ds1] late.vmdk", capacity_mb=8, attached_to="db1", unit=2)
    kept, own, late = disks(db1)
    assert kept.backing.fileName == "[ds1] shared/pgdata-000001.vmdk"
    assert kept.backing.parent.fileName == DISK and kept.backing.uuid == UUID
    with pytest.raises(vim.fault.InvalidDeviceSpec) as caught:
        done(reconfigure(db1, remove(kept.key)))
    assert "part of a snapshot" in caught.value.msg
    done(reconfigure(db1, remove(own.key), remove(late.key)))
    done(db1.snapshot.currentSnapshot.RevertToSnapshot_Task())
    assert db1.runtime.powerState == "poweredOff" and len(disks(db1)) == 2
    done(db1.RemoveAllSnapshots_Task())
    assert db1.snapshot is None and disks(db1)[0].backing.fileName == DISK
    done(reconfigure(db1, remove(kept.key)))


def test_files_of_running_vms_cannot_be_deleted(client: Client, db1: Any, vcenter: Vcenter) -> None:
    manager, datacenter = client.content.virtualDiskManager, client.content.rootFolder.childEntity[0]
    assert manager.QueryVirtualDiskUuid(DISK, datacenter) == UUID
    with pytest.raises(vim.fault.FileLocked):
        manager.DeleteVirtualDisk_Task(DISK, datacenter)
    with pytest.raises(vim.fault.FileLocked):
        client.content.fileManager.DeleteDatastoreFile_Task("[ds1] shared", datacenter)
    vcenter.guest_power("db1", "poweredOff")
    manager.DeleteVirtualDisk_Task(DISK, datacenter)
    with pytest.raises(vim.fault.FileNotFound):
        for _ in range(100):
            manager.QueryVirtualDiskUuid(DISK, datacenter)
            time.sleep(0.05)


def test_the_simulators_own_operations_work_on_the_labs_vms(client: Client, db1: Any, db2: Any) -> None:
    other = db1.runtime.host
    done(db2.RelocateVM_Task(vim.vm.RelocateSpec(host=other)))
    assert db2.runtime.host == other
    done(db1.Rename_Task("renamed"))
    assert client.vm("renamed") == db1
    folder = client.content.rootFolder.childEntity[0].vmFolder
    clone = done(
        db2.CloneVM_Task(folder, "copy", vim.vm.CloneSpec(location=vim.vm.RelocateSpec(), powerOn=False))
    )
    assert clone.runtime.faultToleranceState == "notConfigured"
    done(clone.PowerOnVM_Task())
    with pytest.raises(vim.fault.InvalidPowerState):
        done(clone.Destroy_Task())
    done(clone.PowerOffVM_Task())
    done(clone.Destroy_Task())
