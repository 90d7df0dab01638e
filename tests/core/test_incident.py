"""An incident read back from its history, and its page: complete, escaped, self-contained, whatever lines are in the history."""

from __future__ import annotations

import html.parser
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.test_engine import SWITCH, Site
from vmdk_failover.daemon import watching
from vmdk_failover.judgement import describe
from vmdk_failover.model import Condition, Power
from vmdk_failover.store import sightings
from vmdk_failover.views import drawing, incident, page

EVIL = "<script>alert(1)</script>\"'&\u202e\x00]]><svg onload=x>"


def of(site: Site, seen: list[Mapping[str, Any]] | None = None, epoch: int = 1) -> incident.Incident:
    found = incident.read(site.journal.history("pgdata"), seen or [], epoch)
    assert found is not None
    return found


@pytest.fixture
def hung() -> Site:
    """A hung node was asked in vain, fenced and left."""
    site = Site()
    site.db1.trouble = Condition.HUNG
    assert site.run() == ("done", 70)
    return site


def test_it_has_the_steps_with_their_rules_and_times(hung: Site) -> None:
    found = of(hung)
    assert [f"{b.step} {b.node}" for b in found.bars] == hung.acts()
    assert [b.outcome for b in found.bars] == ["failed", "done", "done", "done", "done"]
    assert all(b.rule in {row["rule"] for row in describe.table()} and b.reason for b in found.bars)
    assert all(b.end is not None and b.end >= b.begin for b in found.bars)
    assert (found.kind, found.source, found.target, found.result) == ("failover", "db1", "db2", "done")
    assert found.in_service is not None and found.first <= found.began <= found.in_service <= found.last


def test_it_knows_who_said_what_and_how_the_resource_was_configured(hung: Site) -> None:
    found = of(hung)
    first = {one.who: one.facts for one in reversed(found.said)}
    assert first["db1"]["condition"] == "hung" and first["db1"]["holds"] is True
    assert any(one.who == "db1" and one.facts.get("power") == "off" for one in found.said)
    assert found.settings["nodes"] == ["db1", "db2"] and found.settings["hang_timeout"] == 10.0


def test_what_was_seen_just_before_belongs_to_it(hung: Site) -> None:
    at = of(hung).began
    seen = [
        {"at": at - 5, "who": "db1", "what": "hung", "words": "3 writes in flight"},
        {"at": at - 5000, "who": "db1", "what": "slow", "words": ""},
    ]
    found = of(hung, seen)
    assert [(m.who, m.words) for m in found.marks if m.kind == "seen"] == [
        ("db1", "the disk hangs (hung): 3 writes in flight")
    ]
    assert found.first == at - 5


def test_what_was_seen_is_told_in_words(hung: Site, tmp_path: Path) -> None:
    at = of(hung).began
    book = sightings.Sightings(tmp_path, lambda: at - 1)
    for node in ("db1", "db1", "db2"):  # the same of the same node once
        book.note("pgdata", "vcenter", "devices", node, node)
    book.note("pgdata", "db1", "silent")
    book.note("pgdata", "vcenter", "power", "db1 is poweredOff", "db1")
    found = of(hung, list(sightings.read(tmp_path, "pgdata", 0.0, at)))
    assert [(m.who, m.words) for m in found.marks if m.kind == "seen"] == [
        ("vcenter", "the disks or other devices of a VM have changed: db1"),
        ("vcenter", "the disks or other devices of a VM have changed: db2"),
        ("db1", "its heartbeats have stopped"),
        ("vcenter", "the power state of a VM has changed: db1 is poweredOff"),
    ]


def test_every_word_for_what_was_seen_is_known() -> None:
    """A kind of change or a condition that is new has its words too."""
    conditions = {one.value for one in Condition} - {Condition.UNKNOWN.value}
    assert (conditions | watching.WORTH) - set(describe.SEEN) == set()


def test_a_mover_that_died_leaves_a_step_without_an_end(hung: Site) -> None:
    lines = hung.journal.history("pgdata")
    cut = next(i for i, line in enumerate(lines) if line.get("verdict") and line["step"]["kind"] == "attach")
    found = incident.read([*lines[: cut + 1], *lines[cut:]], [], 1)
    assert found is not None
    lost = [b for b in found.bars if b.outcome == "lost"]
    assert [(b.step, b.end) for b in lost] == [("attach", None)] and found.result == "done"
    short = incident.read(lines[: cut + 1], [], 1)
    assert short is not None and short.result == "open" and short.ended is None and page.page(short, "")


def test_each_move_is_told_apart() -> None:
    site = Site()
    assert site.run(SWITCH)[0] == "done" and site.run(SWITCH)[0] == "done"
    assert incident.epochs(site.journal.history("pgdata")) == [1, 2]
    assert [of(site, epoch=n).target for n in (1, 2)] == ["db2", "db1"]
    assert len(of(site, epoch=1).bars) == len(of(site, epoch=2).bars) == 4
    assert incident.read(site.journal.history("pgdata"), [], 3) is None


def test_a_move_that_a_person_closed_says_so(hung: Site) -> None:
    lines = hung.journal.history("pgdata")[:4]
    found = incident.read([*lines, {"cleared": 5.0, "at": 5.0}], [], 1)
    assert found is not None and found.result == "closed" and "vmdk.clear" in found.words


