"""
kill -9 of whoever carries a move, and of what it needs: the resource ends on exactly one node, served, with nothing lost.

Nobody helps afterwards. A slice of `make campaign`, for every day; the cells are those in which most can go wrong.
"""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path

import pytest

from lab import blows, campaign, ordeal, strikes
from lab.blows import Blow
from lab.ordeal import Verdict
from lab.scenarios import FIRST, SECOND

SEED = 7
SLICE = [
    "hang/fence/during/lost-reply",  # the VM is off, and nobody was told
    "power-off/attach/during/lost-reply",
    "switchover/attach/during/mover",
    "switchover/release/during/mover",
    "hang/mount/during/engine",
    "switchover/detach/during/engine",
    "eio/attach/during/master",
    "power-off/decided/after/reactor",
    "eio/detach/before/vcenter-restarts",
    "switchover/attach/during/network",
    "power-off/mount/during/target",
]


@pytest.mark.parametrize("name", SLICE)
def test_a_blow_in_the_midst_of_a_move(name: str) -> None:
    verdict = ordeal.run(Blow(*name.split("/")), SEED)
    assert (verdict.lost, verdict.double_holders, verdict.double_mounts) == (0, 0, 0), verdict
    assert verdict.ok and verdict.end == "active", verdict
    assert not verdict.note, verdict  # the blow landed where it should


# -- the campaign itself


def test_every_step_of_every_kind_of_move_meets_every_victim() -> None:
    names = [str(one) for one in blows.blows()]
    assert len(names) == len(set(names)) and set(SLICE) <= set(names)
    for kind in blows.KINDS.values():
        for step, victim in itertools.product(kind.steps, strikes.MASTERS):
            assert {f"{kind.name}/{step}/{point}/{victim}" for point in blows.POINTS} <= set(names)


def test_the_seed_gives_the_order_and_patterns_choose() -> None:
    assert blows.chosen("", 1) == blows.chosen("", 1) != blows.chosen("", 2)
    assert {one.victim for one in blows.chosen("lost-reply,*/engine", 1)} == {"lost-reply", "engine"}
    assert {str(one) for one in blows.chosen("eio/mount/after/*", 1)} < {str(one) for one in blows.blows()}


def test_cells_that_went_well_are_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def ordeal_of(blow: Blow, seed: int) -> Verdict:
        done.append(str(blow))
        return Verdict(str(blow), blow.victim != "engine", "active", SECOND)

    monkeypatch.setattr(ordeal, "run", ordeal_of)
    path, cells = tmp_path / "seed-1.json", blows.chosen("switchover/mount/before/*", 1)
    first = list(campaign.run(cells, campaign.done(path), path, 1, 1.0))
    assert sorted(done) == sorted(map(str, cells)) and len(first) == len(cells)
    with path.open("a") as file:
        file.write('{"cell": "torn')
    again = list(campaign.run(cells, campaign.done(path), path, 1, 1.0))
    assert [one.cell for one in again] == done[len(cells) :] == ["switchover/mount/before/engine"]
    assert len(campaign.done(path)) == len(cells) and path.read_text().count('"cell"') == len(cells) + 2
    assert path.read_text().endswith("}\n") and json.loads(path.read_text().splitlines()[-1])
    assert list(campaign.run(cells, {}, path, 1, 0.0)) == []


def test_the_summary_counts_what_was_lost() -> None:
    bad = Verdict("a/b/c/d", False, "active", FIRST, lost=2, double_holders=1, service_ms=9000)
    told = campaign.summary([bad, Verdict("e/f/g/h", True, "held", "630: no node")], 5)
    assert "2 of 5 cells done: 1 active, 1 held, 0 missed, 0 lost; 1 failed" in told
    assert "lost = 2, double_holders = 1, double_mounts = 0" in told and "9.0 s (a/b/c/d)" in told
    assert campaign.line(bad).startswith("FAILED a/b/c/d") and json.dumps(bad.plain())


# -- the witness of the campaign can see what is wrong


def test_a_resource_that_nobody_carries_on_is_told() -> None:
    """The product's engine is stopped for good and the mover killed: nothing may count as well."""
    with ordeal.stage("switchover") as (lab, _):
        since = time.monotonic()
        lab.master.start("salt-run", "vmdk.switchover", "pgdata")
        assert lab.master.events.wait(
            "vmdk-move/pgdata/step", 40.0, since, lambda one: one.data.get("step") == "attach"
        )
        lab.master.cell.kill()
        assert ordeal.active(lab) == [] and ordeal.state(lab)["move"]
        assert not ordeal.at_rest(lab, since)
