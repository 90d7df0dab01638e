"""
What happens by itself, or by people's hands, in the simulated world: one function each, from the VM's death to a wrong clock.

Each toggles where that makes sense: what has begun ends some time. People and vSphere HA do nothing that the VMFS locks forbid.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.core.accidents import (
    a_person_confirms,
    a_person_is_wrong,
    agent_falls_silent,
    asks_a_question,
    clock_jumps,
    comes_back,
    dies,
    freezes,
    ha_restarts,
    heartbeat,
    host_dies,
    host_is_cut_off,
    host_vanishes,
    is_copied,
    is_cut_off,
    is_hidden,
    is_renamed,
    is_reverted,
    is_suspended,
    is_twice,
    is_unregistered,
    master_is_cut_off,
    master_is_frozen,
    reboots,
    slot,
    snapshot,
    storage_vmotion,
    task,
    vcenter_is_blind,
    vcenter_is_restored,
    vmotion,
)
from tests.core.hands import (
    cannot_mount,
    disk_fails,
    is_busy,
    is_foreign,
    is_given,
    is_mounted,
    is_pulled,
    is_unmounted,
    is_unready,
    pauses,
    release_hangs,
    services_stop,
)
from tests.core.machines import SimNode, SimVm
from vmdk_failover.model import Resource

if TYPE_CHECKING:
    from tests.core.world import World


class Fate:
    """One thing that happens: to which VM, and to which resource in it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.dice = world.dice
        self.of: Resource = (
            world.resources[0] if len(world.resources) == 1 else self.dice.pick(world.resources)
        )
        self.vm: SimVm = self.dice.pick(world.known)
        self.node: SimNode = world.guests[self.of.name].inside[self.vm.name]


def happen(world: World) -> None:
    """Let one thing happen."""
    fate = Fate(world)
    what = world.dice.pick(world.fates)
    world.happenings += 1
    world.say(f"-- {what.__name__} {fate.vm.name} ({fate.of.name})")
    world.event(what.__name__, fate.vm.name, fate.of)
    what(fate)


EVENTS: tuple[Callable[[Fate], None], ...] = (
    *(dies,) * 5,
    *(comes_back,) * 9,
    *(reboots,) * 2,
    *(is_suspended,) * 2,
    *(freezes,) * 5,
    *(host_is_cut_off,) * 4,
    host_dies,
    host_vanishes,
    *(ha_restarts,) * 3,
    *(a_person_confirms,) * 2,
    asks_a_question,
    *(vmotion,) * 2,
    task,
    storage_vmotion,
    snapshot,
    is_reverted,
    *(is_unregistered,) * 2,
    is_hidden,
    is_twice,
    is_renamed,
    is_copied,
    slot,
    *(vcenter_is_blind,) * 4,
    *(agent_falls_silent,) * 2,
    *(is_cut_off,) * 3,
    master_is_cut_off,
    heartbeat,
    *(master_is_frozen,) * 2,
    clock_jumps,
    *(disk_fails,) * 6,
    *(release_hangs,) * 2,
    *(is_unready,) * 2,
    *(cannot_mount,) * 2,
    services_stop,
    *(is_unmounted,) * 2,
    is_mounted,
    is_busy,
    is_foreign,
    is_pulled,
    *(is_given,) * 2,
    *(pauses,) * 2,
)

#: Hosts that are gone, where there is a way to get them off.
LOST_HOSTS: tuple[Callable[[Fate], None], ...] = (
    *(host_vanishes,) * 5,
    host_dies,
    *(is_cut_off,) * 2,
    ha_restarts,
    a_person_confirms,
    heartbeat,
    freezes,
    pauses,
)

#: vCenter that cannot be read, and mounts that go meanwhile.
IN_THE_BLIND: tuple[Callable[[Fate], None], ...] = (
    *(vcenter_is_blind,) * 4,
    *(is_unmounted,) * 4,
    *(reboots,) * 2,
    cannot_mount,
    is_busy,
    agent_falls_silent,
    disk_fails,
    is_given,
)

#: vCenter is restored from a backup, while nodes are moved, die and fall silent.
RESTORED: tuple[Callable[[Fate], None], ...] = (
    *(vcenter_is_restored,) * 6,
    *(is_cut_off,) * 3,
    *(disk_fails,) * 2,
    agent_falls_silent,
    a_person_confirms,
    dies,
    comes_back,
    cannot_mount,
    release_hangs,
    pauses,
)

#: Targets that are lost while requests to them are on their way.
LOST_TARGETS: tuple[Callable[[Fate], None], ...] = (
    *(dies,) * 3,
    *(is_unready,) * 3,
    *(disk_fails,) * 3,
    comes_back,
    freezes,
    slot,
    is_cut_off,
    is_suspended,
)

#: Kinds that make each other worse.
THEMES: tuple[tuple[Callable[[Fate], None], ...], ...] = (
    (is_unready, is_cut_off, agent_falls_silent, is_unready, cannot_mount, disk_fails, disk_fails, dies),
    (vcenter_is_blind, is_unmounted, is_unmounted, reboots, comes_back, is_pulled, is_given, pauses),
    (
        host_is_cut_off,
        host_is_cut_off,
        host_dies,
        host_dies,
        ha_restarts,
        a_person_confirms,
        a_person_is_wrong,
        freezes,
        is_cut_off,
        heartbeat,
    ),
    (disk_fails, disk_fails, release_hangs, freezes, pauses, pauses, comes_back, release_hangs),
    (disk_fails, disk_fails, release_hangs, services_stop, cannot_mount, is_unready, task, asks_a_question),
    (dies, comes_back, is_suspended, freezes, reboots, agent_falls_silent, master_is_frozen, clock_jumps),
    (
        snapshot,
        is_reverted,
        is_unregistered,
        is_hidden,
        is_twice,
        is_copied,
        storage_vmotion,
        dies,
        comes_back,
    ),
    (is_unmounted, is_mounted, is_busy, is_foreign, is_pulled, is_given, slot, pauses),
)
