"""What happens by itself around the nodes of the simulated world: power, hosts, snapshots, inventory, network, clocks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vmdk_failover.around import Confirmed
from vmdk_failover.model import Power

if TYPE_CHECKING:
    from tests.core.fate import Fate
    from tests.core.machines import SimVm
    from tests.core.world import World


# -- power ----------------------------------------------------------------------------------------------------


def dies(f: Fate) -> None:
    """vCenter may see it, or see it without another ``changeVersion``."""
    if f.vm.power is not Power.OFF and f.vm.connected:
        f.vm.turn(Power.OFF, told=f.dice.coin())


def comes_back(f: Fate) -> None:
    """Somebody powers it on, or it is resumed where it stopped."""
    if not f.vm.connected or not f.world.may_start(f.vm):
        return
    if f.vm.power is Power.SUSPENDED and f.dice.coin():
        f.vm.power = Power.ON
    elif f.vm.power is not Power.ON:
        boot(f.world, f.vm, told=f.dice.coin())


def boot(world: World, vm: SimVm, told: bool = True) -> None:
    """A new boot; every memory of the old one is gone."""
    if vm.power is Power.ON:
        vm.reset()
    else:
        vm.turn(Power.OFF, told)
        vm.turn(Power.ON, told)
    vm.booted = world.clock.now - 10.0


def reboots(f: Fate) -> None:
    if f.vm.power is Power.ON:
        boot(f.world, f.vm)


def is_suspended(f: Fate) -> None:
    if f.vm.power is Power.ON and f.vm.connected:
        f.vm.turn(Power.SUSPENDED, told=f.dice.coin())


def freezes(f: Fate) -> None:
    """All of it stands still, or goes on where it stood."""
    f.vm.frozen = f.vm.power is Power.ON and not f.vm.frozen


# -- hosts ----------------------------------------------------------------------------------------------------


def host_is_cut_off(f: Fate) -> None:
    """The VM lives on behind it; vCenter shows what it knew last."""
    if f.vm.connected:
        f.vm.shown, f.vm.connected = f.vm.power, f.dice.pick((False, False, None))
    else:
        f.vm.shown, f.vm.connected = None, True


def host_dies(f: Fate) -> None:
    """vCenter goes on showing the power that the VM had."""
    if f.vm.connected:
        f.vm.shown, f.vm.connected = f.vm.power, False
        f.vm.turn(Power.OFF, told=False)


def host_vanishes(f: Fate) -> None:
    """Its host is cut from vCenter and from the network at once, whatever becomes of the VM; or it is back with both."""
    if f.vm.connected:
        f.vm.shown, f.vm.connected, f.vm.cut = f.vm.power, False, True
        if f.dice.coin():
            f.vm.turn(Power.OFF, told=False)
    elif f.vm.cut:
        f.vm.shown, f.vm.connected, f.vm.cut = None, True, False


def vcenter_is_restored(f: Fate) -> None:
    """From a backup of a time when the VM had no disk of a resource; its host has not reconnected, or does so now."""
    if f.vm.connected:
        f.vm.shown, f.vm.connected = f.vm.power, False
        forget(f.world, f.vm)
    else:
        f.vm.shown, f.vm.connected = None, True


def forget(world: World, vm: SimVm) -> None:
    """vCenter lists a VM as it was before it got the disk of any resource."""
    shared = {disk.uuid for of in world.resources for disk in of.disks}
    vm.old = tuple(disk for disk in vm.disks if disk.uuid not in shared)


def ha_restarts(f: Fate) -> None:
    """vSphere HA starts the VM of a dead host on another one; it lists what it listed."""
    if not f.vm.connected and f.vm.power is Power.OFF and f.world.may_start(f.vm):
        f.vm.shown, f.vm.connected = None, True
        f.vm.host = "esx2" if f.vm.host == "esx1" else "esx1"
        f.world.hand = f.world.happenings
        boot(f.world, f.vm, told=f.dice.coin())


def a_person_confirms(f: Fate) -> None:
    """The host's power was cut, and somebody says so."""
    if f.vm.connected is False and f.vm in f.world.hypervisor.vms:
        if f.vm.power is not Power.OFF:
            f.vm.turn(Power.OFF, told=False)
        seen = f.world.hypervisor._facts(f.of.node(f.vm.name), f.of)
        word = Confirmed(seen.host, seen.boot_time, "a person has said so")
        f.world.masters[0].vicinity.confirm(f.vm.name, word)


def a_person_is_wrong(f: Fate) -> None:
    """Somebody says that a host is off which is only cut off; a node on it was heard since, and falls silent or not."""
    heard = f.vm.power is Power.ON and not (f.vm.cut or f.vm.silent or f.vm.frozen or f.vm.impostor)
    if f.vm.connected is False and heard and f.vm in f.world.hypervisor.vms:
        seen, vicinity = f.world.hypervisor._facts(f.of.node(f.vm.name), f.of), f.world.masters[0].vicinity
        vicinity.confirm(f.vm.name, Confirmed(seen.host, seen.boot_time, "a person was wrong"))
        vicinity.since[f.vm.name] -= 10.0
        for lookout in f.world.lookouts.values():
            lookout.last[f.vm.name] = f.world.clock.now - 1.0
        now = f.dice.pick(("cut", "cut", "frozen", "silent", ""))
        if now:
            setattr(f.vm, now, True)


