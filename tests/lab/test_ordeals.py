"""The random campaign without a lab: its stories, its sense of truth, what it remembers, its report."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lab.cell import LabError
from lab.ledger import Acknowledged, parse_ledger, record
from lab.ordeals import clock, court, drawing, report, run, strikers
from lab.ordeals.catalogue import PACE, of, told_to
from lab.ordeals.court import Verdict
from lab.ordeals.fault import Fault
from lab.ordeals.scene import NeverStruck, Scene, nothing
from lab.ordeals.story import BLOCK, Blow, Story, stage, story
from lab.ordeals.strikers import Account
from lab.ordeals.truth import TRUE_WHEN, is_true
from lab.scenarios import DISK
from lab.strikes import TooLate
from tests.packaging.source import ROOT

SOME = range(1, 3001)
FAULTS = of("namespaces")


# -- stories


def test_seed_and_number_give_the_story_and_the_lab() -> None:
    assert [story(1, one, FAULTS) for one in SOME] == [story(1, one, FAULTS) for one in SOME]
    assert [str(story(1, one, FAULTS)) for one in SOME] != [str(story(2, one, FAULTS)) for one in SOME]
    assert stage(1, 3) == stage(1, 3) and len({str(stage(1, one)) for one in range(20)}) > 10
    assert {story(1, one, FAULTS).block for one in range(1, BLOCK + 1)} == {0}


def test_everything_that_can_go_wrong_does_alone_and_with_others() -> None:
    told = [story(5, one, FAULTS) for one in SOME]
    alone = {one.blows[0].fault for one in told if len(one.blows) == 1}
    both = Counter(blow.fault for one in told if len(one.blows) == 2 for blow in one.blows)
    assert alone == {name for name, one in FAULTS.items() if one.alone} and set(both) == set(FAULTS)
    groups = {FAULTS[name].group for name in FAULTS}
    assert groups == {"disk", "mount", "machine", "agent", "master", "vcenter", "people"}


def test_a_second_fault_in_the_midst_waits_for_a_step_that_the_first_leads_to() -> None:
    told = [story(5, one, FAULTS) for one in SOME]
    midst = [one for one in told if one.blows[-1].step]
    assert len(midst) > len(told) / 4
    assert all(one.blows[1].step in FAULTS[one.blows[0].fault].steps for one in midst)
    assert not any(one.blows[0].step for one in told)


def test_what_can_strike_nothing_is_in_no_story() -> None:
    told = [story(5, one, FAULTS) for one in SOME]
    first = {one.blows[0].fault for one in told}
    assert {"mover-killed", "lost-reply", "change-fails"} <= set(FAULTS) - first
    where = {stage(5, one.block).fstype for one in told if "disk-removed" in [two.fault for two in one.blows]}
    assert where == {"ext4"} and {stage(5, one.block).fstype for one in told} == {"ext4", "xfs"}


def test_only_what_may_stay_stays_and_nothing_lasts_longer_than_its_limit() -> None:
    blows = [blow for one in SOME for blow in story(5, one, FAULTS).blows]
    staying = {blow.fault for blow in blows if not blow.lasts}
    assert staying == {name for name, one in FAULTS.items() if one.may_stay}
    assert all(blow.lasts <= FAULTS[blow.fault].lasts[1] for blow in blows)


def test_guests_are_told_stories_of_what_can_strike_them() -> None:
    """Each fault that can, alone where it may be; none that cannot; and what only a kernel of its own can show."""
    mine = of("qemu")
    stories = [told_to("qemu", 5, one) for one in SOME]
    assert stories == [told_to("qemu", 5, one) for one in SOME] != [told_to("qemu", 6, one) for one in SOME]
    assert {blow.fault for one in stories for blow in one.blows} == set(mine)
    alone = {one.blows[0].fault for one in stories if len(one.blows) == 1}
    assert alone == {name for name, one in mine.items() if one.alone}
    own = {
        "panic-holder",
        "panic-other",
        "power-cut-dirty",
        "disk-pulled",
        "disk-offline",
        "kernel-clock-jumps",
    }
    assert set(mine) - set(FAULTS) == own
    assert {"reset-holder", "power-off-holder", "disk-hang", "network-cut", "mover-killed"} <= set(mine)
    assert not {"disk-slow", "disk-eio-thrice", "forged-events"} & set(mine)
    assert {one.group for one in mine.values()} == {one.group for one in FAULTS.values()}


def test_a_story_takes_longer_where_nodes_are_slower() -> None:
    assert told_to("namespaces", 5, 7) == story(5, 7, FAULTS), "what was played stays what it was"
    for number in SOME[:300]:
        fast, slow = story(5, number, of("qemu")), told_to("qemu", 5, number)
        for one, two in zip(fast.blows, slow.blows, strict=True):
            assert (one.fault, one.step) == (two.fault, two.step)
            assert two.at == pytest.approx(PACE["qemu"] * one.at, abs=0.01)
            assert two.lasts == pytest.approx(PACE["qemu"] * one.lasts, abs=0.1)


def test_options_of_guests_wait_longer_and_the_verdict_says_them(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    class Place:
        def __init__(self, *words: Any) -> None:
            given.append(words)

        def __enter__(self) -> Place:
            return self

        def __exit__(self, *_: object) -> None: ...

        def restore(self) -> None: ...

    monkeypatch.setattr(run, "Stage", Place)
    monkeypatch.setattr(run, "suffer", lambda _, one: _verdict(one.number))
    found = list(run.play([told_to("qemu", 9, 1)], 9, time.monotonic() + 60, "qemu"))
    policy = json.loads(found[0].stage)["policy"]
    assert policy["node_timeout"] >= 10 and policy["hang_timeout"] >= 4 and policy == given[0][0]
    assert given[0][3] is not None
    assert "--random --nodes qemu --seed 9 --only 1" in run.line(_verdict(1, ok=False), 9, "qemu")


# -- what is true


class _Node:
    def __init__(self, runs: bool, disks: list[str]) -> None:
        self.is_running, self.is_frozen, self.answers = runs, False, runs
        self._disks = disks

    def slots(self) -> list[Any]:
        return [SimpleNamespace(disk=one) for one in self._disks]


def _scene(first: _Node, second: _Node, *standing: tuple[str, str]) -> Scene:
    lab: Any = SimpleNamespace(nodes={"a": first, "b": second}, disks={DISK: "the disk"})
    scene = Scene(lab, SimpleNamespace())  # type: ignore[arg-type]
    for what, node in standing:
        scene.note(what, node, nothing)
    return scene


def test_a_reason_is_true_only_as_long_as_it_is() -> None:
    scene = _scene(_Node(True, ["the disk"]), _Node(True, []))
    assert not any(is_true(scene, rule) for rule in TRUE_WHEN)
    cure = scene.note("paused", "", nothing)
    assert is_true(scene, 510) and not is_true(scene, 520)
    cure()
    assert not is_true(scene, 510)


@pytest.mark.parametrize("rule", [540, 60, 525, 795, 999])
def test_a_reason_that_no_story_can_make_is_never_true(rule: int) -> None:
    everything = [(what, node) for what in ("paused", "vcenter", "host-gone", "disk") for node in ("", "a")]
    assert not is_true(_scene(_Node(False, ["the disk"]), _Node(False, []), *everything), rule)


def test_no_node_is_ready_only_if_the_other_one_is_not() -> None:
    assert not is_true(_scene(_Node(False, ["the disk"]), _Node(True, [])), 630)
    assert is_true(_scene(_Node(False, ["the disk"]), _Node(False, [])), 630)
    assert is_true(_scene(_Node(False, ["the disk"]), _Node(True, []), ("isolated", "b")), 630)
    assert not is_true(_scene(_Node(True, ["the disk"]), _Node(False, [])), 630)


def test_a_kernel_that_has_panicked_is_silent_until_somebody_powers_it_off() -> None:
    holder = _Node(True, ["the disk"])
    assert is_true(_scene(holder, _Node(True, []), ("panicked", "a")), 643)
    holder.answers = False  # it boots
    assert is_true(_scene(holder, _Node(True, [])), 643)


def test_a_silent_holder_is_one_that_lists_the_disk() -> None:
    holder, other = _Node(True, ["the disk"]), _Node(True, [])
    assert is_true(_scene(holder, other, ("agent-dead", "a")), 644)
    assert not is_true(_scene(holder, other, ("agent-dead", "b")), 644)
    assert not is_true(_scene(holder, other, ("isolated", "a")), 644)
    assert is_true(_scene(holder, other, ("isolated", "a")), 643)


def test_every_rule_that_may_be_true_is_a_rule_that_holds() -> None:
    rules = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
    holding = {int(row.split("|")[1]) for row in rules.splitlines() if row.endswith("| hold |")}
    assert set(TRUE_WHEN) <= holding


# -- what struck


def _fault(strike: Any, **more: Any) -> Fault:
    return Fault("x", "disk", strike, **more)


def _raise(problem: Exception) -> Any:
    def act(*_: Any) -> Any:
        raise problem

    return act


def _account(monkeypatch: pytest.MonkeyPatch, *blows: tuple[str, Any]) -> Account:
    """Play a story of blows by name; a step of theirs never comes."""
    monkeypatch.setattr(strikers, "FAULTS", {name: _fault(strike) for name, strike in blows})
    lab: Any = SimpleNamespace(
        nodes={}, disks={}, patience=1.0, master=SimpleNamespace(events=SimpleNamespace(wait=lambda *_: None))
    )
    scene = Scene(lab, SimpleNamespace())  # type: ignore[arg-type]
    told = tuple(Blow(name, 0.0, 0.01, "mount" if name == "late" else "") for name, _ in blows)
    return strikers.play(scene, Story(1, 1, told))


def test_only_what_did_something_has_struck(monkeypatch: pytest.MonkeyPatch) -> None:
    cured: list[str] = []
    account = _account(
        monkeypatch,
        ("first", lambda _: lambda: cured.append("first")),
        ("gone", _raise(TooLate("it is gone"))),
        ("refused", _raise(LabError("no"))),
        ("waits", lambda scene: scene.note("vcenter", "", _raise(NeverStruck("nobody came")))),
        ("late", lambda _: nothing),
    )
    assert account.faults(account.struck) == ("first", "late") and cured == ["first"]
    assert account.faults(account.untimely) == ("late",) and not account.broken
    assert {"gone: it is gone", "refused: no", "waits: nobody came"} <= set(account.notes)


def test_what_never_struck_makes_no_reason_true() -> None:
    scene = _scene(_Node(True, []), _Node(True, []))
    cure = scene.note("vcenter", "", _raise(NeverStruck("nobody came")))
    assert is_true(scene, 20) and scene.was("vcenter")
    with pytest.raises(NeverStruck):
        cure()
    assert not is_true(scene, 20) and not scene.was("vcenter")


@pytest.mark.parametrize("where", ["strike", "cure"])
def test_a_mistake_in_a_strikers_thread_is_kept(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mistake = _raise(ValueError("a mistake"))
    account = _account(monkeypatch, ("one", mistake if where == "strike" else lambda _: mistake))
    assert (
        len(account.broken) == 1
        and "one" in account.broken[0]
        and "ValueError: a mistake" in account.broken[0]
    )


def _suffered(
    monkeypatch: pytest.MonkeyPatch, struck: set[int], end: str = "active", broken: str = "", **witness: Any
) -> Verdict:
    """The verdict of an ordeal whose blows, end and witness are as said."""
    told = Story(1, 1, (Blow("disk-eio", 0.0, 1.0), Blow("mover-killed", 0.1, 0.2, "mount")))
    account = Account(told, struck=struck, untimely={1}, broken=[broken] if broken else [])
    acks = SimpleNamespace(since=lambda _: [])
    for name, stand_in in {
        "Acks": lambda _: acks,
        "Scene": lambda *_: SimpleNamespace(holder=lambda: "", standing=[]),
        "play": lambda *_: account,
        "await_end": lambda *_: (end, "labdb1", 0, 1.0),
        "too_slow": lambda _: "",
        "_last_words": lambda *_: [],
        "_restart_stale": lambda *_: None,
        "_start_services": lambda *_: None,
        "_with_witness": lambda stage, verdict, *_: replace(verdict, **witness),
    }.items():
        monkeypatch.setattr(court, name, stand_in)
    stage: Any = SimpleNamespace(lab=None, cable=None, doubles=lambda: (0, 0))
    return court.suffer(stage, told)


def test_an_ordeal_of_which_nothing_struck_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _suffered(monkeypatch, set())
    assert (found.ok, found.end, found.is_missed) == (
        False,
        "missed",
        True,
    ) and "nothing of the story" in found.note
    found = _suffered(monkeypatch, {0})
    assert (found.ok, found.end, found.struck, found.untimely) == (True, "active", ("disk-eio",), ())
    found = _suffered(monkeypatch, {0, 1})
    assert found.struck == ("disk-eio", "mover-killed") and found.untimely == ("mover-killed",)
    found = _suffered(monkeypatch, set(), end="lost")
    assert (found.ok, found.end) == (False, "lost"), "what is wrong is wrong also if nothing struck"


def test_an_ordeal_in_which_the_lab_failed_says_nothing_but_what_was_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for end in ("active", "lost"):
        found = _suffered(monkeypatch, {0}, end, "the lab itself failed: ValueError")
        assert (found.ok, found.end) == (False, "missed") and found.note.count("ValueError") == 1
    for harm in ({"lost": 2}, {"damaged": 1}, {"double_mounts": 1}):
        found = _suffered(monkeypatch, {0}, "active", "the lab itself failed", ok=False, **harm)
        assert (found.ok, found.end, found.is_missed) == (False, "active", False), harm
        assert not _verdict(1, ok=False, end="missed", **harm).is_missed


# -- what was played


def _verdict(number: int = 1, ok: bool = True, **more: Any) -> Verdict:
    return Verdict(
        number,
        "disk-eio at 0.1 s",
        ("disk-eio",),
        ok,
        where="labdb2",
        **{"end": "active" if ok else "false", "struck": ("disk-eio",), **more},
    )


def test_what_went_well_is_not_played_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[int] = []

    def share_out(chosen: list[int], jobs: int, path: Path, seed: int, minutes: float, nodes: str) -> bool:
        played.extend(chosen)
        for one in chosen:
            told = replace(
                _verdict(one, ok=one != 3 or played.count(3) == 3), story=str(story(seed, one, FAULTS))
            )
            run.note(path, told)
        return True

    monkeypatch.setattr(run, "PLACE", tmp_path)
    monkeypatch.setattr(run, "share_out", share_out)
    monkeypatch.setattr(run, "built", lambda: None)
    given = argparse.Namespace(
        seed=9, only="", minutes=1e6, jobs=1, again=False, list=False, count=4, nodes="namespaces"
    )
    assert run.main(given) == 1 and played == [1, 2, 3, 4]
    with (tmp_path / "random-9.jsonl").open("a") as file:
        file.write('{"number": 4, "torn')
    assert run.main(given) == 1 and played[4:] == [3]
    data = json.loads((tmp_path / "random-9.json").read_text())
    assert (data["ordeals"], data["failed"], data["ends"]["active"]) == (4, [3], 3)
    given.only = "2,3"
    assert run.main(given) == 0 and played[5:] == [2, 3]
    data = json.loads((tmp_path / "random-9.json").read_text())
    assert (data["ordeals"], data["failed"]) == (4, [])
    run.note(tmp_path / "random-9.jsonl", replace(_verdict(4), story="another one"))
    given.only = ""
    assert run.main(given) == 0 and played[7:] == [4]
    given.only = "none"
    assert run.main(given) == 2
    given.only = "2,3"
    monkeypatch.setattr(run, "share_out", lambda *_: False)
    assert run.main(given) == 1, "a lab that crashed is told"


def test_a_verdict_that_does_not_say_what_struck_is_none(tmp_path: Path) -> None:
    run.note(tmp_path / "x", _verdict(1))
    plain = {name: value for name, value in _verdict(2).plain().items() if name != "struck"}
    with (tmp_path / "x").open("a") as file:
        file.write(json.dumps(plain) + "\n")
    assert list(run.done(tmp_path / "x")) == [1]


def test_a_mistake_of_the_labs_own_ends_no_campaign(monkeypatch: pytest.MonkeyPatch) -> None:
    stages: list[Any] = []

    def suffer(place: Any, story: Story) -> Verdict:
        if story.number == 1:
            raise ValueError("out of range")
        return _verdict(story.number)

    class Place:
        def __init__(self, *_: Any) -> None:
            stages.append(self)

        def __enter__(self) -> Place:
            return self

        def __exit__(self, *_: object) -> None: ...

        def restore(self) -> None: ...

    monkeypatch.setattr(run, "Stage", Place)
    monkeypatch.setattr(run, "suffer", suffer)
    found = list(run.play([story(9, one, FAULTS) for one in (1, 2, 3)], 9, time.monotonic() + 60))
    assert [(one.number, one.end, one.ok) for one in found] == [
        (1, "missed", False),
        (2, "active", True),
        (3, "active", True),
    ]
    assert found[0].where == "a mistake of the lab's own: ValueError: out of range" and len(stages) == 2


def test_numbers_are_read_as_people_write_them() -> None:
    assert run.numbers("17") == [17] and run.numbers("3, 20-22") == [3, 20, 21, 22]
    for bad in ("0", "5-4", "x"):
        with pytest.raises(ValueError):
            run.numbers(bad)


def test_a_failure_says_how_to_play_it_again() -> None:
    words = run.line(_verdict(17, ok=False, note="why", lost=2), 4)
    assert words.startswith("FAILED   17 false") and "lost 2" in words
    assert "--random --seed 4 --only 17" in words and "why" in words
    assert "\n" not in run.line(_verdict(17), 4)


# -- the report


def test_time_without_service_goes_on_until_the_verdict() -> None:
    told = [Acknowledged(number, number / 10, "labdb1") for number in range(10, 21)]
    assert court.longest(told, 1.0, 2.0) == pytest.approx(0.1)
    assert court.longest(told, 0.5, 2.0) == pytest.approx(0.5)
    assert court.longest(told, 1.0, 9.0) == pytest.approx(7.0)
    assert court.longest([], 1.0, 9.0) == 8.0


@pytest.mark.parametrize(
    ("told", "disk", "blind", "expected"),
    [
        ([1, 2], [1, 2], "", (True, "active", 0)),
        ([1, 2], [1], "", (False, "active", 1)),
        ([], [], "", (False, "missed", 0)),  # not read
        ([1, 2], [1, 2], "it did not look", (False, "missed", 0)),
    ],
)
def test_who_did_not_see_acquits_nobody(
    told: list[int],
    disk: list[int],
    blind: str,
    expected: tuple[bool, str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    acknowledged = [Acknowledged(number, 1.0, "a") for number in told]
    ledger = parse_ledger(b"".join(record(number, "a") for number in disk))
    monkeypatch.setattr(court.trial, "read_back", lambda *_: (acknowledged, ledger))
    lab = SimpleNamespace(disks={DISK: None}, observer=SimpleNamespace(blind=lambda _: blind))
    stage = SimpleNamespace(lab=lab, restore=lambda: "", doubles=lambda: (0, 0))
    verdict = Verdict(1, "", (), True, "active", "a")
    acks = SimpleNamespace(since=lambda _: [])
    found = court._with_witness(cast(Any, stage), verdict, cast(Any, acks), 0.0, [])
    assert (found.ok, found.end, found.lost) == expected


def test_a_damaged_record_is_harm_even_if_none_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    good = b"".join(record(number, "a") for number in (1, 2, 3))
    ledger = parse_ledger(good.replace(b"2 a ", b"2 b ", 1))
    told = [Acknowledged(number, 1.0, "a") for number in (1, 3)]
    monkeypatch.setattr(court.trial, "read_back", lambda *_: (told, ledger))
    lab = SimpleNamespace(disks={DISK: None}, observer=SimpleNamespace(blind=lambda _: "it did not look"))
    stage = SimpleNamespace(lab=lab, restore=lambda: "", doubles=lambda: (0, 0))
    acks, notes = SimpleNamespace(since=lambda _: []), list[str]()
    verdict = Verdict(1, "", (), True, "active", "a")
    found = court._with_witness(cast(Any, stage), verdict, cast(Any, acks), 0.0, notes)
    assert (found.ok, found.end, found.lost, found.damaged, found.has_harm) == (False, "lost", 0, 1, True)
    assert "1 damaged records on the disk" in notes
    assert report.totals([found])["damaged"] == 1 and "damaged 1" in run.line(found, 1)


def test_the_report_counts_what_was_seen() -> None:
    bad = _verdict(2, ok=False, lost=3, double_mounts=1, service_ms=90_000)
    sums = report.totals([_verdict(1, service_ms=1000, acknowledged=50), bad])
    assert (sums["lost"], sums["double_mounts"], sums["acknowledged"], sums["failed"]) == (3, 1, 50, [2])
    assert sums["service_ms"] == {"median": 1000, "p95": 90_000, "longest": 90_000}
    assert report.totals([])["ordeals"] == 0
    assert "2 ordeals: 1 active, 1 false; 1 failed" in report.summary([_verdict(), bad])[0]


def test_a_fault_that_never_struck_does_not_count() -> None:
    two = replace(_verdict(1), faults=("disk-eio", "disk-removed"), untimely=("disk-eio",))
    void = _verdict(2, ok=False, end="missed", struck=())
    assert [(row.name, len(row.dots)) for row in report.by_fault([two, void])] == [("disk-eio", 1)]
    assert report.by_fault([two])[0].dots[0].alone
    sums = report.totals([two, void])
    assert sums["blows"] == {
        "told": 2,
        "struck": 1,
        "untimely": 1,
        "kinds": 1,
        "kinds_there_are": len(FAULTS),
    }
    assert (sums["failed"], sums["missed"]) == ([], [2])
    words = "\n".join(report.summary([two, void]))
    assert "1 of 2 faults struck, 1 of them outside" in words and "1 missed; 0 failed" in words
    page = report.page(1, [two, void])
    assert "1 of 2 ordeals ended well. Missed: 1." in page and "<dd>1 of 2</dd>" in page
    assert "disk-removed did not strike, disk-eio struck outside its move" in page
    assert run.line(void, 1).startswith("missed")


def test_the_page_is_whole_and_safe_and_names_what_failed() -> None:
    bad = _verdict(2, ok=False, note="<script>alert(1)</script>")
    page = report.page(1, [_verdict(), bad])
    assert "<script" not in page and "&lt;script&gt;" in page and "1 of 2 ordeals failed" in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    for picture in page.split("<svg")[1:]:
        root = ElementTree.fromstring("<svg" + picture.split("</svg>")[0] + "</svg>")
        assert len(root.findall(".//{*}circle")) == 2
    assert "All 1 ordeals ended well." in report.page(1, [_verdict()])


def test_a_longer_time_lies_farther_right() -> None:
    dots = [drawing.Dot(seconds, True, True, "one") for seconds in (0.05, 0.5, 5.0, 500.0)]
    root = ElementTree.fromstring(drawing.svg([drawing.Row("disk-eio", dots)], 980, "wide", "each"))
    places = [float(one.attrib["cx"]) for one in root.findall(".//{*}circle")]
    assert places == sorted(places) and len(set(places)) == 4 and max(places) <= 980


def test_the_axis_leaves_no_dot_out() -> None:
    def ticks(*times: float) -> list[str]:
        dots = [drawing.Dot(one, True, True, "one") for one in times]
        root = ElementTree.fromstring(drawing.svg([drawing.Row("a", dots)], 980, "wide", "each"))
        return [str(one.text) for one in root.findall(".//{*}text[@class='tick']")]

    assert ticks(0.5, 30.0)[0] == "0.1 s" and ticks(0.05, 30.0)[0] == "20 ms" and ticks(0.01)[0] == "20 ms"
    assert ticks(40.0)[0] == "1 s" and ticks() == [words for _, words in drawing.TICKS]


def test_dots_at_one_place_do_not_hide_each_other() -> None:
    dots = [drawing.Dot(1.0, True, one > 2, str(one)) for one in range(40)]
    root = ElementTree.fromstring(
        drawing.svg([drawing.Row("a", dots), drawing.Row("b", dots[:1])], 980, "wide", "each")
    )
    found = root.findall(".//{*}circle")
    heights = [float(one.attrib["cy"]) for one in found[:40]]
    assert len(set(heights)) == 40 and min(heights) > drawing.AXIS
    assert max(heights) < float(found[40].attrib["cy"]) - drawing.RADIUS, "a row reaches into the next"
    assert float(found[40].attrib["cy"]) < float(root.attrib["viewBox"].split()[3])


# -- clocks


def test_a_clock_is_turned_for_the_programs_of_one_cell(tmp_path: Path) -> None:
    code = f"import sitecustomize as s, time; s.PLACE = {str(tmp_path / 'clock')!r}; s._known[1] = -1e9; print(time.time())"
    with clock.turnable():
        assert clock.is_turnable()
        for seconds in (0.0, -3600.0, 7200.0):
            clock.turn(tmp_path, seconds)
            shown = float(
                subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
            )
            assert abs(shown - time.time() - seconds) < 600
    assert not clock.is_turnable()
