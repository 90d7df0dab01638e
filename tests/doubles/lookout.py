"""What a master notices of nodes in memory, for tests of what stands on the ``Lookout`` port."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.doubles.clock import FakeClock
from tests.doubles.guest import FakeGuest
from vmdk_failover.model import Crowd, HypervisorFacts, Power, Resource, Signs
from vmdk_failover.presence.lookout import BOOT_GRACE


@dataclass
class FakeLookout:
    """
    Implements the ``Lookout`` port on :class:`FakeNode` values. Silence counts from the first look that finds it.

    :ivar deaf: nobody listens. :ivar last: when a node was heard last. :ivar others: the nodes of other resources.
    """

    guest: FakeGuest
    clock: FakeClock
    deaf: bool = False
    others: Crowd = field(default_factory=Crowd)
    since: dict[str, float] = field(default_factory=dict)
    boots: dict[str, str] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)

    def signs(self, seen: HypervisorFacts, silent: Sequence[str]) -> Mapping[str, Signs]:
        """See the port."""
        for vm in seen.vms:
            self._excuse(vm.minion, vm.task != "", vm.boot_time)
        known = [m for m in silent if m in self.guest.nodes]
        found = {m: Signs(self._silence(m), self.address(m), self._heard(m)) for m in known}
        if not all(one.address for one in found.values()):
            self.clock.now += 1.0
        return found

    def crowd(self, resource: Resource, seen: HypervisorFacts) -> Crowd:
        """See the port."""
        return self.others

    def address(self, minion: str) -> bool | None:
        """Whether a node's address answers."""
        node = self.guest.nodes[minion]
        return node.vm.power is Power.ON and not node.frozen and not node.cut

    def _excuse(self, minion: str, busy: bool, boot: str) -> None:
        if self.guest.nodes[minion].can_hear():
            self.since.pop(minion, None)
            self.last[minion] = self.clock.now
        elif busy:
            self.since[minion] = self.clock.now
        if boot and self.boots.setdefault(minion, boot) != boot:
            self.boots[minion], self.since[minion] = boot, self.clock.now + BOOT_GRACE

    def _heard(self, minion: str) -> float | None:
        return self.clock.now - self.last[minion] if minion in self.last else None

    def _silence(self, minion: str) -> float | None:
        if self.deaf:
            return None
        if self.guest.nodes[minion].can_hear():
            return 0.0
        return self.clock.now - self.since.setdefault(minion, self.clock.now)
