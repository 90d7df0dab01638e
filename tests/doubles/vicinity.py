"""What a master remembers around a resource, in memory; and the administrator's own fences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from vmdk_failover.around import Ailing, Around, Confirmed, Tenant
from vmdk_failover.errors import FailoverError
from vmdk_failover.kin import Neighbour
from vmdk_failover.model import HypervisorFacts, Node, Power, Resource, VmFacts


@dataclass
class FakeVicinity:
    """
    Implements the ``Vicinity`` port.

    :ivar tenants: other resources by minion. :ivar fellows: other resources that fail.
    :ivar nodes: those of all resources.
    :ivar confirmed: words that hosts are off. :ivar since: when they were given, by ``clock``.
    :ivar restarts: nodes to be powered on again. :ivar told: this resource's fault.
    """

    tenants: dict[str, tuple[Tenant, ...]] = field(default_factory=dict)
    fellows: tuple[Ailing, ...] = ()
    confirmed: dict[str, Confirmed] = field(default_factory=dict)
    restarts: set[str] = field(default_factory=set)
    told: str = ""
    relatives: tuple[Neighbour, ...] = ()
    leaving: dict[str, str] = field(default_factory=dict)
    nodes: tuple[Node, ...] = ()
    clock: Callable[[], float] = lambda: 0.0
    since: dict[str, float] = field(default_factory=dict)

    def look(self, resource: Resource, seen: HypervisorFacts) -> Around:
        """See the port."""
        for vm in seen.vms:
            if vm.connected is True:
                self.confirmed.pop(vm.minion, None)
                if vm.power is Power.ON:
                    self.restarts.discard(vm.minion)
        mine = {vm.minion for vm in seen.vms}
        words = {m: self._word(m) for m in self.confirmed if m in mine}
        others = [n for n in self.nodes if n.minion in self.confirmed and n.minion not in mine]
        beside = {
            host: tuple(n for n in others if self.confirmed[n.minion].host == host)
            for host in {word.host for word in words.values() if not word.against}
        }
        return Around(
            dict(self.tenants),
            self.fellows,
            words,
            frozenset(self.restarts),
            dict(self.leaving),
            beside={host: nodes for host, nodes in beside.items() if nodes},
        )

    def _word(self, minion: str) -> Confirmed:
        given = self.since.get(minion)
        return replace(self.confirmed[minion], ago=None if given is None else self.clock() - given)

    def kin(self, resource: Resource) -> Sequence[Neighbour]:
        """See the port."""
        return self.relatives

    def ailing(self, resource: Resource, seen: VmFacts | None, condition: str) -> None:
        """See the port."""
        self.told = condition

    def neighbours(self, vm: VmFacts) -> Sequence[Node]:
        """See the port."""
        there = {uuid for _, uuid in vm.beside or ()}
        return [node for node in self.nodes if node.vm_uuid in there and node.minion != vm.minion]

    def confirm(self, minion: str, word: Confirmed) -> None:
        """See the port."""
        self.confirmed[minion], self.since[minion] = replace(word, ago=None, against=""), self.clock()

    def refute(self, host: str, words: str) -> None:
        """See the port."""
        for minion, word in self.confirmed.items():
            if word.host == host and not word.against:
                self.confirmed[minion] = replace(word, against=words)

    def restart(self, minion: str, wanted: bool) -> None:
        """See the port."""
        (self.restarts.add if wanted else self.restarts.discard)(minion)


@dataclass
class FakeHooks:
    """Implements the ``Hooks`` port. :ivar does: what a function does. :ivar calls: names and facts, in order."""

    does: dict[str, Callable[[], FailoverError | None]] = field(default_factory=dict)
    calls: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)

    def call(self, function: str, facts: Mapping[str, str], within: float) -> str:
        """See the port."""
        self.calls.append((function, dict(facts)))
        trouble = self.does[function]()
        if trouble is not None:
            raise trouble
        return f"{function} has read it back as off"
