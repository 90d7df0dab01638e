"""What happens inside the nodes of the simulated world, by itself or by people's hands; nothing that the VMFS locks forbid."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vmdk_failover.model import Condition, Power

if TYPE_CHECKING:
    from tests.core.fate import Fate


# -- inside the nodes -----------------------------------------------------------------------------------------


def disk_fails(f: Fate) -> None:
    if f.node.mounted:
        f.node.trouble = f.dice.pick((Condition.IO_ERROR, Condition.HUNG, Condition.FS_ERROR))


def release_hangs(f: Fate) -> None:
    f.node.stuck = not f.node.stuck


def is_unready(f: Fate) -> None:
    f.node.unready = () if f.node.unready else ("mount is not installed",)


def cannot_mount(f: Fate) -> None:
    f.node.cannot_mount = "" if f.node.cannot_mount else "mount: wrong fs type"


def services_stop(f: Fate) -> None:
    f.node.services = None if f.node.services is False else False


# -- people's hands -------------------------------------------------------------------------------------------


def is_unmounted(f: Fate) -> None:
    if f.node.mounted and f.vm.power is Power.ON and not f.node.torn:
        f.node.mounted, f.node.trouble = False, None


def is_mounted(f: Fate) -> None:
    """By hand, where the disk is; a node that has released it does not see it any more."""
    free = f.node.released is None and not (f.node.foreign or f.node.torn or f.vm.frozen)
    if f.vm.power is Power.ON and f.node.sees(f.of) and free:
        f.node.mounted = True
        f.world.hand = f.world.happenings


def is_busy(f: Fate) -> None:
    """Somebody checks the file system, or has finished."""
    f.node.busy = "" if f.node.busy or f.node.mounted else "fsck runs"


def is_foreign(f: Fate) -> None:
    """Something else is mounted at the mount point, or is taken away."""
    f.node.foreign = not f.node.foreign and not f.node.mounted and f.vm.power is Power.ON


def is_pulled(f: Fate) -> None:
    """Somebody takes a disk out of the VM: all, or one of two."""
    mine = [d for d in f.vm.disks if d.uuid in f.node.uuids]
    if mine and not f.vm.kept:
        f.world.hand = f.world.happenings
        f.vm.unplug(mine[0].path if len(mine) == 1 else f.dice.pick(mine).path)
        f.node.torn = f.node.mounted


def is_given(f: Fate) -> None:
    """Somebody attaches the disk to a VM, at its place or at another one, where the locks allow it."""
    if (
        f.vm not in f.world.hypervisor.vms
        or f.vm.power is Power.SUSPENDED
        or f.world.others(f.of, f.vm)
        or f.vm.lists(f.node.uuids)
    ):
        return
    places = [d if f.dice.coin() else replace(d, bus=0, unit=d.unit + 8) for d in f.of.disks]
    if any((d.bus, d.unit) in f.vm.slots() for d in places):
        return
    f.world.hand = f.world.happenings
    for disk in places:
        f.vm.plug(disk)


def pauses(f: Fate) -> None:
    """Maintenance begins or ends; it waits for the lock, so not in the midst of a run."""
    if not any(what == f.of.name for _, what in f.world.running):
        f.world.hand = f.world.happenings
        f.world.operator.pause(f.of, f.of.name not in f.world.paused)
