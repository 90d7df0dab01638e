"""What protect and doctor find on the VMs of a resource."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyVmomi import vim

from lab.hypervisor import Vcenter
from tests.vsphere.conftest import settings_for
from tests.vsphere.stages import attach_as_somebody
from tests.vsphere.test_devices import controller
from tests.vsphere.test_devices import disk as disk_device
from tests.vsphere.world import DISK, SECOND, SHOWN_UUIDS, disk, inventory, vm
from vmdk_failover.errors import CannotObserve
from vmdk_failover.model import Disk
from vmdk_failover.vsphere import checks
from vmdk_failover.vsphere.checks import Group, Seen, check_all, judge
from vmdk_failover.vsphere.findings import Finding
from vmdk_failover.vsphere.properties import Read, filter_spec, retrieve
from vmdk_failover.vsphere.session import Session

#: A disk that nothing is wrong with: no snapshot can touch it.
GOOD = replace(DISK, mode="independent_persistent")


def good_world(**other: Any) -> dict[str, Any]:
    """A world without findings for ``GOOD``; members given replace those of the same name."""
    return inventory(**{"disks": [disk(GOOD, SHOWN_UUIDS[0])], **other})


Findings = Callable[..., list[Finding]]


@pytest.fixture
def findings(program: Path) -> Iterator[Findings]:
    """Start a world, let something happen in it, check it."""

    def run(
        world: dict[str, Any], *disks: Disk, then: Callable[[Vcenter, Session], object] = lambda _v, _s: None
    ) -> list[Finding]:
        with Vcenter(world, binary=program) as running:
            session = Session(settings_for(running))
            then(running, session)
            refs = {name: running.vm(f"{name}-vm")["ref"] for name in ("db1", "db2")}
            found = check_all(session, {"": Group(refs, "db1", disks or (GOOD,))})[""]
            session.close()
        return found

    yield run


def codes(found: list[Finding]) -> set[tuple[str, str]]:
    """(node, code) of the findings."""
    assert all(one.sentence for one in found)
    return {(one.node, one.code) for one in found}


def test_a_good_world_has_no_findings(findings: Findings) -> None:
    assert findings(good_world()) == []


def test_no_controller_on_a_backup(findings: Findings) -> None:
    bare = vm(1, controllers=[{"type": "pvscsi", "bus": 0}])
    assert codes(findings(good_world(vms=[vm(0), bare]))) == {("db2", "controller")}


def test_another_controller_on_a_backup(findings: Findings) -> None:
    other = vm(1, controllers=[{"type": "pvscsi", "bus": 0}, {"type": "lsilogic", "bus": 1}])
    found = findings(good_world(vms=[vm(0), other]))
    assert codes(found) == {("db2", "controller")}
    assert "lsilogic" in found[0].sentence and "pvscsi" in found[0].sentence


def test_a_taken_unit_on_a_backup(findings: Findings) -> None:
    other = disk(
        replace(GOOD, path="[ds1] db2/own.vmdk"), "6000c29c-1111-2222-3333-444455556666", attached_to="db2-vm"
    )
    found = findings(good_world(disks=[disk(GOOD, SHOWN_UUIDS[0]), other]))
    assert codes(found) == {("db2", "slot_taken")}
    assert "1:0" in found[0].sentence


@pytest.mark.parametrize("nth", [0, 1])
def test_no_enable_uuid(findings: Findings, nth: int) -> None:
    vms = [vm(0), vm(1)]
    vms[nth]["enable_uuid"] = False
    assert codes(findings(good_world(vms=vms))) == {(f"db{nth + 1}", "enable_uuid")}


def test_a_snapshot_of_the_holder(findings: Findings) -> None:
    world = good_world(disks=[disk(DISK, SHOWN_UUIDS[0])])
    found = findings(world, DISK, then=lambda lab, _s: lab.snapshot("db1-vm", "x"))
    assert codes(found) == {("db1", "snapshot"), ("db1", "disk_mode")}


def test_a_snapshot_before_the_disk_came(findings: Findings) -> None:
    def then(lab: Vcenter, session: Session) -> None:
        lab.snapshot("db1-vm", "x")
        attach_as_somebody(session, lab, "db1-vm", DISK)

    found = findings(good_world(disks=[disk(DISK, SHOWN_UUIDS[0], attached_to="")]), DISK, then=then)
    assert codes(found) == {("db1", "snapshot"), ("db1", "disk_mode")}
    assert [one.severe for one in found if one.code == "snapshot"] == [True]


def test_a_snapshot_does_not_matter_for_an_independent_disk(findings: Findings) -> None:
    assert findings(good_world(), then=lambda lab, _s: lab.snapshot("db1-vm", "x")) == []


def test_a_disk_that_takes_part_in_snapshots_is_advice(findings: Findings) -> None:
    found = findings(good_world(disks=[disk(DISK, SHOWN_UUIDS[0])]), DISK)
    assert [(one.code, one.severe) for one in found] == [("disk_mode", False)]


def test_a_multi_writer_disk(findings: Findings) -> None:
    shared = disk(GOOD, SHOWN_UUIDS[0], sharing="sharingMultiWriter")
    assert codes(findings(good_world(disks=[shared]))) == {("db1", "multi_writer")}


@pytest.mark.parametrize("mode", ["independent_nonpersistent", "nonpersistent", "undoable", "append"])
def test_a_disk_that_a_power_off_discards_is_an_error(findings: Findings, mode: str) -> None:
    found = findings(good_world(disks=[disk(replace(GOOD, mode=mode), SHOWN_UUIDS[0])]))
    (bad,) = [one for one in found if one.code != "disk_mode"]
    assert (bad.node, bad.code, bad.severe) == ("db1", "discarding_disk", True)
    assert f"is {mode} on VM db1-vm: a power-off discards" in bad.sentence


def test_a_disk_that_the_holder_does_not_list(findings: Findings) -> None:
    assert codes(findings(good_world(), GOOD, SECOND)) == {("db1", "disk_unlisted")}


def test_a_disk_whose_file_was_renamed(findings: Findings) -> None:
    renamed = replace(GOOD, path="[ds1] shared/older-name.vmdk")
    assert codes(findings(good_world(), renamed)) == {("db1", "disk_unlisted")}


def test_a_datastore_that_a_host_does_not_reach(findings: Findings) -> None:
    elsewhere = replace(GOOD, path="[nowhere] shared/pgdata.vmdk")
    found = findings(good_world(), elsewhere)
    assert {("db1", "datastore"), ("db2", "datastore")} <= codes(found)


def test_all_nodes_on_one_host_is_advice(findings: Findings) -> None:
    found = findings(good_world(vms=[vm(0), vm(1, host="esx1")]))
    assert [(one.code, one.severity) for one in found] == [("same_host", "warning")]


def test_what_is_not_known_is_found_too() -> None:
    listed = [controller(vim.vm.device.ParaVirtualSCSIController, 1), disk_device(2016, 1001, 0)]
    blurred = Seen("db1", "db1-vm", listed, enable_uuid=None, snapshot=None, host="", datastores=None)
    group = Group({}, "db1", [DISK])
    found = {one.code for one in judge([blurred], group) if one.severe}
    assert found == {"unreadable", "snapshot"}
    assert [
        ("EnableUUID" in one.sentence) for one in judge([blurred], group) if one.code == "unreadable"
    ] == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("datastores", "more", "code"),
    [
        ({"ds1": True}, False, ""),
        ({"ds1": True}, True, ""),
        ({"ds1": False}, False, "datastore"),
        ({"ds2": True}, False, "datastore"),
        ({}, False, "datastore"),
        ({"ds1": None}, False, "unreadable"),
        ({"ds2": True}, True, "unreadable"),
    ],
)
def test_a_datastore_that_cannot_be_read_is_not_taken_for_one_that_is_not_there(
    datastores: dict[str, bool | None], more: bool, code: str
) -> None:
    listed = [controller(vim.vm.device.ParaVirtualSCSIController, 1)]
    backup = Seen("db2", "db2-vm", listed, True, False, "esx2", datastores, more=more)
    found = [one.code for one in judge([backup], Group({}, "db1", [DISK])) if one.severe]
    assert found == ([code] if code else [])


def test_a_vm_that_cannot_be_read(vcenter: Vcenter, session: Session) -> None:
    refs = {"db1": vcenter.vm("db1-vm")["ref"], "db2": "vm-999999"}
    assert ("db2", "unreadable") in codes(check_all(session, {"": Group(refs, "db1", [DISK])})[""])


def test_an_unreadable_vcenter(vcenter: Vcenter, new_session: Callable[..., Session]) -> None:
    vcenter.net("drop")
    with pytest.raises(CannotObserve):
        check_all(new_session(read_deadline=1), {"": Group({"db1": "vm-1"}, "db1", [DISK])})


class Lost:
    """A vCenter by which one host of two has lost the datastore, which it still lists."""

    def read(self, ask: Any) -> dict[str, Read]:
        return {"datastore-1": Read("datastore-1", "Datastore", {"host": self._mounts()}, frozenset())}

    def _mounts(self) -> list[Any]:
        states = {"host-1": True, "host-2": False, "host-3": None}
        return [
            vim.Datastore.HostMount(
                key=vim.HostSystem(host),
                mountInfo=vim.host.MountInfo(accessMode="readWrite", accessible=accessible),
            )
            for host, accessible in states.items()
        ]


@pytest.mark.parametrize(
    ("host", "accessible", "reached"),
    [
        ("host-1", True, True),
        ("host-2", True, False),
        ("host-3", True, True),
        ("host-1", False, False),
        ("host-1", None, None),
    ],
)
def test_a_datastore_that_one_host_has_lost_is_accessible_by_the_others(
    host: str, accessible: bool | None, reached: bool | None
) -> None:
    lost = checks._lost(Lost(), ["datastore-1"])  # type: ignore[arg-type]
    assert lost == {("host-2", "datastore-1")}
    values = {"summary.name": "ds1", **({} if accessible is None else {"summary.accessible": accessible})}
    answer = {"datastore-1": Read("datastore-1", "Datastore", values, frozenset())}
    one = Read(host, "HostSystem", {"datastore": [vim.Datastore("datastore-1")]}, frozenset())
    assert checks._datastores(one, answer, lost) == {"ds1": reached}


def test_the_lab_shows_how_hosts_reach_a_datastore(vcenter: Vcenter, session: Session) -> None:
    refs = {name: vcenter.vm(f"{name}-vm")["ref"] for name in ("db1", "db2")}
    answer = session.read(lambda login: retrieve(login, checks._spec(login, list(refs.values()))))
    (store,) = [ref for ref, one in answer.items() if one.get("summary.name") == "ds1"]
    assert checks._lost(session, [store]) == frozenset()
    spec = filter_spec([vim.Datastore(store)], {vim.Datastore: ("host",)})
    mounts = session.read(lambda login: retrieve(login, spec))[store].get("host")
    assert [one.mountInfo.accessible for one in mounts] == [True, True]
    assert not any(
        one.code == "datastore" for one in check_all(session, {"": Group(refs, "db1", [GOOD])})[""]
    )


def test_checking_takes_two_calls(vcenter: Vcenter, session: Session) -> None:
    refs = {name: vcenter.vm(f"{name}-vm")["ref"] for name in ("db1", "db2")}
    group = {"": Group(refs, "db1", [DISK])}
    check_all(session, group)
    before = session.calls
    check_all(session, group)
    assert session.calls - before == 2
