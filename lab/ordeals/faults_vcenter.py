"""What goes wrong with the vCenter, and what people do in it."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from lab.hypervisor import VcenterError
from lab.inventory import PASSWORD, USER
from lab.ordeals.fault import DEAD, Fault
from lab.ordeals.scene import Cure, NeverStruck, Scene, nothing
from lab.scenarios import DISK
from lab.strikes import TooLate

_TASKS = ("attach", "detach", "poweroff")


def _net(mode: str, expire: bool = False) -> Callable[[Scene], Cure]:
    def strike(scene: Scene) -> Cure:
        if scene.stands("vcenter"):
            raise TooLate("it is unreadable already")
        scene.lab.vcenter.net(mode)
        if expire:
            scene.lab.vcenter.expire_sessions()
        return scene.note("vcenter", "", lambda: scene.lab.vcenter.net(""))

    return strike


def _met(end: Callable[[], int]) -> Cure:
    """The cure of what was to strike one request. end: ends it, and returns how many it has not met."""

    def cure() -> None:
        if end():
            raise NeverStruck("vCenter was asked for nothing that it could strike")

    return cure


def _lose(mode: str) -> Callable[[Scene], Cure]:
    """The next change of a VM is not carried out, or it is and nobody is told."""

    def strike(scene: Scene) -> Cure:
        if scene.stands("vcenter"):
            raise TooLate("it is unreadable already")
        scene.lab.vcenter.net(mode, 1, "ReconfigVM_Task")
        return scene.note("vcenter", "", _met(lambda: scene.lab.vcenter.net("")))

    return strike


def _slow(**delays: int) -> Callable[[Scene], Cure]:
    def strike(scene: Scene) -> Cure:
        before = {name: scene.lab.wishes.delays.get(name, 0) for name in delays}
        scene.lab.vcenter.delays(**delays)
        return scene.note("vcenter-slow", "", lambda: scene.lab.vcenter.delays(**before))

    return strike


def _task_fails(method: str, fault: str) -> Callable[[Scene], Cure]:
    """The next task of this kind ends with a fault."""

    def strike(scene: Scene) -> Cure:
        scene.lab.vcenter.fault(method, fault, where="task")
        return scene.note("task-fault", "", _met(lambda: scene.lab.vcenter.end_fault(method)))

    return strike


def _expire(scene: Scene) -> Cure:
    scene.lab.vcenter.expire_sessions()
    return scene.note("sessions", "", nothing)


def _host_gone(scene: Scene) -> Cure:
    """vCenter loses the holder's host; all on it goes on."""
    name = scene.holder()
    host = str(scene.lab.vcenter.vm(scene.node(name).name)["host"])
    scene.lab.vcenter.connect_host(host, "notResponding")
    return scene.note("host-gone", name, lambda: scene.lab.vcenter.connect_host(host, "connected"))


def _red_heartbeat(scene: Scene) -> Cure:
    """The guest is well, its tools are not."""
    vm = scene.running(scene.holder()).name
    scene.lab.vcenter.guest(vm, heartbeat="red", tools="guestToolsNotRunning")

    def cure() -> None:
        with suppress(VcenterError):  # it is off meanwhile
            scene.lab.vcenter.guest(vm, heartbeat="green", tools="guestToolsRunning")

    return scene.note("heartbeat-red", scene.last, cure)


def _snapshot(scene: Scene) -> Cure:
    """A backup makes a snapshot of the holder's VM; while it is there no disk of it can be detached."""
    name = scene.holder()
    try:
        scene.lab.vcenter.snapshot(scene.node(name).name, "backup")
    except VcenterError as problem:
        raise TooLate(str(problem)) from None

    def cure() -> None:
        with suppress(VcenterError):
            scene.lab.vcenter.remove_snapshots(scene.node(name).name)

    return scene.note("snapshot", name, cure)


