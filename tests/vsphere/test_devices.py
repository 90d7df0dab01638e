"""Device lists as values, and specs from values: tables, no server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pyVmomi import SoapAdapter, vim

from tests.vsphere.world import DISK, SECOND, SHOWN_UUIDS
from vmdk_failover.model import DiskFacts
from vmdk_failover.vsphere import devices

D = vim.vm.device


def controller(kind: Any, bus: int, **other: Any) -> Any:
    """A SCSI controller as vCenter keys it."""
    return kind(key=1000 + bus, busNumber=bus, **{"scsiCtlrUnitNumber": 7, **other})


def disk(key: int, on: int, unit: int | None, backing: Any = None) -> Any:
    """A virtual disk on the controller with key ``on``."""
    flat = D.VirtualDisk.FlatVer2BackingInfo(fileName=DISK.path, uuid=SHOWN_UUIDS[0], diskMode="persistent")
    return D.VirtualDisk(key=key, controllerKey=on, unitNumber=unit, backing=backing or flat)


PV0, PV1 = controller(D.ParaVirtualSCSIController, 0), controller(D.ParaVirtualSCSIController, 1)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (D.ParaVirtualSCSIController, "pvscsi"),
        (D.VirtualLsiLogicController, "lsilogic"),
        (D.VirtualLsiLogicSASController, "lsisas"),
        (D.VirtualBusLogicController, "buslogic"),
        (D.VirtualSCSIController, "VirtualSCSIController"),
    ],
)
def test_each_controller_has_its_name(kind: Any, name: str) -> None:
    assert devices.controllers([controller(kind, 2)]) == ((2, name),)


def test_only_scsi_controllers_count() -> None:
    others = [
        D.VirtualAHCIController(key=15000, busNumber=0),
        D.VirtualNVMEController(key=31000, busNumber=1),
    ]
    assert devices.controllers([*others, PV1, PV0]) == ((0, "pvscsi"), (1, "pvscsi"))
    assert devices.controller_keys([*others, PV1]) == {1: 1001}


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        (SHOWN_UUIDS[0], DISK.uuid),
        ("6000C29A 11112222-3333444455556666", DISK.uuid),
        ("", ""),
        (None, ""),
    ],
)
def test_one_form_of_uuids(given: str | None, normal: str) -> None:
    assert devices.normal_uuid(given) == normal


def test_a_disk_as_facts() -> None:
    assert devices.disks([PV1, disk(2016, 1001, 0)]) == (DiskFacts(DISK.path, DISK.uuid, 1, 0, 2016),)


@pytest.mark.parametrize(
    "backing",
    [
        D.VirtualDisk.SeSparseBackingInfo(fileName=DISK.path, uuid=SHOWN_UUIDS[0], diskMode="persistent"),
        D.VirtualDisk.SparseVer2BackingInfo(fileName=DISK.path, uuid=SHOWN_UUIDS[0], diskMode="persistent"),
        D.VirtualDisk.RawDiskMappingVer1BackingInfo(
            fileName=DISK.path, uuid=SHOWN_UUIDS[0], diskMode="persistent"
        ),
    ],
)
def test_every_kind_of_file_is_told(backing: Any) -> None:
    assert devices.disks([PV1, disk(2016, 1001, 0, backing)])[0] == DiskFacts(
        DISK.path, DISK.uuid, 1, 0, 2016
    )


def test_mode_and_sharing_are_told() -> None:
    backing = D.VirtualDisk.FlatVer2BackingInfo(
        fileName=DISK.path, diskMode="independent_persistent", sharing="sharingMultiWriter"
    )
    facts = devices.disks([PV1, disk(2016, 1001, 0, backing)])[0]
    assert (facts.mode, facts.sharing, facts.uuid) == ("independent_persistent", "sharingMultiWriter", "")


def test_a_disk_on_sata_is_at_no_recorded_slot() -> None:
    sata = D.VirtualAHCIController(key=15000, busNumber=1)
    listed = [sata, PV1, disk(16000, 15000, 0)]
    assert devices.disks(listed)[0].bus == devices.NOT_SCSI
    assert devices.slots(listed) == {(1, 7)}


def test_slots_of_all_devices_and_of_the_controllers_themselves() -> None:
    cdrom = D.VirtualCdrom(key=3000, controllerKey=1000, unitNumber=3)
    odd = controller(D.VirtualLsiLogicController, 2, scsiCtlrUnitNumber=None)
    assert devices.slots([PV0, PV1, odd, cdrom, disk(2016, 1001, 0)]) == {
        (0, 3),
        (0, 7),
        (1, 0),
        (1, 7),
        (2, 7),
    }


def test_which_disks_a_snapshot_keeps() -> None:
    base = D.VirtualDisk.FlatVer2BackingInfo(fileName=DISK.path)
    top = D.VirtualDisk.FlatVer2BackingInfo(
        fileName="[ds1] x-000001.vmdk", diskMode="persistent", parent=base
    )
    free = D.VirtualDisk.FlatVer2BackingInfo(fileName=SECOND.path, diskMode="independent_persistent")
    listed = [PV1, disk(2016, 1001, 0, top), disk(2017, 1001, 1, free)]
    assert devices.on_older_files(listed) == {2016}
    assert devices.independent(listed) == {2017}


def test_a_disk_as_protect_records_it() -> None:
    facts = DiskFacts(DISK.path, DISK.uuid, 1, 0, 2016)
    assert devices.recorded(facts, {1: "pvscsi"}) == DISK


# specs, as they go over the wire


def on_the_wire(spec: Any) -> str:
    """The spec as XML."""
    return str(SoapAdapter.SerializeToStr(spec))


def test_detaching_names_the_key_and_never_a_file_operation() -> None:
    spec = devices.detach_spec([DiskFacts(DISK.path, DISK.uuid, 1, 0, 2016)], "v7")
    assert spec.changeVersion == "v7"
    assert [(one.operation, one.device.key) for one in spec.deviceChange] == [("remove", 2016)]
    assert "<operation>remove</operation>" in on_the_wire(spec)
    assert "fileOperation" not in on_the_wire(spec) and "destroy" not in on_the_wire(spec)


def test_attaching_puts_each_disk_where_it_was_recorded() -> None:
    spec = devices.attach_spec(
        [DISK, replace(SECOND, sharing="sharingMultiWriter")], {0: 1000, 1: 1001}, "v7"
    )
    assert spec.changeVersion == "v7"
    told = [
        (
            c.operation,
            d.key,
            d.controllerKey,
            d.unitNumber,
            d.backing.fileName,
            d.backing.diskMode,
            d.backing.sharing,
        )
        for c in spec.deviceChange
        for d in [c.device]
    ]
    assert told == [
        ("add", -1, 1001, 0, DISK.path, "persistent", "sharingNone"),
        ("add", -2, 1001, 1, SECOND.path, "independent_persistent", "sharingMultiWriter"),
    ]
    assert "fileOperation" not in on_the_wire(spec)


def test_attaching_does_not_write_a_uuid_into_the_file() -> None:
    assert devices.attach_spec([DISK], {1: 1001}, "v7").deviceChange[0].device.backing.uuid is None


def test_attaching_to_a_bus_without_controller_is_an_error() -> None:
    with pytest.raises(KeyError):
        devices.attach_spec([replace(DISK, bus=3)], {1: 1001}, "v7")


def test_no_function_takes_a_file_operation() -> None:
    import inspect

    for function in (devices.detach_spec, devices.attach_spec):
        assert not [name for name in inspect.signature(function).parameters if "file" in name]
