"""
The real engine in a world with faults: thousands of histories, each told by its seed.

Invariants after every event: never two writers, never a disk pulled from under a writer, never an attach while another node
that is not off lists the disk. When the faults end, the resource comes to be active on exactly one node. To see one history:
``python -m tests.core.histories SEED``.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.core.histories import History, campaign, history
from tests.doubles.journal import MemoryJournal
from vmdk_failover import policy, rules
from vmdk_failover.assess import NodeSight
from vmdk_failover.rules import RULES

HISTORIES = 2500
#: A broken mutant is to be found within so many histories.
ENOUGH = 3000


def first(found: Iterator[History]) -> str:
    return next((str(one) for one in found), "")


def test_no_history_is_unsafe_and_each_ends_well() -> None:
    assert first(campaign(range(HISTORIES))) == ""


def test_the_same_seed_tells_the_same_history() -> None:
    assert history(17).world.told == history(17).world.told


def test_the_histories_are_eventful(monkeypatch: pytest.MonkeyPatch) -> None:
    """What never happens proves nothing: most rows decide, and every kind of fault is met."""
    decided: Counter[int] = Counter()
    counting(monkeypatch, rules, "next_verdict", decided)
    counting(monkeypatch, policy, "decide", decided)
    told = [line for seed in range(1500) for line in history(seed).world.told]
    kinds = re.findall(
        r"engine crashed|late attach|late detach|late order \w+|fence of|halt to", "\n".join(told)
    )
    wanted = {
        "engine crashed",
        "late attach",
        "late detach",
        "late order release",
        "late order mount",
        "fence of",
        "halt to",
    }
    assert wanted <= set(kinds)
    assert {10, 20, 40, 45, 50, 62, 63, 70, 90, 100, 110, 120, 130, 140, 150, 170, 200, 240, 250} <= set(
        decided
    )
    assert {
        510,
        520,
        530,
        545,
        550,
        555,
        560,
        600,
        610,
        620,
        630,
        640,
        641,
        642,
        643,
        644,
        645,
        647,
        648,
        660,
        670,
        720,
        750,
        800,
        810,
    } <= set(decided)


def counting(patch: pytest.MonkeyPatch, module: Any, name: str, into: Counter[int]) -> None:
    real = getattr(module, name)

    def counted(judged: Any) -> Any:
        verdict = real(judged)
        into[verdict.rule] += 1
        return verdict

    patch.setattr(module, name, counted)


def mutant(patch: pytest.MonkeyPatch, *numbers: int) -> None:
    table = tuple(row for row in RULES if row.number not in numbers)
    patch.setattr(rules, "next_verdict", functools.partial(rules.next_verdict, rules=table))


@pytest.mark.parametrize("numbers", [(62, 63), (110,), (170,), (240,)])
def test_without_a_row_some_history_goes_wrong(
    monkeypatch: pytest.MonkeyPatch, numbers: tuple[int, ...]
) -> None:
    """The simulation can see: a table without one of these rows does not pass."""
    mutant(monkeypatch, *numbers)
    assert first(campaign(range(ENOUGH))), f"row {numbers} is not missed"


def test_a_silent_node_that_is_not_fenced_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen nodes wake up: if their disk were only taken away, some history would show it."""
    monkeypatch.setattr(NodeSight, "off", property(lambda n: n.facts is None))
    assert first(campaign(range(ENOUGH)))


def test_a_step_is_written_down_before_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that was under way when the engine died is remembered as one that may still be carried out."""
    note = MemoryJournal.note

    def forgetful(self: MemoryJournal, resource: str, entry: Any) -> None:
        note(self, resource, {key: value for key, value in entry.items() if key != "begun"})

    monkeypatch.setattr(MemoryJournal, "note", forgetful)
    assert first(campaign(range(ENOUGH * 4)))
