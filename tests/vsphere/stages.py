"""Two stages for the contract of the Hypervisor port: the lab's vCenter behind the real adapter, and the one in memory."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, Protocol

from lab.hypervisor import Vcenter
from tests.doubles.hypervisor import FakeHypervisor, FakeVm
from tests.vsphere.world import BIOS, DISK, NODES, SECOND, vm
from vmdk_failover.model import Disk, Node, Power
from vmdk_failover.ports import Hypervisor
from vmdk_failover.vsphere import devices
from vmdk_failover.vsphere.properties import filter_spec
from vmdk_failover.vsphere.session import Session

STRANGER = "5037aaaa-0000-4000-8000-00000000000f"
LAST = NODES[1]


class Stage(Protocol):
    """What the contract's tests can do to the world besides using the port."""

    @property
    def hypervisor(self) -> Hypervisor:
        """The port under test."""

    def guest_power(self, node: Node, power: Power) -> None:
        """The guest halts or boots by itself."""

    def suspend(self, node: Node) -> None:
        """Somebody suspends the VM."""

    def ask(self, node: Node, text: str, full: bool = False) -> None:
        """The VM waits for an answer, perhaps because its datastore is full; no text ends that."""

    def reach(self, node: Node, reachable: bool) -> None:
        """The host of the node's VM is well and does not reach it any more, or does again."""

    def connect(self, node: Node, connected: bool) -> None:
        """The host of the node's VM is lost or comes back."""

    def touch(self, node: Node) -> None:
        """Somebody else changes the VM's configuration."""

    def snapshot(self, node: Node) -> None:
        """Somebody makes a snapshot."""

    def stranger_takes(self, disk: Disk) -> None:
        """A VM outside the resource attaches the disk and runs."""

    def lose_answer(self) -> None:
        """The next reconfigure is done and its answer lost."""

    def refuse_to_answer(self) -> None:
        """vCenter cannot be read from now on."""

    def delete(self, node: Node) -> None:
        """Somebody takes the VM out of the inventory."""

    def neighbour(self, node: Node, name: str, power: Power) -> None:
        """A VM of somebody else is on the host of the node's VM."""

    def clone(self, node: Node) -> None:
        """A second VM with the node's instance UUID appears."""

    def heartbeat(self, node: Node, colour: str) -> None:
        """The guest's heartbeat changes."""

    def task_running(self, node: Node) -> contextlib.AbstractContextManager[None]:
        """Inside the block somebody's task is running on the VM."""


class FakeStage:
    """The double in memory."""

    def __init__(self) -> None:
        first, second = (
            FakeVm(node.vm_uuid, f"{node.minion}-vm", host=f"esx{node.minion[-1]}", smbios=smbios)
            for node, smbios in zip(NODES, BIOS, strict=True)
        )
        first.plug(DISK)
        first.plug(SECOND)
        self.fake = FakeHypervisor([first, second])
        self.hypervisor: Hypervisor = self.fake

    def guest_power(self, node: Node, power: Power) -> None:
        self.fake.vm(node.vm_uuid).turn(power)

    def suspend(self, node: Node) -> None:
        self.fake.vm(node.vm_uuid).turn(Power.SUSPENDED)

    def ask(self, node: Node, text: str, full: bool = False) -> None:
        vm = self.fake.vm(node.vm_uuid)
        vm.question, vm.full = text, full

    def reach(self, node: Node, reachable: bool) -> None:
        self.fake.vm(node.vm_uuid).reachable = reachable

    def connect(self, node: Node, connected: bool) -> None:
        self.fake.vm(node.vm_uuid).connected = connected

    def touch(self, node: Node) -> None:
        self.fake.vm(node.vm_uuid).version += 1

    def snapshot(self, node: Node) -> None:
        self.fake.vm(node.vm_uuid).snapshot()

    def stranger_takes(self, disk: Disk) -> None:
        stranger = FakeVm(STRANGER, "stranger")
        stranger.plug(disk)
        self.fake.vms.append(stranger)

    def lose_answer(self) -> None:
        self.fake.lose = 1

    def refuse_to_answer(self) -> None:
        self.fake.blind = "vCenter does not answer"

    def delete(self, node: Node) -> None:
        self.fake.vms.remove(self.fake.vm(node.vm_uuid))

    def neighbour(self, node: Node, name: str, power: Power) -> None:
        if power is Power.ON:
            self.fake.vm(node.vm_uuid).strangers += (name,)

    def clone(self, node: Node) -> None:
        self.fake.vms.append(FakeVm(node.vm_uuid, "clone"))

    def heartbeat(self, node: Node, colour: str) -> None:
        self.fake.vm(node.vm_uuid).heartbeat = colour

    @contextlib.contextmanager
    def task_running(self, node: Node) -> Iterator[None]:
        self.fake.vm(node.vm_uuid).task = "VirtualMachine.reconfigure"
        yield
        self.fake.vm(node.vm_uuid).task = ""


