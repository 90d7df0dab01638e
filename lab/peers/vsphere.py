"""What the agents of a cluster ask of the vCenter: plain pyVmomi, one login for each call, as such agents do it.

Nothing of the product is used here. Each call starts at the node's own address, so a node whose network is cut cannot
call, although all nodes of the lab share one network stack.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pyVim.connect import Disconnect, SmartConnect
from pyVim.task import WaitForTask
from pyVmomi import vim

_REACH_S = 5.0


class Refused(Exception):
    """The vCenter cannot be reached from here, or shows what must not be acted upon."""


@contextmanager
def login(options: Mapping[str, str]) -> Iterator[Any]:
    """The content of the vCenter. options: ip, ipport, login, passwd, own_address. Raises Refused."""
    place = (options["ip"], int(options["ipport"]))
    try:
        socket.create_connection(place, _REACH_S, (options["own_address"], 0)).close()
    except OSError as problem:
        raise Refused(f"no way from {options['own_address']} to {place[0]}: {problem}") from problem
    context = ssl._create_unverified_context()  # as with ssl_insecure=1 of fence_vmware_soap
    service = SmartConnect(
        host=place[0], port=place[1], user=options["login"], pwd=options["passwd"], sslContext=context
    )
    try:
        yield service.RetrieveContent()
    finally:
        Disconnect(service)


def machine(content: Any, name: str) -> Any:
    """The VM of that name. Raises Refused."""
    view = content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], True)
    try:
        for one in view.view:
            if one.name == name:
                return one
    finally:
        view.Destroy()
    raise Refused(f"no VM is named {name}")


def is_off(vm: Any) -> bool:
    """Its power, read now."""
    return str(vm.runtime.powerState) == "poweredOff"


def disk_of(vm: Any, path: str) -> Any:
    """The device that is backed by `path`; None if the VM does not list it."""
    for device in vm.config.hardware.device:
        if isinstance(device, vim.vm.device.VirtualDisk) and device.backing.fileName == path:
            return device
    return None


def take_out(vm: Any, device: Any) -> None:
    """Detach a disk; the file stays."""
    change = vim.vm.device.VirtualDeviceSpec(operation="remove", device=device)
    WaitForTask(vm.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[change])))


def put_in(vm: Any, path: str, bus: int, unit: int) -> None:
    """Attach a disk. Raises Refused without such a controller."""
    controllers = [
        one
        for one in vm.config.hardware.device
        if isinstance(one, vim.vm.device.VirtualSCSIController) and one.busNumber == bus
    ]
    if not controllers:
        raise Refused(f"{vm.name} has no SCSI controller {bus}")
    backing = vim.vm.device.VirtualDisk.FlatVer2BackingInfo(fileName=path, diskMode="persistent")
    disk = vim.vm.device.VirtualDisk(
        key=-1, controllerKey=controllers[0].key, unitNumber=unit, backing=backing
    )
    change = vim.vm.device.VirtualDeviceSpec(operation="add", device=disk)
    WaitForTask(vm.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[change])))


def power(vm: Any, on: bool) -> None:
    """Switch it, and read back."""
    if is_off(vm) is not on:
        return
    task: Callable[[], Any] = vm.PowerOnVM_Task if on else vm.PowerOffVM_Task
    WaitForTask(task())
    if is_off(vm) is on:
        raise Refused(f"{vm.name} is still {'off' if on else 'on'}")
