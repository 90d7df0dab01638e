"""The checker is checked: a product without one of its safeguards does not get through the simulation."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.core import accidents, fate, hands
from tests.core.histories import history
from tests.core.mutants import MUTANTS
from tests.core.world import World

#: A mutant is to be found within so many histories …
ENOUGH = 8000
#: … of all worlds, or of those in which it could be seen at all.
AMONG: dict[str, Callable[[World], bool]] = {
    "claims are not heeded": lambda world: len(world.masters) > 1 and len(world.vms) > 2 and not world.apart,
    "rows 62 and 63: lost requests are forgotten": lambda world: world.loss > 0.5 and not world.apart,
    "hosts are fenced under anybody": lambda world: world.fates is fate.LOST_HOSTS,
    "a word counts against signs of life": lambda world: accidents.a_person_is_wrong in world.fates,
    "a word counts again in the next silence": lambda world: accidents.a_person_is_wrong in world.fates,
    "forged answers are believed": lambda world: type(world.guests["pgdata"]).__name__ == "SignedGuest",
    "rows 235 to 237: nobody asks what it stands on": lambda world: world.storeys,
    "rows 570 to 573 and 577: nobody goes along": lambda world: world.storeys,
    "row 155: maintenance is disturbed": lambda world: (
        len(world.resources) > 1 and hands.pauses in world.fates
    ),
}


def seeds(name: str) -> Iterator[int]:
    """The seeds to try, in order."""
    wanted, found, seed = AMONG.get(name), 0, 0
    while found < ENOUGH // (3 if wanted else 1):
        if wanted is None or wanted(World(seed)):
            found += 1
            yield seed
        seed += 1


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[name](monkeypatch)
    tried = (bool(history(seed).faults) for seed in seeds(name))
    assert any(tried), f"{name}: no history shows it"


def test_the_product_itself_is_not_found() -> None:
    for name in AMONG:
        assert [seed for seed, _ in zip(seeds(name), range(100), strict=False) if history(seed).faults] == []