class LabStage:
    """The real adapter on the lab's vCenter; ``other`` is somebody else's session there."""

    def __init__(self, vcenter: Vcenter, hypervisor: Hypervisor, other: Session) -> None:
        self.vcenter, self.hypervisor, self.other = vcenter, hypervisor, other

    def guest_power(self, node: Node, power: Power) -> None:
        self.vcenter.guest_power(_name(node), "poweredOn" if power is Power.ON else "poweredOff")

    def suspend(self, node: Node) -> None:
        from vmdk_failover.vsphere import tasks

        ref = self.vcenter.vm(_name(node))["ref"]
        tasks.run(self.other, ref, "suspending", lambda vm: vm.SuspendVM_Task(), 15)

    def ask(self, node: Node, text: str, full: bool = False) -> None:
        self.vcenter.question(_name(node), text, *(["msg.hbacommon.outofspace"] if full else []))

    def reach(self, node: Node, reachable: bool) -> None:
        self.vcenter.reach(_name(node), "connected" if reachable else "inaccessible")

    def connect(self, node: Node, connected: bool) -> None:
        self.vcenter.connect_host(f"esx{node.minion[-1]}", "connected" if connected else "notResponding")

    def touch(self, node: Node) -> None:
        reconfigure(self.other, self.vcenter, _name(node), annotation="touched")

    def snapshot(self, node: Node) -> None:
        self.vcenter.snapshot(_name(node), "before-upgrade")

    def stranger_takes(self, disk: Disk) -> None:
        plain = vm(
            0, name="stranger", uuid=STRANGER.replace("5037", "4237"), instance_uuid=STRANGER, host="esx1"
        )
        self.vcenter.add_vm(**plain)
        attach_as_somebody(self.other, self.vcenter, "stranger", disk)

    def lose_answer(self) -> None:
        self.vcenter.net("dropreply", 1, "ReconfigVM_Task")

    def refuse_to_answer(self) -> None:
        self.vcenter.net("503")

    def delete(self, node: Node) -> None:
        ref = self.vcenter.vm(_name(node))["ref"]
        self.guest_power(node, Power.OFF)
        self.other.write(lambda login: login.vm(ref).UnregisterVM(), "taking the VM out", 10)

    def neighbour(self, node: Node, name: str, power: Power) -> None:
        shown = "poweredOn" if power is Power.ON else "poweredOff"
        self.vcenter.add_vm(
            **vm(0, name=name, instance_uuid=f"5037aaaa-0000-4000-8000-{len(name):012d}", power=shown)
        )

    def clone(self, node: Node) -> None:
        self.vcenter.add_vm(**vm(0, name="clone", instance_uuid=node.vm_uuid))

    def heartbeat(self, node: Node, colour: str) -> None:
        self.vcenter.guest(_name(node), heartbeat=colour)

    @contextlib.contextmanager
    def task_running(self, node: Node) -> Iterator[None]:
        self.vcenter.delays(reconfigure=1500)
        busy = threading.Thread(target=self.touch, args=(node,))
        busy.start()
        try:
            yield
        finally:
            busy.join(20)
            self.vcenter.delays(reconfigure=0)


def reconfigure(somebody: Session, vcenter: Vcenter, name: str, **spec: Any) -> None:
    """Change a VM's configuration as somebody else would, and wait for the end."""
    from pyVmomi import vim

    from vmdk_failover.vsphere import tasks

    ref = vcenter.vm(name)["ref"]
    tasks.run(somebody, ref, "touching", lambda vm: vm.ReconfigVM_Task(vim.vm.ConfigSpec(**spec)), 15)


def attach_as_somebody(somebody: Session, vcenter: Vcenter, name: str, disk: Disk) -> None:
    """Attach a disk to any VM, past the port."""
    from pyVmomi import vim

    from vmdk_failover.vsphere.properties import retrieve

    ref = vcenter.vm(name)["ref"]
    paths = {vim.VirtualMachine: ("config.hardware.device",)}
    read = somebody.read(lambda login: retrieve(login, filter_spec([login.vm(ref)], paths)))[ref]
    spec = devices.attach_spec([disk], devices.controller_keys(read.get("config.hardware.device")), "")
    reconfigure(somebody, vcenter, name, deviceChange=spec.deviceChange)


def _name(node: Node) -> str:
    return f"{node.minion}-vm"
