"""What only kernels of their own can show: panics, dirty page caches, disks that leave the machine, their clocks that jump."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress

from lab.cell import LabError
from lab.linux import wait_until
from lab.ordeals.fault import DEAD, FENCED, GUESTS, PLANNED, Fault
from lab.ordeals.faults_disk import mounted
from lab.ordeals.faults_machine import Who, boot, both
from lab.ordeals.scene import Cure, Scene
from lab.qemu.machine import Machine
from lab.qemu.node import QemuNode
from lab.scenarios import DISK
from lab.strikes import TooLate

_PANIC_LIMIT, _DIRTY_KB, _HOUR = 30.0, 4096, 3600
_PANIC = "Kernel panic"


def _guest(scene: Scene, name: str) -> QemuNode:
    """A guest that answers. Raises TooLate."""
    node = scene.inside(name)
    if not isinstance(node, QemuNode):
        raise TooLate(f"{name} has no kernel of its own")
    return node


def _device(scene: Scene, node: QemuNode) -> str:
    """The disk's device number in a guest, as sysfs writes it. Raises TooLate."""
    device = node.device_of(scene.lab.disks[DISK])
    if device is None:
        raise TooLate(f"{node.minion_id} does not see the disk")
    return f"{os.major(device)}:{os.minor(device)}"


def _is_on(node: QemuNode, machine: Machine) -> bool:
    """Whether a guest is in the same machine as before: nobody has powered it off."""
    with suppress(LabError):
        return node.machine is machine
    return False


def _panic(who: Who) -> Callable[[Scene], Cure]:
    """The kernel stops for good; the VM stays on, keeps the disk, and a person powers it off and on."""

    def strike(scene: Scene) -> Cure:
        name = who(scene)
        node = _guest(scene, name)
        machine, console = node.machine, node.hardware.folder / "console"
        seen = console.stat().st_size

        def panicked() -> bool:
            with console.open("rb") as file:
                file.seek(seen)
                return _PANIC.encode() in file.read()

        node.tell("echo 0 >/proc/sys/kernel/panic; echo c >/proc/sysrq-trigger")
        if not wait_until(panicked, _PANIC_LIMIT, 0.05):
            raise LabError(f"the kernel of {name} did not panic within {_PANIC_LIMIT:.0f} s")

        def cure() -> None:
            if _is_on(node, machine):
                node.power_off()
                scene.lab.vcenter.guest_power(node.name, "poweredOff")
            boot(scene, name)

        return scene.note("panicked", name, cure)

    return strike


def _cut_power_while_dirty(scene: Scene) -> Cure:
    """The power goes while the page cache is full of what nobody has synced, and no flusher comes in time."""
    name = mounted(scene)
    node = _guest(scene, name)
    place = f"{scene.lab.mountpoint()}/dirty.bin"
    later = "for one in writeback expire; do echo 360000 >/proc/sys/vm/dirty_${one}_centisecs; done"
    done = node.run(["sh", "-c", f"{later}; dd if=/dev/zero of={place} bs=1k count={_DIRTY_KB}"], 3.0)
    if done.code:
        raise TooLate(f"nothing can be written on {name}: {done.err.strip()}")
    node.power_off()
    scene.lab.vcenter.guest_power(node.name, "poweredOff")
    return scene.note("off", name, lambda: boot(scene, name))


def _pull(scene: Scene) -> Cure:
    """The disk leaves the machine, and the vCenter does not know; its storage may have it again later."""
    name = scene.holder()
    node = _guest(scene, name)
    try:
        node.pull(scene.lab.disks[DISK])
    except KeyError:
        raise TooLate(f"{name} has the disk no more") from None

    def cure() -> None:
        with suppress(LabError):  # another VM has it, or it is off
            node.put_back(scene.lab.disks[DISK])

    return scene.note("disk", name, cure)


def _offline(scene: Scene) -> Cure:
    """The guest's SCSI layer gives the disk up; no request reaches it until a person says that it runs again."""
    name = scene.holder()
    node = _guest(scene, name)
    state = f"/sys/dev/block/{_device(scene, node)}/device/state"
    done = node.run(["sh", "-c", f"echo offline >{state} && grep -qx offline {state}"])
    if done.code:
        raise TooLate(f"the disk of {name} cannot be set offline: {done.err.strip()}")

    def cure() -> None:
        with suppress(LabError, TooLate):
            _guest(scene, name).tell(f"grep -qx offline {state} && echo running >{state}")

    return scene.note("disk", name, cure)


def _turn_kernels_clock(scene: Scene) -> Cure:
    """The wall clock of the holder's kernel jumps back by an hour, for all its programs, and forth again."""
    name = scene.holder()

    def turn(seconds: float) -> None:
        done = _guest(scene, name).run(["date", "-s", f"@{time.time() + seconds:.0f}"])
        if done.code:
            raise LabError(f"the clock of {name} cannot be set: {done.err.strip()}")

    turn(-_HOUR)
    return scene.note("clock", "", lambda: turn(0.0))


FAULTS = (
    *both("panic", _panic, lasts=(4.0, 12.0), may_stay=True, weight=3, steps=FENCED, nodes=GUESTS),
    Fault("power-cut-dirty", "machine", _cut_power_while_dirty, (2.0, 9.0), may_stay=True, weight=4, steps=DEAD, nodes=GUESTS),
    Fault("disk-pulled", "disk", _pull, (2.0, 8.0), weight=4, steps=DEAD, nodes=GUESTS),
    Fault("disk-offline", "disk", _offline, (1.0, 8.0), weight=4, steps=PLANNED, nodes=GUESTS),
    Fault("kernel-clock-jumps", "machine", _turn_kernels_clock, (2.0, 9.0), may_stay=True, nodes=GUESTS),
)  # fmt: skip