def _deny(*privileges: str) -> Callable[[Scene], Cure]:
    def strike(scene: Scene) -> Cure:
        scene.lab.vcenter.deny(USER, *privileges)
        return scene.note("denied", "", lambda: scene.lab.vcenter.deny(USER))

    return strike


@contextmanager
def _administrator(scene: Scene) -> Iterator[Any]:
    """A session of a person's: plain pyVmomi, nothing of the product."""
    from pyVmomi import SoapStubAdapter, vim, vmodl

    vcenter = scene.lab.vcenter
    stub = SoapStubAdapter(
        host=vcenter.host, port=vcenter.port, path="/sdk", version="vim.version.v8_0_3_0",
        sslContext=ssl._create_unverified_context(), httpConnectionTimeout=10,
    )  # fmt: skip
    try:
        content: Any = vim.ServiceInstance("ServiceInstance", stub).RetrieveContent()
        content.sessionManager.Login(USER, PASSWORD, None)
        yield content
    except (vmodl.MethodFault, OSError) as problem:
        raise TooLate(f"vCenter refuses: {problem}") from None
    finally:
        stub.DropConnections()


def _remove_disk(scene: Scene) -> Cure:
    """A person removes the disk from the running VM that writes on it, and keeps the file."""
    from pyVmomi import vim

    if scene.lab.disks[DISK].fstype == "xfs":  # all nodes share a kernel, which mounts no XFS twice
        raise TooLate("this kernel would still have it mounted")
    name = scene.holder()
    with _administrator(scene) as content:
        vm = content.searchIndex.FindByInventoryPath(f"DC0/vm/{scene.node(name).name}")
        path, devices = scene.lab.disks[DISK].path, vm.config.hardware.device
        wanted = [one for one in devices if getattr(one.backing, "fileName", "") == path]
        if not wanted:
            raise TooLate(f"{name} has it no more")
        key = wanted[0].key
        gone = vim.vm.device.VirtualDeviceSpec(operation="remove", device=vim.vm.device.VirtualDisk(key=key))
        vm.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[gone]))
    return scene.note("disk-removed", name, nothing)


FAULTS = (
    Fault("vcenter-refuses", "vcenter", _net("503"), (1.0, 9.0), may_stay=True),
    Fault("vcenter-hangs", "vcenter", _net("hang"), (1.0, 9.0), may_stay=True),
    Fault("vcenter-restarts", "vcenter", _net("drop", expire=True), (1.0, 7.0)),
    Fault("vcenter-slow", "vcenter", _slow(call=500), (2.0, 8.0)),
    Fault("tasks-slow", "vcenter", _slow(**dict.fromkeys(_TASKS, 4000)), (4.0, 10.0)),
    Fault("lost-request", "vcenter", _lose("drop"), (3.0, 10.0), weight=3, alone=False),
    Fault("lost-reply", "vcenter", _lose("dropreply"), (3.0, 10.0), weight=3, alone=False),
    Fault(
        "change-fails", "vcenter", _task_fails("ReconfigVM_Task", "GenericVmConfigFault"), (3.0, 8.0), alone=False,
    ),
    Fault(
        "power-off-fails", "vcenter", _task_fails("PowerOffVM_Task", "GenericVmConfigFault"), (3.0, 8.0), alone=False,
    ),
    Fault("sessions-expire", "vcenter", _expire, (0.2, 0.5)),
    Fault("host-gone", "vcenter", _host_gone, (1.0, 10.0), may_stay=True),
    Fault("heartbeat-red", "vcenter", _red_heartbeat, (2.0, 8.0), may_stay=True),
    Fault("snapshot", "vcenter", _snapshot, (1.0, 8.0), may_stay=True),
    Fault(
        "privileges-gone", "vcenter",
        _deny("VirtualMachine.Config.RemoveDisk", "VirtualMachine.Interact.PowerOff"), (2.0, 8.0), may_stay=True,
    ),
    Fault("disk-removed", "vcenter", _remove_disk, (1.0, 3.0), steps=DEAD[2:], fstypes=("ext4",)),
)  # fmt: skip
