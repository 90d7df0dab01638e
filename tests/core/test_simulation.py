"""
The real engine in a world with faults: thousands of histories, each told by its seed.

Invariants after every event: never two nodes that can write, never two that are not off and list the disk, never a disk pulled
from under a writer, never an attach while another lists the disk, nothing done in maintenance or on what is not known. When the
faults end, the resource is active on exactly one node within ``TICKS`` looks, or held with a reason that is true of the world;
and active when a person has done what the reason says. In a share of the worlds one fault goes on when the others end: a node
stays frozen, off, cut off or on a lost host, or vCenter dark (``lasting.py``). To see one history:
``python -m tests.core.histories SEED``; a bad one is printed small, as a scenario file (``shrink.py``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.core import campaign, dice, fate, golden, lasting, setting, shrink
from tests.core.histories import History, history
from tests.core.world import World
from tests.doubles.journal import MemoryJournal
from vmdk_failover.judgement import policy, rules

HISTORIES = 20_000


@pytest.mark.timeout(600)
def test_no_history_is_unsafe_and_each_ends_well() -> None:
    bad = campaign.run(HISTORIES, campaign.Tally()).bad
    assert not bad, shrink.told(min(bad))


def test_the_same_seed_tells_the_same_history() -> None:
    for seed in range(40):
        assert history(seed, aloud=True).world.told == history(seed, aloud=True).world.told


def test_a_script_tells_the_same_history_again() -> None:
    for seed in range(40):
        first = history(seed, aloud=True)
        again = history(seed, first.world.dice.fired, aloud=True)
        assert again.world.told == first.world.told
        assert again.world.dice.fired == first.world.dice.fired


def test_the_quick_journal_tells_the_same_as_the_real_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The histories keep their journal as values; with the real logic and JSON they go the same way."""
    quick = [history(seed, aloud=True) for seed in range(300)]
    monkeypatch.setattr(setting, "Diary", MemoryJournal)
    for seed, one in enumerate(quick):
        again = history(seed, aloud=True)
        assert again.world.told == one.world.told, seed


def test_the_histories_are_eventful(monkeypatch: pytest.MonkeyPatch) -> None:
    """What never happens proves nothing: most rows decide, every step is done, and all kinds of worlds are met."""
    decided, kinds = Counter[int](), Counter[str]()
    counting(monkeypatch, rules, "next_verdict", decided)
    counting(monkeypatch, policy, "decide", decided)
    for seed in range(3000):
        kinds.update(features(history(seed).world))
    assert {one for one in FEATURES if kinds[one] < 10} == set()
    assert ROWS - set(decided) == set()


#: Rows that have decided within so many histories. The others are proven by enumeration (test_rules_space.py, test_policy.py).
# fmt: off
ROWS = frozenset({
    10, 15, 17, 20, 40, 42, 43, 44, 45, 48, 50, 62, 63, 65, 67, 68, 70, 90, 100, 110, 120, 130, 135, 140, 150, 170, 195, 196, 200,
    220, 235, 236, 237, 240, 250, 510, 515, 520, 525, 530, 542, 543, 545, 550, 555, 560, 570, 571, 572, 573, 575, 577, 578,
    598, 600, 603, 605, 610, 620, 630, 638, 640, 641, 642, 643, 644, 645, 646, 647, 648, 660, 670, 700, 720, 730, 740, 750, 790,
    792, 800, 810,
})
# fmt: on
FEATURES = frozenset(
    {
        *(
            "two resources",
            "one on top of the other",
            "three nodes",
            "two disks",
            "two masters",
            "two masters side by side",
            "hosts that may be fenced",
            "vCenter in the dark",
            "vCenter in the dark for good",
            "a lost host for good",
            "a restored vCenter",
            "a restored vCenter for good",
            "a node that stays as it is",
            "signed answers",
            "real journal",
            "halt",
        ),
        *("crash", "late", "attach", "detach", "fence", "mount", "release", "seal", "power_on"),
    }
)


def features(of: World) -> Iterator[str]:
    """What there was in a world, of FEATURES."""
    setting = {
        "two resources": len(of.resources) > 1,
        "one on top of the other": of.storeys,
        "three nodes": len(of.vms) > 2,
        "two disks": len(of.resource.disks) > 1,
        "two masters": len(of.masters) > 1 and not of.apart,
        "two masters side by side": of.apart,
        "hosts that may be fenced": of.fates is fate.LOST_HOSTS,
        "vCenter in the dark": of.fates is fate.IN_THE_BLIND,
        "vCenter in the dark for good": of.lasting == lasting.BLIND,
        "a lost host for good": of.lasting == "lost",
        "a restored vCenter": of.fates is fate.RESTORED,
        "a restored vCenter for good": of.lasting == lasting.RESTORED,
        "a node that stays as it is": of.lasting in lasting.KINDS
        and of.lasting not in ("lost", lasting.RESTORED),
        "signed answers": type(of.guests["pgdata"]).__name__ == "SignedGuest",
        "real journal": isinstance(of.journal, MemoryJournal),
        "halt": any(step.kind.value == "halt" for guest in of.guests.values() for step in guest.acts),
        "crash": of.crashes > 0,
        "late": of.landed > 0,
    }
    yield from (name for name, there in setting.items() if there)
    yield from {step.kind.value for step in of.hypervisor.acts}
    yield from {
        step.kind.value for guest in of.guests.values() for step in guest.acts if step.kind.value != "halt"
    }


def counting(patch: pytest.MonkeyPatch, module: Any, name: str, into: Counter[int]) -> None:
    real = getattr(module, name)

    def counted(judged: Any) -> Any:
        verdict = real(judged)
        into[verdict.rule] += 1
        return verdict

    patch.setattr(module, name, counted)


# -- a bad history --------------------------------------------------------------------------------------------


def test_a_bad_history_is_told_small_and_can_be_repeated(bad_seed: int, tmp_path: Path) -> None:
    script, found = shrink.smallest(bad_seed)
    assert found.faults and len(script) < len(history(bad_seed).world.dice.fired)
    file = tmp_path / "small.yaml"
    file.write_text(shrink.told(bad_seed), encoding="utf-8")
    golden.load(file)  # it can stand among the others, once somebody has said how it should end
    again = shrink.replayed(file.read_text(encoding="utf-8"))
    assert (again.faults, again.world.told) == (found.faults, found.world.told)


def test_no_fault_of_a_small_history_can_be_left_out(bad_seed: int) -> None:
    script, _ = shrink.smallest(bad_seed)
    for at in script:
        assert not history(bad_seed, {k: v for k, v in script.items() if k != at}).faults


def test_the_dice_forget_nothing() -> None:
    one = dice.Dice(3)
    rolled = [(one.points, one.below(7), one.coin()) for _ in range(500) if one.chance(0.1)]
    again = dice.Dice(3, one.fired)
    assert [(again.points, again.below(7), again.coin()) for _ in range(500) if again.chance(0.1)] == rolled
    assert 30 < len(rolled) < 75


def test_a_history_says_what_is_wrong_with_it(bad_seed: int) -> None:
    found: History = history(bad_seed, aloud=True)
    assert f"seed {bad_seed}: {found.faults[0]}" in str(found)
