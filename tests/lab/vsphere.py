"""A vSphere client for the tests of the lab's vCenter: plain pyVmomi, nothing of the product."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any

from pyVmomi import SoapStubAdapter, vim, vmodl

from lab import linux
from lab.hypervisor import Vcenter

USER, PASSWORD = "svc", "s3cret"
DISK = "[ds1] shared/pgdata.vmdk"
UUID = "6000C290-1111-2222-3333-444455556666"
PVSCSI = [{"type": "pvscsi", "bus": 0}, {"type": "pvscsi", "bus": 1}]
INVENTORY = {
    "username": USER,
    "password": PASSWORD,
    "hosts": ["esx1", "esx2"],
    "datastores": ["ds1"],
    "vms": [
        {
            "name": f"db{n}",
            "host": f"esx{n}",
            "power": "poweredOn",
            "controllers": PVSCSI,
            "enable_uuid": True,
        }
        for n in (1, 2)
    ],
    "disks": [{"path": DISK, "uuid": UUID, "capacity_mb": 64, "attached_to": "db1", "bus": 1, "unit": 0}],
}

Device = vim.vm.device
Spec = vim.vm.ConfigSpec


@dataclass(frozen=True)
class Client:
    """One login. stub: its connections. content: the roots of the inventory."""

    stub: Any
    content: Any

    def vm(self, name: str) -> Any:
        """The VM of this name."""
        found = self.content.searchIndex.FindByInventoryPath(f"DC0/vm/{name}")
        assert found is not None, f"no VM {name}"
        return found


def connect(vcenter: Vcenter, context: ssl.SSLContext | None = None) -> Client:
    """Log in. context: without it the certificate is not looked at."""
    stub = SoapStubAdapter(
        host=vcenter.host,
        port=vcenter.port,
        path="/sdk",
        version="vim.version.v8_0_3_0",
        sslContext=context if context is not None else ssl._create_unverified_context(),
        httpConnectionTimeout=30,
    )
    content: Any = vim.ServiceInstance("ServiceInstance", stub).RetrieveContent()
    content.sessionManager.Login(USER, PASSWORD, None)
    return Client(stub, content)


def done(task: Any, seconds: float = 10) -> Any:
    """Wait for a task; return its result or raise its fault."""
    assert linux.wait_until(lambda: str(task.info.state) in ("success", "error"), seconds), (
        "the task does not end"
    )
    info = task.info
    if str(info.state) == "error":
        raise info.error
    return info.result


def add(path: str = DISK, controller: int = 1001, unit: int | None = 0, mode: str = "persistent") -> Any:
    """The change that attaches an existing file."""
    backing = Device.VirtualDisk.FlatVer2BackingInfo(fileName=path, diskMode=mode)
    disk = Device.VirtualDisk(key=-1, controllerKey=controller, unitNumber=unit, backing=backing)
    return Device.VirtualDeviceSpec(operation="add", device=disk)


def remove(key: int) -> Any:
    """The change that detaches a disk and keeps its file."""
    return Device.VirtualDeviceSpec(operation="remove", device=Device.VirtualDisk(key=key))


def reconfigure(vm: Any, *changes: Any, version: str | None = None) -> Any:
    """Start a reconfiguration; returns its task."""
    return vm.ReconfigVM_Task(Spec(changeVersion=version, deviceChange=list(changes)))


def disks(vm: Any) -> list[Any]:
    """The disks of a VM."""
    return [one for one in vm.config.hardware.device if isinstance(one, Device.VirtualDisk)]


class Watch:
    """A property stream of one VM, as the product's watcher has it."""

    def __init__(self, client: Client, vm: Any, *paths: str) -> None:
        collector = vmodl.query.PropertyCollector
        self.collector = client.content.propertyCollector.CreatePropertyCollector()
        what = collector.PropertySpec(type=vim.VirtualMachine, pathSet=list(paths))
        self.collector.CreateFilter(
            collector.FilterSpec(objectSet=[collector.ObjectSpec(obj=vm)], propSet=[what]), False
        )
        self.version: str = ""
        self.next()

    def next(self, seconds: int = 5) -> dict[str, Any]:
        """The changes that come next, by path; empty if none comes within `seconds`."""
        return {change.name: change.val for one in self._objects(seconds) for change in one.changeSet}

    def kinds(self, seconds: int = 5) -> list[str]:
        """What happens next to the VM: modify, leave."""
        return [str(one.kind) for one in self._objects(seconds)]

    def _objects(self, seconds: int) -> list[Any]:
        options = vmodl.query.PropertyCollector.WaitOptions(maxWaitSeconds=seconds)
        update = self.collector.WaitForUpdatesEx(self.version, options)
        if update is None:
            return []
        self.version = update.version
        return [one for per_filter in update.filterSet for one in per_filter.objectSet]
