"""Reading an answer: an expired login hides in missingSet, pages follow each other, missing objects are left out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pyVmomi import vim, vmodl

from lab.hypervisor import Vcenter
from vmdk_failover.vsphere.properties import Read, filter_spec, retrieve
from vmdk_failover.vsphere.session import Session

PC = vmodl.query.PropertyCollector
NAME = {vim.VirtualMachine: ("name",)}


def content(ref: str, missing: Any = None, **values: Any) -> Any:
    """One object's part of an answer, as pyVmomi makes it."""
    gaps = [PC.MissingProperty(path="runtime.powerState", fault=missing)] if missing else []
    given = [vmodl.DynamicProperty(name=name, val=value) for name, value in values.items()]
    return PC.ObjectContent(obj=vim.VirtualMachine(ref), propSet=given, missingSet=gaps)


class Pages:
    """A property collector that answers with these pages."""

    def __init__(self, *pages: list[Any]) -> None:
        self.left = list(pages)

    def RetrievePropertiesEx(self, _specs: Any, _options: Any) -> Any:  # noqa: N802 - pyVmomi's name
        return self.ContinueRetrievePropertiesEx("")

    def ContinueRetrievePropertiesEx(self, _token: str) -> Any:  # noqa: N802 - pyVmomi's name
        if not self.left:
            return None
        page = self.left.pop(0)
        return PC.RetrieveResult(objects=page, token="more" if self.left else None)


def answer(*pages: list[Any]) -> dict[str, Read]:
    """What ``retrieve`` makes of the pages."""
    login: Any = SimpleNamespace(content=SimpleNamespace(propertyCollector=Pages(*pages)))
    return retrieve(login, None)


def test_an_expired_login_in_missing_set_is_raised() -> None:
    with pytest.raises(vim.fault.NotAuthenticated):
        answer([content("vm-1", vim.fault.NotAuthenticated())])


def test_any_other_gap_is_named_and_is_not_unset() -> None:
    read = answer([content("vm-1", vim.fault.NoPermission(), name="db1")])["vm-1"]
    assert (read.get("name"), read.get("runtime.powerState")) == ("db1", None)
    assert not read.unset("runtime.powerState") and read.unset("snapshot") and not read.unset("name")


def test_pages_follow_each_other() -> None:
    assert list(answer([content("vm-1")], [content("vm-2")], [content("vm-3")])) == ["vm-1", "vm-2", "vm-3"]


def test_no_answer_is_nothing() -> None:
    assert answer() == {}


def test_an_object_that_is_not_there_is_left_out(vcenter: Vcenter, session: Session) -> None:
    ref = vcenter.vm("db1-vm")["ref"]
    found = session.read(
        lambda login: retrieve(login, filter_spec([login.vm(ref), login.vm("vm-999999")], NAME))
    )
    assert {one: read.get("name") for one, read in found.items()} == {ref: "db1-vm"}
    assert found[ref].kind == "VirtualMachine"
