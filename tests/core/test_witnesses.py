"""One look at a resource: in which order the witnesses are heard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

from tests.core.build import THERE, resource, says, vm
from tests.doubles.clock import FakeClock
from vmdk_failover.model import HypervisorFacts, NodeFacts, Power, Resource
from vmdk_failover.witnesses import FACTS_AGE, NoLookout, Witnesses


@dataclass
class SlowSalt:
    """Nodes whose answers are kept back; meanwhile the holder is powered off, as vCenter tells whoever asks then."""

    clock: FakeClock
    seconds: float
    off: bool = False

    def observe(self, of: Resource) -> HypervisorFacts:
        """See the ``Hypervisor`` port."""
        return HypervisorFacts(
            True, "", (vm("db1", THERE, power=Power.OFF if self.off else Power.ON), vm("db2"))
        )

    def ask(self, of: Resource, minions: Sequence[str]) -> Mapping[str, NodeFacts]:
        """See the ``Guest`` port."""
        self.clock.sleep(self.seconds)
        self.off = True
        return {minion: says(minion) for minion in minions}


@pytest.mark.parametrize(("seconds", "off"), [(FACTS_AGE + 1.0, True), (1.0, False)])
def test_what_vcenter_showed_long_before_the_answers_came_is_looked_at_again(
    seconds: float, off: bool
) -> None:
    clock = FakeClock()
    world = SlowSalt(clock, seconds)
    seen = Witnesses(world, world, clock, NoLookout()).observe(resource(2))  # type: ignore[arg-type]
    assert (seen.node("db1").vm.is_off, seen.node("db1").facts is None) == (off, off)
    assert seen.node("db2").facts is not None
