"""The stories of the random campaign: what goes wrong when, from a seed and a number alone. Pure."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from lab.ordeals.fault import Fault

#: Ordeals that share a lab, and with it a policy, a file system and the speed of the vCenter.
BLOCK = 15
_ONE, _IN_MIDST, _STAYS = 0.4, 0.65, 0.35


@dataclass(frozen=True)
class Blow:
    """One fault of a story. at: seconds after the beginning, or after the step `step` has begun. lasts: seconds; 0: until the
    verdict is given."""

    fault: str
    at: float
    lasts: float
    step: str = ""

    def __str__(self) -> str:
        moment = f"{self.at:.2f} s after {self.step}" if self.step else f"at {self.at:.2f} s"
        return f"{self.fault} {moment}, {f'for {self.lasts:.1f} s' if self.lasts else 'to stay'}"


@dataclass(frozen=True)
class Story:
    """One ordeal. number: counts from 1; with the seed it gives everything else."""

    seed: int
    number: int
    blows: tuple[Blow, ...]

    def __str__(self) -> str:
        return "; ".join(map(str, self.blows))

    @property
    def block(self) -> int:
        """The lab that it shares with others."""
        return (self.number - 1) // BLOCK


@dataclass(frozen=True)
class Stage:
    """What the ordeals of one block have in common. delays: milliseconds of the vCenter's tasks."""

    fstype: str
    policy: Mapping[str, Any]
    delays: Mapping[str, int]

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def stage(seed: int, block: int) -> Stage:
    """The lab of a block."""
    chance = random.Random(f"stage {seed} {block}")
    slow = chance.choice((0, 300, 1200))
    policy = {
        "on_error": chance.choice(("switchover", "switchover", "halt")),
        "fence_action": chance.choice(("off", "off", "reboot")),
        "write_probe": chance.random() < 0.3,
        "hang_timeout": chance.choice((1, 2)),
        "node_timeout": chance.choice((4, 6)),
        "max_failovers_per_hour": 100,
    }
    return Stage(
        chance.choice(("ext4", "ext4", "xfs")), policy, dict.fromkeys(("attach", "detach", "poweroff"), slow)
    )


def story(seed: int, number: int, faults: Mapping[str, Fault], pace: float = 1.0) -> Story:
    """
    The story of an ordeal.

    seed, number: of the campaign and of the ordeal. faults: all that can go wrong, by name; the order of the names counts.
    pace: how many times longer everything takes.
    """
    return _slower(_story(seed, number, faults), pace)


def _slower(told: Story, pace: float) -> Story:
    """The same, with all its times so many times longer."""
    blows = (replace(one, at=round(one.at * pace, 2), lasts=round(one.lasts * pace, 1)) for one in told.blows)
    return told if pace == 1.0 else replace(told, blows=tuple(blows))


def _story(seed: int, number: int, faults: Mapping[str, Fault]) -> Story:
    chance = random.Random(f"story {seed} {number}")
    fstype = stage(seed, (number - 1) // BLOCK).fstype
    possible = {name: one for name, one in faults.items() if fstype in one.fstypes}
    alone = chance.random() < _ONE
    in_midst = not alone and chance.random() < _IN_MIDST
    first = _chosen(
        chance, {name: one for name, one in possible.items() if one.alone and (one.steps or not in_midst)}
    )
    one = _blow(chance, first, chance.uniform(0.0, 1.5))
    if alone:
        return Story(seed, number, (one,))
    second = _chosen(chance, possible)
    if in_midst:
        return Story(
            seed, number, (one, _blow(chance, second, chance.uniform(0.0, 0.6), chance.choice(first.steps)))
        )
    return Story(seed, number, (one, _blow(chance, second, chance.uniform(0.0, 7.0))))


def _chosen(chance: random.Random, faults: Mapping[str, Fault]) -> Fault:
    return chance.choices(list(faults.values()), [one.weight for one in faults.values()])[0]


def _blow(chance: random.Random, fault: Fault, at: float, step: str = "") -> Blow:
    stays = fault.may_stay and chance.random() < _STAYS
    lasts = chance.uniform(*fault.lasts)
    return Blow(fault.name, round(at, 2), 0.0 if stays else round(lasts, 1), step)
