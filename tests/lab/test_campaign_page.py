"""The page of the campaign of kills."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab import campaign, campaign_page
from lab.blows import KINDS, blows
from lab.ordeal import HELPED, Verdict
from lab.strikes import VICTIMS

CELLS = [str(one) for one in blows()]
CELL = "switchover/attach/during/mover"


def _verdict(cell: str = CELL, **more: Any) -> Verdict:
    return Verdict(cell, **{"ok": True, "end": "active", "where": "labdb2", "service_ms": 2500, **more})


def _circles(page: str) -> list[list[ElementTree.Element]]:
    pictures = [
        ElementTree.fromstring("<svg" + one.split("</svg>")[0] + "</svg>") for one in page.split("<svg")[1:]
    ]
    return [one.findall(".//{*}circle") for one in pictures]


def test_each_cell_is_drawn_under_its_kind_of_move_and_its_victim() -> None:
    found = [_verdict(one, service_ms=1000 + place) for place, one in enumerate(CELLS)]
    kinds, victims = campaign_page.by_kind(found), campaign_page.by_victim(found)
    assert [one.name for one in kinds] == list(KINDS) and [one.name for one in victims] == list(VICTIMS)
    assert sum(len(one.dots) for one in kinds) == sum(len(one.dots) for one in victims) == len(CELLS)
    for row in kinds:
        assert all(dot.name.startswith(f"{row.name}/") for dot in row.dots)
    for row in victims:
        assert all(dot.name.endswith(f"/{row.name}") for dot in row.dots)
    page = campaign_page.page(1, found)
    assert [len(one) for one in _circles(page)] == [
        len(CELLS)
    ] * 4 and f"All {len(CELLS)} cells ended well." in page


def test_the_page_tells_what_failed_was_held_helped_or_missed() -> None:
    told = [
        _verdict(ok=False, end="lost", lost=2, told="<b>a sentence</b>"),
        _verdict("switchover/attach/during/engine", end="held", where="160: refused"),
        _verdict("switchover/attach/during/reactor", where=f"labdb1 {HELPED}"),
        _verdict(
            "switchover/attach/during/master",
            ok=False,
            end="missed",
            where="it never came",
            service_ms=99_000,
        ),
        _verdict("no/such/cell/more", service_ms=98_000),
    ]
    page = campaign_page.page(7, told)
    assert "1 of 4 cells failed. Missed: 1." in page and "seed 7" in page
    for head in ("Failed", "Missed, which says nothing", "Held", "Ended after an operator"):
        assert f"<h2>{head}" in page
    assert "lost: 2 | &lt;b&gt;a sentence" in page and "<b>" not in page and "98.0 s" not in page
    assert "99.0 s" not in page.split("<details>")[0], "a cell that was missed has no time without service"
    assert [len(one) for one in _circles(page)] == [3] * 4
    assert sum("bad" in one.attrib["class"] for one in _circles(page)[0]) == 1
    harm = replace(told[3], double_mounts=1)
    assert "1 of 1 cells failed." in campaign_page.page(7, [harm])
    clean = campaign_page.page(7, [_verdict()])
    assert f"1 of {len(CELLS)} cells were done and ended well." in clean and "<h2>Failed" not in clean


def test_the_figures_are_those_of_the_cells() -> None:
    cells = [one for one in CELLS if one.startswith("switchover/")][:20]
    page = campaign_page.page(
        1, [_verdict(one, service_ms=(place + 1) * 1000) for place, one in enumerate(cells)]
    )
    for value in (f"20 of {len(CELLS)}", "10.0 s", "19.0 s", "20.0 s"):
        assert f"<dd>{value}</dd>" in page
    row = page.split('data-name="Move">switchover<')[1].split("</tr>")[0]
    assert [one.split("<")[0] for one in row.split(" s") if one] and "10.5 s" in row and "19.0 s" in row


def test_a_campaign_writes_its_page_and_zero_minutes_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "PLACE", tmp_path)
    monkeypatch.setattr(campaign, "built", lambda: None)
    (tmp_path / "seed-5.json").write_text(json.dumps(_verdict().plain()) + "\n")
    assert campaign.main(["--seed", "5", "--minutes", "0", "--only", "start/*"]) == 0
    page = (tmp_path / "seed-5.html").read_text()
    assert f"1 of {len(CELLS)} cells" in page and CELL in page, (
        "the page is about all cells, not about those of --only"
    )
    assert (tmp_path / "seed-5.json").read_text().count("cell") == 1
