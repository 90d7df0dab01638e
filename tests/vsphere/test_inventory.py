"""Finding a node's VM by what its guest shows: SMBIOS UUID and disks, never its name."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from lab.hypervisor import Vcenter
from tests.vsphere.world import BIOS, DISK, NODES, SECOND, SHOWN_UUIDS, vm
from vmdk_failover.errors import CannotObserve, Refused
from vmdk_failover.vsphere.inventory import find_vm, smbios_forms
from vmdk_failover.vsphere.session import Session

SWAPPED = str(uuid.UUID(bytes=uuid.UUID(BIOS[0]).bytes_le))


@pytest.mark.parametrize("shown", [BIOS[0], BIOS[0].upper(), SWAPPED, SWAPPED.upper(), f" {BIOS[0]}\n"])
def test_both_byte_orders_and_cases_are_found(session: Session, shown: str) -> None:
    found = find_vm(session, shown, [DISK.uuid])
    assert (found.name, found.instance_uuid) == ("db1-vm", NODES[0].vm_uuid)
    assert set(found.disks) == {DISK, SECOND}


@pytest.mark.parametrize("shown", [SHOWN_UUIDS[0], SHOWN_UUIDS[0].lower(), DISK.uuid])
def test_a_disk_is_found_in_any_spelling(session: Session, shown: str) -> None:
    assert find_vm(session, BIOS[0], [shown]).disk(shown) == DISK


def test_all_disks_must_be_there(session: Session) -> None:
    assert find_vm(session, BIOS[0], [DISK.uuid, SECOND.uuid]).name == "db1-vm"
    with pytest.raises(Refused, match="f" * 32) as refusal:
        find_vm(session, BIOS[0], [DISK.uuid, "f" * 32])
    assert refusal.value.code == "vm_mismatch"


def test_another_vms_disk_is_no_proof(session: Session) -> None:
    with pytest.raises(Refused, match="db2-vm"):
        find_vm(session, BIOS[1], [DISK.uuid])


def test_clones_are_refused_by_name(vcenter: Vcenter, session: Session) -> None:
    vcenter.add_vm(**vm(0, name="clone-of-db1", instance_uuid=""))
    with pytest.raises(Refused, match="clone-of-db1, db1-vm") as refusal:
        find_vm(session, BIOS[0], [DISK.uuid])
    assert refusal.value.code == "vm_duplicate"


def test_a_vm_in_the_other_byte_order_is_a_clone_too(vcenter: Vcenter, session: Session) -> None:
    vcenter.add_vm(**vm(0, name="mirror", uuid=SWAPPED, instance_uuid=""))
    with pytest.raises(Refused, match="mirror"):
        find_vm(session, BIOS[0], [DISK.uuid])


def test_an_unknown_vm(session: Session) -> None:
    with pytest.raises(Refused) as refusal:
        find_vm(session, "4237cccc-1234-5678-9abc-000000000001", [DISK.uuid])
    assert refusal.value.code == "vm_not_found"


@pytest.mark.parametrize("shown", ["", "db1", "0" * 32, "f" * 32])
def test_what_is_no_uuid_is_refused(shown: str) -> None:
    with pytest.raises(Refused):
        smbios_forms(shown)


@pytest.mark.parametrize("disks", [[], [""], [DISK.uuid, "-"]])
def test_without_a_disk_nothing_is_found(session: Session, disks: list[str]) -> None:
    with pytest.raises(Refused, match="EnableUUID"):
        find_vm(session, BIOS[0], disks)
    assert session.calls == 0


def test_an_unreadable_vcenter(vcenter: Vcenter, new_session: Callable[..., Session]) -> None:
    session = new_session(read_deadline=1)
    vcenter.net("drop")
    with pytest.raises(CannotObserve):
        find_vm(session, BIOS[0], [DISK.uuid])


def test_a_uuid_that_reads_the_same_both_ways_has_one_form() -> None:
    assert smbios_forms("11111111-2222-3333-4444-555555555555") == ("11111111-2222-3333-4444-555555555555",)
