"""The golden scenarios: each file plays as it says, each row decides in one of them, and each row is missed by one."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.core import golden
from tests.core.golden_yaml import Wrong
from vmdk_failover.judgement.policy import POLICY
from vmdk_failover.judgement.rules import RULES

FILES = golden.files()
LEAST = 150
ROWS = tuple(row.number for row in (*RULES, *POLICY))


@functools.cache
def stories() -> tuple[golden.Story, ...]:
    return tuple(golden.load(path) for path in FILES)


@functools.cache
def deciding() -> Mapping[int, tuple[golden.Story, ...]]:
    """By row, the stories in which it decides; those that are pending prove nothing."""
    found: dict[int, list[golden.Story]] = {number: [] for number in ROWS}
    for story in stories():
        if not story.pending:
            said = golden.play(story).verdicts.values()
            for rule in {rule for verdicts in said for rule, _ in verdicts}:
                found.setdefault(rule, []).append(story)
    return {rule: tuple(some) for rule, some in found.items()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_scenario(path: Path) -> None:
    story = golden.load(path)
    found = golden.differences(story, golden.play(story))
    if story.pending and found:
        pytest.xfail(story.pending)
    assert not story.pending, f"{path} passes; take 'pending: {story.pending}' out of it"
    assert found == []


def test_there_are_many_and_each_has_a_title_of_its_own() -> None:
    titles = [story.title for story in stories()]
    assert len(titles) >= LEAST
    assert sorted({title for title in titles if titles.count(title) > 1}) == []


def test_every_row_decides_in_a_scenario() -> None:
    """A rule is finished when there is a story of it."""
    assert {number for number in ROWS if not deciding()[number]} == set()


@pytest.mark.parametrize("number", ROWS)
def test_without_a_row_a_scenario_ends_otherwise(number: int) -> None:
    """Each row is missed by a story that it decides in."""
    rows: dict[str, Any] = {
        "policy_rows": tuple(row for row in POLICY if row.number != number),
        "step_rows": tuple(row for row in RULES if row.number != number),
    }
    assert any(_differs(story, rows) for story in deciding()[number]), f"row {number} is not missed"


def _differs(story: golden.Story, rows: Mapping[str, Any]) -> bool:
    try:
        return bool(golden.differences(story, golden.play(story, **rows)))
    except (AssertionError, IndexError, KeyError):
        return True  # the table breaks


# -- what is wrong in a file is told with its place ------------------------------------------------------------

GOOD = """\
title: a test
what: db1 is powered off
events:
  - db1: {power: off}
expect:
  verdicts: [620 db1 is off, 110, 200, 240, 70 active on db2]
  steps: [detach db1, attach db2, mount db2]
  end: active on db2
"""
WRONG = (
    ("title: a test\n", "", "1: title is missing"),
    ("what: db1", "wat: db1", "2: wat: there is no such key; did you mean what?"),
    ("{power: off}", "{power: of}", "4: events.1.db1.power: there is no 'of' here; did you mean off?"),
    ("{power: off}", "{powr: off}", "4: events.1.db1.powr: there is no such key; did you mean power?"),
    ("{power: off}", "{power: off, power: on}", "4: events.1.db1.power: is there twice"),
    ("db1: {power", "db3: {power", "4: events.1.db3: there is no such key"),
    ("  - db1", "  - {at: soon}\n  - db1", "4: events.1.at: must be seconds, not 'soon'"),
    ("  - db1", "  - {before: atach db2}\n  - db1", "4: events.1.before: must be a step and a node"),
    ("  - db1", "  - {operator: swichover}\n  - db1", "4: events.1.operator: did you mean switchover?"),
    ("  - db1", "  - {crash: true}\n  - db1", "4: events.1.crash: needs a trigger"),
    ("  end: active on db2\n", "", "5: expect: end is missing"),
    ("events:", "events: [", "this is no YAML"),
    (
        "events:",
        "situation: {options: {on_error: explode}}\nevents:",
        "3: situation.options: resources.pgdata.on_error",
    ),
    ("events:", "situation: {nodes: 1}\nevents:", "3: situation.nodes: must be a number from 2 to 9"),
)


def written(folder: Path, text: str) -> Path:
    path = folder / "a.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(("old", "new", "words"), WRONG, ids=lambda one: None)
def test_what_is_wrong_in_a_file_is_told_with_its_place(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    path = written(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(Wrong) as told:
        golden.play(golden.load(path))
    assert str(told.value).startswith(f"{path}:")
    assert words in str(told.value)


DIFFERENT = (
    ("620 db1 is off", "620 db2 is off", "a.yaml:6: expect.verdicts.1: expected is '620 db2 is off'"),
    ("110, 200", "200", "expect.verdicts.2: expected is '200', the verdict is '110 db1 is off"),
    (", 70 active on db2", "", "expect.verdicts: one more verdict, '70 active on db2'"),
    ("70 active on db2]", "70 active on db2, 600]", "expected is '600', and nothing more is decided"),
    ("[detach db1, ", "[", "a.yaml:7: expect.steps: expected is ['attach db2', 'mount db2']"),
    ("end: active on db2", "end: active on db1", "a.yaml:8: expect.end: expected is 'active on db1'"),
    (
        "  - db1",
        "  - {before: fence db1, db2: {power: off}}\n  - db1",
        "this never happens: before fence db1",
    ),
    ("  - db1", "  - {writes: {fence db1: late}, look: false}\n  - db1", "no step meets its fate: fence db1"),
    (
        "  end:",
        "  nodes: {db1: {power: on}}\n  end:",
        "expect.nodes.db1.power: expected is 'on', it is 'off'",
    ),
)


@pytest.mark.parametrize(("old", "new", "words"), DIFFERENT, ids=lambda one: None)
def test_what_is_not_as_expected_is_told(tmp_path: Path, old: str, new: str, words: str) -> None:
    good, other = golden.load(written(tmp_path, GOOD)), written(tmp_path, GOOD.replace(old, new, 1))
    assert golden.differences(good, golden.play(good)) == []
    story = golden.load(other)
    assert any(words in one for one in golden.differences(story, golden.play(story)))


# -- the checks that never rest --------------------------------------------------------------------------------

HARM = {
    170: "attached to db2 while db1 list it",
    195: "rule 200: attach of db2: the source's VM is not to be seen",
    196: "rule 200: attach of db2: db1 had the disk, and that it has it no more is an old word",
    110: "rule 200: attach of db2: db1 lists the disk",
    740: "the engine goes in circles",
    50: "rule 110: detach of db1: db2 has a task",
}


@pytest.mark.parametrize("number", HARM)
def test_harm_is_seen_by_itself(number: int) -> None:
    """Without a safety row the stage tells what must never be, whatever a file expects."""
    rows: dict[str, Any] = {
        "policy_rows": tuple(row for row in POLICY if row.number != number),
        "step_rows": tuple(row for row in RULES if row.number != number),
    }
    broken = (one for story in deciding()[number] for one in golden.play(story, **rows).broken)
    assert any(HARM[number] in one for one in broken)
