"""
A fault that does not end with the others: one node stays as it is, or vCenter does, until a person is sent there.

In a share of the worlds nobody wakes, starts or reconnects the node that had the disk when the faults ended. The resource has to
come through without it: active elsewhere, or held with a reason that is true as long as that lasts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.core import fate
from vmdk_failover.around import Confirmed
from vmdk_failover.model import Power

if TYPE_CHECKING:
    from tests.core.machines import SimVm
    from tests.core.world import World

#: Share of the worlds in which a node's fault lasts, and of those that are made for one kind of it.
SHARE, SPECIAL = 0.05, 0.5
#: Seconds between the looks in such a world: long enough for ``node_timeout``, the grace after a boot and ``agent_timeout``.
PAUSES = (30.0, 330.0, 330.0, 30.0)
BLIND, RESTORED = "blind", "restored"


def freeze(vm: SimVm) -> None:
    vm.frozen = True


def cut(vm: SimVm) -> None:
    vm.cut = True


def silence(vm: SimVm) -> None:
    vm.silent = True


def suspend(vm: SimVm) -> None:
    vm.turn(Power.SUSPENDED)


def end(vm: SimVm) -> None:
    vm.turn(Power.OFF)


def lose(vm: SimVm) -> None:
    """With its host, from vCenter and from the network; whether the VM goes on there nobody can see."""
    vm.shown, vm.connected, vm.cut = vm.power, False, True
    if vm.boots % 2:
        vm.turn(Power.OFF, told=False)


def restore(vm: SimVm) -> None:
    """The same, and vCenter was restored from a backup of a time when it had no disk."""
    lose(vm)
    vm.old = ()


#: What lasts, and the name of the same fault among what happens.
KINDS: dict[str, tuple[Callable[[SimVm], None], Callable[[fate.Fate], None]]] = {
    "frozen": (freeze, fate.freezes),
    "cut off": (cut, fate.is_cut_off),
    "silent": (silence, fate.agent_falls_silent),
    "suspended": (suspend, fate.is_suspended),
    "off": (end, fate.dies),
    "lost": (lose, fate.host_vanishes),
    RESTORED: (restore, fate.vcenter_is_restored),
}


def choose(world: World, setting: Any) -> str:
    """What will last in a world; ``""`` in most."""
    share = setting.random()
    if world.apart:
        return ""
    if world.fates is fate.LOST_HOSTS:
        return "lost" if share < SPECIAL else ""
    if world.fates is fate.IN_THE_BLIND:
        return BLIND if share < SPECIAL else ""
    if world.fates is fate.RESTORED:
        return RESTORED if share < SPECIAL else ""
    return str(setting.choice([kind for kind in KINDS if kind != RESTORED])) if share < SHARE else ""


def begin(world: World, vm: SimVm | None) -> None:
    """The calm has come, but not for the holder ``vm``."""
    kind = world.lasting
    if kind == BLIND:
        world.hypervisor.blind = "vCenter does not answer"
        world.event(fate.vcenter_is_blind.__name__, "", world.resource)
    elif kind and vm is not None and vm.power is Power.ON and vm in world.hypervisor.vms and not vm.question:
        world.stays, world.boots = vm, vm.boots
        _empty_its_host(world, vm)
        KINDS[kind][0](vm)
        world.event(KINDS[kind][1].__name__, vm.name, world.resource)
    else:
        world.lasting = ""
    world.say(f"-- {vm.name if vm else 'nobody'} stays {kind}" if world.lasting else "-- nothing lasts")


def _empty_its_host(world: World, vm: SimVm) -> None:
    """DRS keeps nodes apart."""
    for other in world.vms.values():
        if other is not vm and other.host == vm.host:
            other.host = "esx1" if vm.host == "esx2" else "esx2"


def go_on(world: World) -> None:
    """What a person did meanwhile was not for this node, which has not booted since."""
    vm = world.stays
    if vm is not None and vm.boots == world.boots and vm.power is Power.ON:
        vm.frozen, vm.silent = world.lasting == "frozen", world.lasting == "silent"


def stop(world: World) -> None:
    """A person was sent there and mends it."""
    world.hypervisor.blind = ""
    if world.stays is not None:
        world.stays.frozen = world.stays.silent = world.stays.cut = False
    world.stays = None


def confirm(world: World) -> None:
    """A person has cut the power of the lost host, and says so."""
    vm = world.stays
    if vm is None or vm.connected is not False:
        return
    if vm.power is not Power.OFF:
        vm.turn(Power.OFF, told=False)
    node = world.resource.node(vm.name)
    seen = world.hypervisor._facts(node, world.resource)
    for master in world.masters:
        master.vicinity.confirm(vm.name, Confirmed(seen.host, seen.boot_time, "a person has said so"))