class Tags(html.parser.HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def forged(site: Site) -> incident.Incident:
    """Every text that comes from outside is evil."""

    def soured(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: soured(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [soured(inner) for inner in value]
        return EVIL if isinstance(value, str) else value

    kept = ("kind", "result")
    lines = [soured(line) for line in site.journal.history("pgdata")]
    for line, true in zip(lines, site.journal.history("pgdata"), strict=True):
        for part in ("step", "outcome", "began"):
            if isinstance(true.get(part), dict):
                line[part].update({k: v for k, v in true[part].items() if k in kept})
    found = incident.read(lines, [{"at": 1.8e9 - 1, "who": EVIL, "what": EVIL, "words": EVIL}], 1)
    assert found is not None
    return found


def test_the_legend_has_every_colour_of_dots_and_bars(hung: Site) -> None:
    names = {"see": "violet", "say": "blue", "bad": "red", "odd": "amber", "good": "green"}
    text = page.page(of(hung), "")
    legend = re.findall(r"Dots: (.*?) Bars: (.*?)</figcaption>", text, re.S)[0]
    for what, mark in zip(legend, "ko", strict=True):
        rules = re.findall(rf"\.{mark}-[^{{]*\{{ fill: var\(--(\w+)\)", text)
        assert len(rules) >= 3 and {names[one] for one in rules} == set(
            re.findall("violet|blue|red|amber|green", what)
        )


def test_nothing_from_outside_becomes_part_of_the_page(hung: Site) -> None:
    good, bad = page.page(of(hung), "made"), page.page(forged(hung), EVIL)
    assert {tag for tag, _ in Tags(bad).found} <= {tag for tag, _ in Tags(good).found}
    assert "<script" not in bad and "onload=x>" not in bad.replace("&lt;svg onload=x&gt;", "")
    assert "\u202e" not in bad and "\x00" not in bad
    assert "&lt;script&gt;" in bad  # it is there to be read
    assert not any(name.startswith("on") for _, attributes in Tags(bad).found for name in attributes)


def test_a_list_of_words_is_told_in_words(hung: Site) -> None:
    shown = page.page(of(hung), "")
    assert "not ready: its VM is off" in shown and "[&quot;" not in shown


def test_the_page_needs_nothing_from_anywhere(hung: Site) -> None:
    text = page.page(of(hung), "made")
    tags = {tag for tag, _ in Tags(text).found}
    assert not tags & {"script", "link", "img", "iframe", "object", "image", "use", "form", "a"}
    assert (
        "url(" not in text
        and "@import" not in text
        and "http" not in text.replace("http-equiv", "").replace('xmlns="http://www.w3.org/2000/svg"', "")
    )
    assert (
        "default-src 'none'" in text and "prefers-color-scheme: dark" in text and "max-width: 640px" in text
    )
    for name in ("wide", "narrow"):
        (drawn,) = re.findall(rf'<svg class="{name}".*?</svg>', text, re.S)
        ElementTree.fromstring(drawn)


@pytest.mark.parametrize("width", [page.WIDE, page.NARROW])
def test_everything_drawn_is_inside_the_picture(hung: Site, width: int) -> None:
    seen = [{"at": of(hung).began - 60, "who": "db1", "what": "hung", "words": "x" * 300}]
    root = ElementTree.fromstring(drawing.svg(of(hung, seen), width, "wide"))
    _, _, wide, high = map(float, root.attrib["viewBox"].split())
    places = [one.attrib for one in root.iter() if {"x", "cx", "x1"} & set(one.attrib)]
    assert len(places) > 10
    for one in places:
        left = float(one.get("x") or one.get("cx") or one["x1"])
        assert left >= 0 and left + float(one.get("width", 0)) <= wide + 0.5, one
        assert float(one.get("y") or one.get("cy") or one["y1"]) <= high
    assert len([one for one in root.iter() if one.attrib.get("class") == "cut"]) == 1  # 60 s of nothing


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        "began",
        "verdict",
        "outcome",
        "step",
        "finished",
        "hold",
        "saw",
        "at",
        "waits",
        "reason",
        "pause",
        "cleared",
        "epoch",
    ]
)


@given(st.lists(st.dictionaries(KEYS, JUNK, max_size=5), max_size=8), st.dictionaries(KEYS, JUNK, max_size=4))
def test_no_history_is_too_strange(lines: list[dict[str, Any]], began: dict[str, Any]) -> None:
    start = {"began": {**began, "epoch": 1, "resource": "pgdata"}, "at": 100.0}
    found = incident.read([*lines, start, *lines], [], 1)
    assert found is not None
    page.page(found, "made").encode()


def test_the_history_stays_small(hung: Site) -> None:
    hung.db2.trouble = Condition.HUNG
    sizes = [len(json.dumps(line)) for line in hung.journal.history("pgdata")]
    assert max(sizes) < 4000 and sum(sizes) < 12_000


def test_a_dead_node_needs_no_word(hung: Site) -> None:
    site = Site()
    site.db1.vm.turn(Power.OFF)
    site.run()
    assert next(one.facts for one in of(site).said if one.who == "db1")["answers"] is False
