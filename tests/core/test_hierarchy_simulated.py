"""
Two resources, one on top of the other, in the world of the simulation: whatever happens, and wherever the engine dies, each of
them has one writer and one holder, and nothing is pulled from under anybody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import pytest

from tests.core import histories, setting, truth, world
from tests.core.setting import MAIL
from tests.core.surroundings import SimVicinity
from vmdk_failover.engine import Engine, Report
from vmdk_failover.errors import JournalError
from vmdk_failover.kin import Neighbour
from vmdk_failover.model import Mount, Move, NodeFacts, Outcome, Resource
from vmdk_failover.policy import Wish

SEEDS = 150
#: Rows that concern the hierarchy; these have to be met, or the test shows nothing.
MET = {237, 570, 571, 575, 577, 578}
BELOW, ABOVE = "pgdata", "mail"

_settings = setting.settings


def two_storeys(dice: Any) -> tuple[Resource, ...]:
    """The resources of a setting, always two, the second one on top of the first."""
    first, *others = _settings(dice)
    mounts = (Mount("/srv/mail", "c0ffee00-0000-4000-8000-000000000009", "ext4"),)
    second = others[0] if others else replace(first, name=ABOVE, disks=(MAIL,), mounts=mounts)
    found = (first, replace(second, depends_on=(first.name,)))
    return found if dice.random() < 0.5 else found[::-1]


def kin(self: SimVicinity, resource: Resource) -> Sequence[Neighbour]:
    """See the port."""
    assert self.world is not None
    return [_neighbour(self, one, resource) for one in self.world.resources if one.name != resource.name]


def _neighbour(self: SimVicinity, one: Resource, of: Resource) -> Neighbour:
    below = one.name in of.depends_on
    try:
        state = self.master().journal.state(one.name)  # type: ignore[misc]
    except JournalError:
        return Neighbour(one.name, below)
    return Neighbour(one.name, below, state.move.resource if state.move else one, state.move, state.paused)


@dataclass
class Guests:
    """The ``Guest`` port over both resources."""

    world: world.World

    def ask(self, resource: Resource, minions: Sequence[str]) -> Mapping[str, NodeFacts]:
        return self.world.guests[resource.name].ask(resource, minions)

    def release(self, move: Move, facts: NodeFacts) -> Outcome:
        return self.world.guests[move.resource.name].release(move, facts)

    def halt(self, move: Move, facts: NodeFacts) -> Outcome:
        return self.world.guests[move.resource.name].halt(move, facts)

    def mount(self, move: Move, facts: NodeFacts) -> Outcome:
        return self.world.guests[move.resource.name].mount(move, facts)


class Mover(Engine):
    """The engine; the world knows which resources are locked by its runs, so that nobody pauses one of these meanwhile."""

    here: world.World
    master: str

    def run(self, resource: Resource, wish: Wish | None = None, wait: float = 0.0) -> Report:
        """See the engine."""
        self.here.running.append((self.master, resource.name))
        try:
            return super().run(resource, wish, wait)
        finally:
            self.here.running.pop()


@dataclass
class Storeys:
    """How the world is built and run here. :ivar rules: of the verdicts."""

    rules: Counter[int]

    def run(
        self, here: world.World, wish: Wish | None = None, of: Resource | None = None, master: int = 0
    ) -> Report | None:
        """As ``World.run``, with an engine that can move both."""
        which, who = of or here.resource, here.masters[master]

        def hear(entry: Mapping[str, Any]) -> None:
            self.rules[entry.get("rule", 0)] += 1
            here.hear(entry)

        engine = Mover(
            here.hypervisor,
            Guests(here),
            who.journal,
            who.lock,
            here.clock,
            hear,
            budget=20.0,
            lookout=here.lookouts[which.name],
            vicinity=who.vicinity,
            hooks=here.hooks,
        )
        engine.here, engine.master = here, who.name
        try:
            return engine.run(which, wish)
        except world.Crash:
            return None


@pytest.fixture
def rules() -> Iterator[Counter[int]]:
    """Worlds of two storeys while the test lasts."""
    storeys = Storeys(Counter())
    with (
        mock.patch.object(world, "settings", two_storeys),
        mock.patch.object(SimVicinity, "kin", kin),
        mock.patch.object(world.World, "run", lambda *args, **more: storeys.run(*args, **more)),
    ):
        yield storeys.rules


def test_whatever_happens_each_has_one_writer(rules: Counter[int]) -> None:
    for seed in range(SEEDS):
        told = histories.History(seed, world.World(seed))
        for turn in range(4):
            histories._let_pass(told.world)
            for of in told.world.resources:
                master = turn % len(told.world.masters)
                told.faults += histories._unreasoned(told.world.run(told.world.operator.wish(of), of, master))
        truth.calm(told.world)
        for _ in range(3):
            for of in told.world.resources:
                told.faults += histories._unreasoned(told.world.run(None, of))
        assert told.faults + told.world.broken == [], f"seed {seed}"
    assert set(rules) >= MET, f"never met: {sorted(MET - set(rules))}"


def test_on_a_calm_machine_both_are_active_on_one_node_in_the_end(rules: Counter[int]) -> None:
    """Without further faults every history of these ends well, or one of the two says why it is held."""
    well = 0
    for seed in range(SEEDS // 3):
        here = world.World(seed)
        here.dice.faulty = False
        for of in here.resources:
            here.run(here.operator.wish(of), of)
        reports = [here.run(None, of) for _ in range(3) for of in here.resources][-2:]
        assert all(one is not None and one.reason for one in reports), f"seed {seed}"
        active = {one.active for one in reports if one is not None and one.ok}
        assert len(active) <= 1, f"seed {seed}: {reports}"
        well += len(active) == 1 and all(one is not None and one.ok for one in reports)
    assert well > SEEDS // 6
