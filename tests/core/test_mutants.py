"""The checker is checked: a product without one of its safeguards does not get through the simulation."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.core import accidents, fate, hands, lasting
from tests.core.histories import history
from tests.core.mutants import MUTANTS
from tests.core.world import World

#: A mutant is to be found within so many histories …
ENOUGH = 8000
Among = Callable[[World], bool]


def is_lasting(*kinds: str) -> Among:
    return lambda world: world.lasting in kinds


def is_paused_beside(world: World) -> bool:
    return len(world.resources) > 1 and hands.pauses in world.fates


def is_said_wrongly(world: World) -> bool:
    return accidents.a_person_is_wrong in world.fates


def is_stacked(world: World) -> bool:
    return world.storeys


A_LOST_HOST, BLIND, SILENCE = (
    is_lasting("lost"),
    is_lasting(lasting.BLIND),
    is_lasting("frozen", "cut off", "silent"),
)


def is_restored(world: World) -> bool:
    return world.fates is fate.RESTORED


#: … of all worlds, or of those in which it could be seen at all.
AMONG: dict[str, Among] = {
    "claims are not heeded": lambda world: len(world.masters) > 1 and len(world.vms) > 2 and not world.apart,
    "rows 62 and 63: lost requests are forgotten": lambda world: world.loss > 0.5 and not world.apart,
    "hosts are fenced under anybody": lambda world: world.fates is fate.LOST_HOSTS,
    "a word counts against signs of life": is_said_wrongly,
    "a word counts again in the next silence": is_said_wrongly,
    "forged answers are believed": lambda world: type(world.guests["pgdata"]).__name__ == "SignedGuest",
    "rows 235 to 237: nobody asks what it stands on": is_stacked,
    "rows 570 to 573 and 577: nobody goes along": is_stacked,
    "row 43: a move holds for ever for a lost host": A_LOST_HOST,
    "row 515: nothing is mounted again in the blind": BLIND,
    "row 515: it only holds": BLIND,
    "row 543: no lost host is fenced": A_LOST_HOST,
    "row 543: it only holds": A_LOST_HOST,
    "row 647: silence leads to nothing": SILENCE,
    "row 647: it only holds": SILENCE,
    "rows 196, 541 and 792: an old list is believed": is_restored,
    "row 196: an old list is believed in mid-move": is_restored,
    "only moves are remembered": is_restored,
    "row 155: maintenance is disturbed": is_paused_beside,
    "a resource that is paused anywhere is disturbed everywhere": is_paused_beside,
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
    for name in {among: name for name, among in AMONG.items()}.values():
        assert [seed for seed, _ in zip(seeds(name), range(100), strict=False) if history(seed).faults] == []
