"""Missing privileges are named one by one."""

from __future__ import annotations

from typing import Any

import pytest
from pyVmomi import vim

from lab.hypervisor import Vcenter
from tests.vsphere.world import USER
from vmdk_failover.vsphere.privileges import FOR_REBOOT, NEEDED, check_privileges, lacking
from vmdk_failover.vsphere.session import Session

DETACH = "VirtualMachine.Config.RemoveDisk"


def granted(ref: str, *names: str) -> Any:
    """vCenter's word on one VM: these are granted, the other needed ones are not."""
    words = [
        vim.AuthorizationManager.PrivilegeAvailability(privId=name, isGranted=name in names)
        for name in NEEDED
    ]
    return vim.AuthorizationManager.EntityPrivilege(entity=vim.VirtualMachine(ref), privAvailability=words)


def test_an_account_with_all_of_them(vcenter: Vcenter, session: Session) -> None:
    refs = {"db1": vcenter.vm("db1-vm")["ref"], "db2": vcenter.vm("db2-vm")["ref"]}
    assert check_privileges(session, refs) == []


@pytest.mark.parametrize("privilege", sorted(NEEDED))
def test_each_that_is_taken_from_the_account_is_named(
    vcenter: Vcenter, session: Session, privilege: str
) -> None:
    refs = {"db1": vcenter.vm("db1-vm")["ref"], "db2": vcenter.vm("db2-vm")["ref"]}
    vcenter.deny(USER, privilege)
    found = check_privileges(session, refs)
    assert [(one.node, f"lacks {privilege} on" in one.sentence) for one in found] == [
        ("db1", True),
        ("db2", True),
    ]


def test_a_missing_one_is_named_with_its_node() -> None:
    answer = [granted("vm-1", *NEEDED), granted("vm-2", *set(NEEDED) - {DETACH})]
    found = lacking(answer, {"vm-1": "db1", "vm-2": "db2"})
    assert [(one.node, one.code) for one in found] == [("db2", "no_permission")]
    assert DETACH in found[0].sentence


def test_silence_is_no_grant() -> None:
    assert len(lacking([], {"vm-1": "db1"})) == len(NEEDED)


def test_what_a_reboot_needs_is_asked_on_top() -> None:
    found = lacking([granted("vm-1", *NEEDED)], {"vm-1": "db1"}, {**NEEDED, **FOR_REBOOT})
    assert [one.sentence for one in found if "Interact.PowerOn " in one.sentence] == [found[0].sentence]
