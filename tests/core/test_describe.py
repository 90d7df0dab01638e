"""Values to words: the page of the rules is that of the tables, and every entry of a run is a sentence."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.conftest import ROOT
from tests.core.test_engine import SWITCH, Site
from vmdk_failover.judgement import describe
from vmdk_failover.judgement.policy import POLICY, Choice
from vmdk_failover.judgement.rules import RULES

PAGE = ROOT / "docs" / "rules.md"


def test_the_page_of_the_rules_is_that_of_the_tables() -> None:
    checked = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "rules_doc.py"), "--check"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_table_has_every_row_once() -> None:
    rows = describe.table()
    assert [row["rule"] for row in rows] == [row.number for row in (*RULES, *POLICY)]
    assert len({row["rule"] for row in rows}) == len(rows)
    assert {row["table"] for row in rows} == {"steps", "policy"}


def test_a_row_of_the_policy_tells_the_kind_of_its_move() -> None:
    told = {row["rule"]: row["then"] for row in describe.table()}
    for row in POLICY:
        assert told[row.number] == (row.kind.value if row.choice is Choice.MOVE else row.choice.value)


def test_each_drawing_has_every_row_in_order_and_is_on_the_page() -> None:
    for table, rows in (("steps", RULES), ("policy", POLICY)):
        drawn = ElementTree.parse(PAGE.with_name(f"rules-{table}.svg"))
        texts = [one.text or "" for one in drawn.iter("{http://www.w3.org/2000/svg}text")]
        numbers = [str(row.number) for row in rows]
        assert [text for text in texts if text in set(numbers)] == numbers
        assert " ".join(texts).count(rows[0].when.split(",")[0][:40]) >= 1
        assert f"(rules-{table}.svg)" in PAGE.read_text(encoding="utf-8")


def test_no_condition_breaks_the_diagram_or_the_page() -> None:
    for row in (*RULES, *POLICY):
        assert not re.search(r'["|{}\[\]<>\n`]', row.when), row.when


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 ms"),
        (0.0404, "40 ms"),
        (0.9996, "1.0 s"),
        (1.44, "1.4 s"),
        (99.4, "99.4 s"),
        (180.0, "3 min"),
        (5399.0, "90 min"),
        (7200.0, "2 h"),
        (432000.0, "5 d"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert describe.duration(seconds) == words


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (
            {"what": "decided", "resource": "pgdata", "rule": 620, "reason": "db1 is off", "choice": "move"},
            "pgdata: decided – db1 is off (rule 620)",
        ),
        (
            {
                "what": "step",
                "resource": "pgdata",
                "rule": 170,
                "epoch": 7,
                "step": "fence",
                "node": "db1",
                "reason": "it hangs",
            },
            "pgdata: fencing db1 – it hangs (rule 170, epoch 7)",
        ),
        (
            {
                "what": "outcome",
                "resource": "pgdata",
                "step": "attach",
                "node": "db2",
                "outcome": "done",
                "took": 0.31,
            },
            "pgdata: attached to db2 in 310 ms",
        ),
        (
            {
                "what": "outcome",
                "resource": "pgdata",
                "step": "fence",
                "node": "db1",
                "outcome": "unknown",
                "took": 60.0,
                "evidence": "no answer",
            },
            "pgdata: fencing db1 has an unknown end after 60.0 s – no answer",
        ),
        (
            {
                "what": "outcome",
                "resource": "pgdata",
                "step": "mount",
                "node": "db2",
                "outcome": "failed",
                "evidence": "x",
            },
            "pgdata: bringing into service on db2 failed after 0 ms – x",
        ),
        (
            {"what": "abandon", "resource": "pgdata", "rule": 100, "epoch": 7, "reason": "db2 is off"},
            "pgdata: given up – db2 is off (rule 100, epoch 7)",
        ),
        (
            {"what": "hold", "resource": "pgdata", "rule": 20, "epoch": 7, "reason": "vCenter is dark"},
            "pgdata: held – vCenter is dark (rule 20, epoch 7)",
        ),
    ],
)
def test_sentences(entry: dict[str, Any], words: str) -> None:
    assert describe.sentence(entry) == words


def test_a_whole_run_reads_well() -> None:
    site = Site()
    assert site.run(SWITCH) == ("done", 70)
    assert [re.sub(r"\d+ ms", "… ms", describe.sentence(entry)) for entry in site.told] == [
        "pgdata: decided – an operator asked for a switchover from db1 to db2 (rule 555)",
        "pgdata: releasing the disk on db1 – db1 must stop using the disk (rule 140, epoch 1)",
        "pgdata: released on db1 in … ms – done",
        "pgdata: detaching the disk from db1 – db1 has proven that it released the disk (rule 120, epoch 1)",
        "pgdata: detached from db1 in … ms",
        "pgdata: attaching the disk to db2 – no other node holds the disk; db2 takes it (rule 200, epoch 1)",
        "pgdata: attached to db2 in … ms",
        "pgdata: bringing into service on db2 – db2 lists the disk and has it not in service (rule 240, epoch 1)",
        "pgdata: mounted on db2 in … ms – done",
        "pgdata: done – active on db2 (rule 70, epoch 1)",
    ]
