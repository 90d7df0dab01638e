"""From an answer to facts: what is missing is unknown, what is unset is unset, and the two are never confused."""

from __future__ import annotations

from typing import Any

import pytest
from pyVmomi import vim

from tests.vsphere.test_devices import PV1, disk
from tests.vsphere.world import DISK
from vmdk_failover.model import Power, VmFacts
from vmdk_failover.vsphere.properties import Read
from vmdk_failover.vsphere.sight import VM_PATHS, facts_of, hosts_gone

VALUES: dict[str, Any] = {
    "name": "db1-vm",
    "config.instanceUuid": "5037aaaa-0000-4000-8000-000000000001",
    "config.changeVersion": "v7",
    "config.hardware.device": [PV1, disk(2016, 1001, 0)],
    "runtime.powerState": "poweredOff",
    "runtime.connectionState": "connected",
    "runtime.host": vim.HostSystem("host-1"),
    "guestHeartbeatStatus": "gray",
    "recentTask": [vim.Task("task-1")],
}
HOST = {"name": "esx1", "runtime.connectionState": "connected"}
TASK = {"info.state": "success", "info.descriptionId": "VirtualMachine.powerOff"}


def read(ref: str, values: dict[str, Any], *missing: str) -> Read:
    """An object's part of an answer, without the properties that are missing."""
    return Read(
        ref, "", {path: value for path, value in values.items() if path not in missing}, frozenset(missing)
    )


def facts(
    vm: Read | None = None, host: Read | None = None, task: Read | None = None, gone: tuple[str, ...] = ()
) -> VmFacts:
    """Facts of an answer that has these instead of the usual parts, and not those that are gone."""
    answer = {
        "vm-1": vm or read("vm-1", VALUES),
        "host-1": host or read("host-1", HOST),
        "task-1": task or read("task-1", TASK),
    }
    return facts_of("db1", "vm-1", {ref: one for ref, one in answer.items() if ref not in gone}, [DISK])


def changed(**values: Any) -> Read:
    """The VM with other values; ``__`` stands for a dot, ``None`` unsets."""
    merged = {**VALUES, **{path.replace("__", "."): value for path, value in values.items()}}
    return read("vm-1", {path: value for path, value in merged.items() if value is not None})


def test_all_is_there() -> None:
    seen = facts()
    assert seen.is_off and seen.lists(DISK) is True
    assert (seen.snapshot, seen.task, seen.host, seen.heartbeat, seen.boot_time) == (
        False,
        "",
        "esx1",
        "gray",
        "",
    )


MISSING: list[tuple[str, dict[str, Any]]] = [
    ("config.changeVersion", {"change_version": ""}),
    ("config.hardware.device", {"disks": None, "slots": None, "controllers": None}),
    ("runtime.powerState", {"power": Power.UNKNOWN}),
    ("runtime.connectionState", {"connected": None}),
    ("runtime.host", {"connected": None, "host": ""}),
    ("snapshot", {"snapshot": None}),
    ("recentTask", {"task": None}),
    ("guestHeartbeatStatus", {"heartbeat": ""}),
    ("runtime.bootTime", {"boot_time": ""}),
    ("name", {"name": ""}),
]


@pytest.mark.parametrize(("path", "unknown"), MISSING)
def test_what_cannot_be_read_is_unknown(path: str, unknown: dict[str, Any]) -> None:
    seen = facts(read("vm-1", VALUES, path))
    assert {name: getattr(seen, name) for name in unknown} == unknown


def test_nothing_readable_is_nothing_known() -> None:
    seen = facts(read("vm-1", {}, *VM_PATHS))
    assert (seen.power, seen.connected, seen.disks, seen.snapshot, seen.task) == (
        Power.UNKNOWN,
        None,
        None,
        None,
        None,
    )
    assert not seen.is_off and seen.lists(DISK) is None


@pytest.mark.parametrize(
    ("vm_word", "host_word", "connected"),
    [
        ("connected", "connected", True),
        ("connected", "disconnected", False),
        ("connected", "notResponding", False),
        ("disconnected", "connected", False),
        ("orphaned", "connected", False),
        ("inaccessible", None, False),
        (None, "notResponding", False),
        ("connected", None, None),
        (None, "connected", None),
        (None, None, None),
    ],
)
def test_connected_needs_both(vm_word: str | None, host_word: str | None, connected: bool | None) -> None:
    host = read("host-1", {"name": "esx1", **({"runtime.connectionState": host_word} if host_word else {})})
    seen = facts(changed(runtime__connectionState=vm_word), host)
    assert seen.connected is connected
    assert seen.is_off is (connected is True)


def test_a_host_that_we_may_not_see_is_unknown() -> None:
    seen = facts(gone=("host-1",))
    assert (seen.connected, seen.host, seen.is_off) == (None, "host-1", False)


@pytest.mark.parametrize(
    ("word", "power"),
    [
        ("poweredOn", Power.ON),
        ("poweredOff", Power.OFF),
        ("suspended", Power.SUSPENDED),
        ("hibernated", Power.UNKNOWN),
        (None, Power.UNKNOWN),
    ],
)
def test_power(word: str | None, power: Power) -> None:
    assert facts(changed(runtime__powerState=word)).power is power


