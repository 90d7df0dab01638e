"""What a simulated master remembers around a resource, and the administrator's own fences, which may fail, lie or be lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.core.machines import SimVm
from tests.doubles.vicinity import FakeVicinity
from vmdk_failover.around import Ailing, Around, Tenant, datastore_of
from vmdk_failover.errors import JournalError, OutcomeUnknown, StepFailed
from vmdk_failover.kin import Neighbour
from vmdk_failover.model import HypervisorFacts, Power, Resource, VmFacts
from vmdk_failover.presence.vicinity import LASTS

if TYPE_CHECKING:
    from tests.core.setting import Master
    from tests.core.world import World

FENCE_VM, FENCE_HOST = "own.fence_vm", "own.fence_host"


@dataclass
class SimVicinity(FakeVicinity):
    """The double, which finds tenants and fellows in the world of two resources."""

    world: World | None = None
    master: Callable[[], Master] | None = None
    faults: dict[str, tuple[float, Ailing]] = field(default_factory=dict)

    def look(self, resource: Resource, seen: HypervisorFacts) -> Around:
        """See the port."""
        assert self.world is not None and self.master is not None
        self.nodes = tuple(node for one in self.world.resources for node in one.nodes)
        if len(self.world.resources) > 1:
            others = [r for r in self.world.resources if r.name != resource.name]
            paused = {r.name: self.master().journal.state(r.name).paused for r in others}
            self.tenants = {vm.minion: _tenants(vm, others, paused) for vm in seen.vms if vm.disks}
            now, stores = self.world.clock.now, _stores(resource)
            fresh = [a for at, a in self.faults.values() if now - at < LASTS and a.datastores & stores]
            self.fellows = tuple(a for a in fresh if a.resource != resource.name)
        return super().look(resource, seen)

    def kin(self, resource: Resource) -> Sequence[Neighbour]:
        """See the port."""
        assert self.world is not None
        if not self.world.storeys:
            return ()
        return [self._neighbour(one, resource) for one in self.world.resources if one.name != resource.name]

    def _neighbour(self, one: Resource, of: Resource) -> Neighbour:
        assert self.master is not None
        below = one.name in of.depends_on
        try:
            state = self.master().journal.state(one.name)
        except JournalError:
            return Neighbour(one.name, below)
        return Neighbour(
            one.name, below, state.move.resource if state.move else one, state.move, state.paused
        )

    def ailing(self, resource: Resource, seen: VmFacts | None, condition: str) -> None:
        """See the port."""
        assert self.world is not None
        if seen is None:
            self.faults.pop(resource.name, None)
            return
        word = Ailing(resource.name, seen.minion, frozenset({seen.host}), condition, _stores(resource))
        self.faults[resource.name] = self.world.clock.now, word


def _tenants(vm: VmFacts, others: list[Resource], paused: Mapping[str, bool]) -> tuple[Tenant, ...]:
    listed = {key for disk in vm.disks or () for key in (disk.path, disk.uuid)}
    return tuple(
        Tenant(other.name, paused[other.name])
        for other in others
        if any(disk.path in listed or disk.uuid in listed for disk in other.disks)
    )


def _stores(resource: Resource) -> frozenset[str]:
    return frozenset(datastore_of(disk.path) for disk in resource.disks)


class SimHooks:
    """The ``Hooks`` port. A VM's fence may lie, as nobody believes it; a host's may only fail: it is believed."""

    def __init__(self, world: World) -> None:
        self.world = world

    def call(self, function: str, facts: Mapping[str, str], within: float) -> str:
        """See the port."""
        world = self.world
        world.pass_by()
        vm = world.vms[facts["node"]]
        if function == FENCE_HOST:
            world.broken += self._collateral(facts["resource"], vm)
        lost = world.chance(0.3)
        if lost and world.dice.coin():
            raise StepFailed(f"{function} failed")
        if lost and function == FENCE_VM and world.dice.coin():
            return "a lie"
        there = [o for o in world.vms.values() if o.host == vm.host and o.connected is False]
        for one in {vm.name: vm, **({o.name: o for o in there} if function == FENCE_HOST else {})}.values():
            if one.power is not Power.OFF:
                one.turn(Power.OFF, told=bool(one.connected))
        world.say(f"-- {function} has powered {facts['node']} off")
        world.pass_by()
        if lost:
            raise OutcomeUnknown("the hook gave no answer")
        return "it is off"

    def _collateral(self, name: str, vm: SimVm) -> list[str]:
        """Who is stopped with a host although nobody allowed that."""
        of = next(r for r in self.world.resources if r.name == name)
        may = of.host_fence_others == "stop"
        return [] if may else [f"{other} is stopped with the host of {vm.name}" for other in vm.strangers]
