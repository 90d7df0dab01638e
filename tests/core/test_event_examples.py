"""The examples in docs/events.md could come like that: their rules say such things, and their sentences are made of them."""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.core import golden
from tests.packaging.events_page import Written, page
from vmdk_failover.judgement import describe
from vmdk_failover.judgement.nodestate import NodeState
from vmdk_failover.judgement.rules import Then
from vmdk_failover.judgement.standing import STATES
from vmdk_failover.model import Condition, StepKind

EXAMPLES = page()
MOVES = {
    one.pattern.rpartition("/")[2]: one.example for one in EXAMPLES if one.pattern.startswith("vmdk-move/")
}
#: What ends a run is told once more with what it came to.
ENDED = "ended"


@functools.cache
def table() -> Mapping[int, Mapping[str, Any]]:
    return {row["rule"]: row for row in describe.table()}


def told(rule: int) -> Iterator[str]:
    """What a rule says in the golden scenarios."""
    for path in golden.files():
        story = golden.load(path)
        expected = (words for one in story.expect.values() for words in one["verdicts"])
        if any(str(words).split()[0] == str(rule) for words in expected):
            for verdicts in golden.play(story).verdicts.values():
                yield from (reason for number, reason in verdicts if number == rule)


def shape(words: str) -> str:
    """Without numbers, which are others in another resource."""
    return re.sub(r"\d+(\.\d+)?", "0", words)


@pytest.mark.parametrize("one", EXAMPLES, ids=lambda one: one.pattern)
def test_an_example_fits_its_tag(one: Written) -> None:
    last, example = one.pattern.rpartition("/")[2], one.example
    assert "*" in last or example.get("what", last) == last
    assert example.get("condition", "ok") in {c.value for c in Condition}
    assert example.get("step", "mount") in {kind.value for kind in StepKind}
    assert example.get("rule", 0) == 0 or example["rule"] in table()
    if "sentence" in example:
        assert fnmatch.fnmatch(describe.tag(example), one.pattern)
        assert example["sentence"] == describe.sentence(example)


@pytest.mark.parametrize("what", [one for one in MOVES if "rule" in MOVES[one]])
def test_an_example_of_a_verdict_is_one_that_its_rule_gives(what: str) -> None:
    example = MOVES[what]
    row = table()[example["rule"]]
    if what == "decided":
        assert (row["table"], row["then"]) == ("policy", example["choice"])
    elif what == "step":
        assert row["then"] == example["step"]
    else:
        assert (row["table"], row["then"]) == ("steps", example["result"] if what == ENDED else what)
    reason = example["reason"]
    assert shape(reason) in map(shape, told(example["rule"])), (
        f"no scenario has rule {example['rule']} say: {reason}"
    )


def test_every_way_a_verdict_ends_has_an_example() -> None:
    assert {"decided", "step", "outcome", ENDED, *(one.value for one in Then)} == set(MOVES)


def test_an_example_of_a_state_is_a_possible_one() -> None:
    (example,) = (one.example for one in EXAMPLES if one.pattern.startswith("vmdk-state/"))
    assert {example["state"], example["before"]["state"]} <= set(STATES)
    assert set(example["nodes"].values()) <= {one.value for one in NodeState}
    assert example["active"] in example["nodes"]
    assert example["protected"] is ("NOT PROTECTED" not in example["reason"])