@pytest.mark.parametrize(
    ("state", "told"),
    [("queued", "VirtualMachine.powerOff"), ("running", "VirtualMachine.powerOff"), ("error", "")],
)
def test_a_task_that_is_not_over(state: str, told: str) -> None:
    assert facts(task=read("task-1", {**TASK, "info.state": state})).task == told


def test_a_task_that_we_may_not_see_is_unknown() -> None:
    assert facts(task=read("task-1", TASK, "info.state")).task is None


def test_a_task_that_is_gone_has_ended() -> None:
    assert facts(gone=("task-1",)).task == ""


def test_a_running_task_counts_more_than_an_unknown_one() -> None:
    answer = {
        "vm-1": changed(recentTask=[vim.Task("task-1"), vim.Task("task-2")]),
        "task-1": read("task-1", {}, "info.state"),
        "task-2": read("task-2", {"info.state": "running"}),
    }
    assert facts_of("db1", "vm-1", answer, [DISK]).task == "a task"


def test_a_question_is_told_with_the_task() -> None:
    question = vim.vm.QuestionInfo(id="1", text="The disk is full.\nRetry?")
    running = read("task-1", {**TASK, "info.state": "running"})
    assert (facts(changed(runtime__question=question), task=running).task or "").endswith(
        "The disk is full. Retry?"
    )


SNAPSHOT = vim.vm.SnapshotInfo()


def layout(key: int) -> list[Any]:
    """A snapshot that has the disk with this key."""
    kept = vim.vm.FileLayoutEx.DiskLayout(key=key)
    return [vim.vm.FileLayoutEx.SnapshotLayout(key=vim.vm.Snapshot("snapshot-1"), disk=[kept])]


@pytest.mark.parametrize(("key", "kept"), [(2016, True), (2000, False)])
def test_a_snapshot_keeps_the_disks_that_it_has(key: int, kept: bool) -> None:
    assert facts(changed(snapshot=SNAPSHOT, layoutEx__snapshot=layout(key))).snapshot is kept


def test_a_disk_on_top_of_another_file_is_kept_whatever_the_layout_says() -> None:
    backing = vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
        fileName="[ds1] shared/pgdata-000001.vmdk",
        uuid=DISK.uuid,
        diskMode="persistent",
        parent=vim.vm.device.VirtualDisk.FlatVer2BackingInfo(fileName=DISK.path),
    )
    seen = facts(changed(snapshot=SNAPSHOT, config__hardware__device=[PV1, disk(2016, 1001, 0, backing)]))
    assert seen.snapshot is True and seen.lists(DISK) is None


def test_a_snapshot_on_unknown_devices_is_unknown() -> None:
    vm = read("vm-1", {**VALUES, "snapshot": SNAPSHOT}, "config.hardware.device")
    assert facts(vm).snapshot is None


def question(key: str, text: str) -> Any:
    """A question as vSphere puts it."""
    return vim.vm.QuestionInfo(
        id="1", text=text, message=[vim.vm.Message(id=key, text=text)], choice=vim.option.ChoiceOption()
    )


@pytest.mark.parametrize(
    ("key", "full"), [("msg.hbacommon.outofspace", True), ("msg.uuid.altered", False), ("", False)]
)
def test_a_question_is_told_and_a_full_datastore_by_its_key(key: str, full: bool) -> None:
    seen = facts(changed(runtime__question=question(key, "There is no more space\n  for db1.vmdk.")))
    assert (seen.question, seen.full) == ("There is no more space for db1.vmdk.", full)
    assert (facts().question, facts().full) == ("", False)


@pytest.mark.parametrize(
    ("vm", "host", "connected", "host_connected"),
    [
        ("connected", "connected", True, True),
        ("inaccessible", "connected", False, True),
        ("disconnected", "notResponding", False, False),
        ("connected", None, None, None),
        (None, "connected", None, True),
    ],
)
def test_a_vm_out_of_reach_is_no_lost_host(
    vm: str | None, host: str | None, connected: bool | None, host_connected: bool | None
) -> None:
    values = {key: value for key, value in {**HOST, "runtime.connectionState": host}.items() if value}
    seen = facts(changed(runtime__connectionState=vm), read("host-1", values))
    assert (seen.connected, seen.host_connected) == (connected, host_connected)


CLUSTER = {"host": [vim.HostSystem(f"host-{n}") for n in (1, 2, 3)]}


@pytest.mark.parametrize(
    ("unread", "found"),
    [
        ({}, (2, 3)),
        ({"host-1": ("parent",)}, None),
        ({"cluster": ("host",)}, None),
        ({"host-3": ("runtime.connectionState",)}, None),
    ],
)
def test_how_many_hosts_are_gone_is_known_or_not(
    unread: dict[str, tuple[str, ...]], found: tuple[int, int] | None
) -> None:
    values: dict[str, dict[str, Any]] = {
        "host-1": {
            "parent": vim.ClusterComputeResource("cluster"),
            "runtime.connectionState": "notResponding",
        },
        "host-2": {"runtime.connectionState": "disconnected"},
        "host-3": {"runtime.connectionState": "connected"},
        "cluster": CLUSTER,
    }
    answer = {ref: read(ref, one, *unread.get(ref, ())) for ref, one in values.items()}
    assert hosts_gone("host-1", answer) == found
    assert hosts_gone("host-9", answer) is None