def asks_a_question(f: Fate) -> None:
    """The VM stands still until somebody answers in vCenter."""
    if f.vm.power is Power.ON and not f.vm.question:
        f.vm.question, f.vm.full, f.vm.frozen = "there is no more space", f.dice.coin(), True
    elif f.vm.question:
        f.vm.question, f.vm.full, f.vm.frozen = "", False, False


def vmotion(f: Fate) -> None:
    """It is on its way, and arrives."""

    def arrive() -> None:
        f.vm.host = "esx2" if f.vm.host == "esx1" else "esx1"
        f.vm.version += 1

    task(f)
    f.world.put_off(arrive)


def storage_vmotion(f: Fate) -> None:
    """Its files have another path afterwards, or have come home."""
    home = {disk.uuid: disk.path for r in f.world.resources for disk in r.disks}
    moved = any(d.path != home[d.uuid] for d in f.vm.disks)
    if not f.vm.kept:
        f.vm.disks = [
            replace(d, path=home[d.uuid] if moved else f"[ds9] {d.uuid[-4:]}.vmdk") for d in f.vm.disks
        ]
        f.vm.version += 1


def task(f: Fate) -> None:
    """Something runs on the VM, and ends by itself some time."""

    def end() -> None:
        f.vm.task = ""

    if not f.vm.task:
        f.vm.task = "relocate (running)"
        f.world.put_off(end)


# -- snapshots and inventory ----------------------------------------------------------------------------------


def snapshot(f: Fate) -> None:
    """The disks go on in files of their own; or it is deleted and they come home."""
    if f.vm.saved is None:
        f.vm.saved = list(f.vm.disks)
        f.vm.snapshot()
        if f.dice.coin():
            f.vm.disks = [replace(d, path=d.path.replace(".vmdk", "-000001.vmdk")) for d in f.vm.disks]
            f.vm.kept = frozenset(d.path for d in f.vm.disks)
    else:
        f.vm.disks = [replace(d, path=d.path.replace("-000001.vmdk", ".vmdk")) for d in f.vm.disks]
        f.vm.kept, f.vm.saved = frozenset(), None
        f.vm.version += 1


def is_reverted(f: Fate) -> None:
    """The VM is off then, and has the disks that it had when the snapshot was made."""
    if f.vm.saved is not None and f.vm.connected:
        f.vm.turn(Power.OFF)
        f.vm.disks, f.vm.kept = list(f.vm.saved), frozenset(d.path for d in f.vm.saved)
        f.vm.version += 1


def is_unregistered(f: Fate) -> None:
    """Only a VM that is off can be; registered again, it is off and lists what it listed."""
    vms = f.world.hypervisor.vms
    if f.vm in vms and f.vm.power is Power.OFF and f.vm.connected:
        vms.remove(f.vm)
        f.vm.version += 1
    elif f.vm not in vms:
        vms.append(f.vm)
        f.vm.version += 1


def is_hidden(f: Fate) -> None:
    """The account may not see the VM any more, whatever it does."""
    vms = f.world.hypervisor.vms
    if f.vm in vms and f.vm.power is Power.ON:
        vms.remove(f.vm)
        f.vm.memo = {}


def is_twice(f: Fate) -> None:
    """A restored copy has the same instance UUID, or is deleted again."""
    vms = f.world.hypervisor.vms
    if vms.count(f.vm) == 2:
        vms.remove(f.vm)
    elif f.vm in vms:
        vms.append(f.vm)
    f.vm.memo = {}


def is_renamed(f: Fate) -> None:
    """By hand, in vCenter; the version changes with it."""
    f.vm.version += 1


def is_copied(f: Fate) -> None:
    """A copy of the whole machine comes up and speaks for it, or is gone again."""
    f.vm.impostor = not f.vm.impostor


def slot(f: Fate) -> None:
    """A disk of somebody else is put where the resource's belongs, or the controller changes; or that ends."""
    right = ((0, "pvscsi"), (1, "pvscsi"))
    f.vm.controllers = ((0, "pvscsi"), (1, "lsilogic")) if f.vm.controllers == right else right
    f.vm.version += 1


# -- the network, vCenter, the master ------------------------------------------------------------------------


def vcenter_is_blind(f: Fate) -> None:
    f.world.hypervisor.blind = "" if f.world.hypervisor.blind else "vCenter does not answer"


def agent_falls_silent(f: Fate) -> None:
    f.vm.silent = not f.vm.silent


def is_cut_off(f: Fate) -> None:
    f.vm.cut = not f.vm.cut


def master_is_cut_off(f: Fate) -> None:
    """It hears nobody, or all."""
    cut = not all(vm.cut for vm in f.world.vms.values())
    for vm in f.world.vms.values():
        vm.cut = cut


def heartbeat(f: Fate) -> None:
    f.vm.heartbeat = f.dice.pick(("green", "red", "gray", "", "yellow"))


def master_is_frozen(f: Fate) -> None:
    """Its VM stands still in the midst of whatever it does, and goes on."""
    f.world.clock.now += f.dice.pick((5.0, 30.0, 400.0))


def clock_jumps(f: Fate) -> None:
    """Somebody sets the master's clock."""
    f.world.clock.epoch += f.dice.pick((-86400.0, -3000.0, 3000.0, 1e7))
