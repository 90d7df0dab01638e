"""
kill -9 of whoever carries a move, and of what it needs: the resource ends on exactly one node, served, with nothing lost.

Nobody helps afterwards. A slice of `make campaign`, for every day; the cells are those in which most can go wrong. One lab serves
them all, brought back to its starting point between two of them.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab import blows, campaign, ordeal, stage, strikes
from lab.blows import Blow
from lab.linux import wait_until
from lab.ordeal import Verdict
from lab.scenarios import FIRST, SECOND
from lab.stage import Stages

SEED = 7
LIMIT = 40.0
SLICE = [
    "halt/fence/during/mover",
    "halt/attach/during/lost-reply",
    "power-off/attach/during/lost-reply",
    "switchover/attach/during/mover",
    "switchover/release/during/mover",
    "eio/mount/during/mover",
    "power-off/attach/during/lost-request",
    "hang/fence/during/lost-reply",  # the VM is off, and nobody was told
    "unmounted/mount/before/mover",
    "hang/mount/during/engine",
    "switchover/detach/during/engine",
    "power-off/decided/after/reactor",
    "eio/detach/before/vcenter-restarts",
    "switchover/attach/during/network",
    "power-off/mount/during/target",
    "switchover/detach/during/source",
    "eio/attach/during/master",
]


@pytest.fixture(scope="module")
def stages() -> Iterator[Stages]:
    """The lab that is kept for the next cell."""
    with Stages() as kept:
        yield kept


@pytest.mark.parametrize("name", SLICE)
def test_a_blow_in_the_midst_of_a_move(name: str, stages: Stages) -> None:
    verdict = ordeal.landed(Blow(*name.split("/")), SEED, stages)
    assert (verdict.lost, verdict.double_holders, verdict.double_mounts) == (0, 0, 0), verdict
    assert verdict.ok and verdict.end == "active", verdict
    assert not verdict.note, verdict  # the blow landed where it should


# -- the witness of the campaign can see what is wrong


def test_a_lab_that_is_not_as_at_the_start_is_told(stages: Stages) -> None:
    kept = stages.ready(ordeal.policy(Blow("switchover", "attach", "during", "mover")))
    lab = kept.lab
    lab.vcenter.snapshot(lab.nodes[lab.source].name, "forgotten")
    since = time.monotonic()
    assert wait_until(lambda: "snapshot" in kept.amiss(since), LIMIT, 0.2), kept.amiss(since)
    lab.vcenter.remove_snapshots(lab.nodes[lab.source].name)
    assert kept.restore() == lab.source != lab.target
    lab.nodes[lab.target].power_off()
    assert kept.amiss(time.monotonic()) == f"{lab.target} is off"


def test_a_resource_that_nobody_carries_on_is_told(stages: Stages) -> None:
    """The product's engine is stopped for good and the mover killed: nothing may count as well."""
    lab = stages.ready(ordeal.policy(Blow("switchover", "attach", "during", "mover"))).lab
    since = time.monotonic()
    lab.master.start("salt-run", "vmdk.switchover", "pgdata")
    assert lab.master.events.wait(
        "vmdk-move/pgdata/step", LIMIT, since, lambda one: one.data.get("step") == "attach"
    )
    lab.master.cell.kill()
    assert stage.active(lab) == [] and stage.state(lab)["move"]
    assert not stage.at_rest(lab, since)
    stages.drop()


def test_the_mover_is_who_holds_the_lock_now(tmp_path: Path) -> None:
    """What stands in the file may be the number of one that ended long ago, which another process has by now."""
    lab: Any = SimpleNamespace(master=SimpleNamespace(root=tmp_path))
    path = tmp_path / "var/lib/salt/vmdk/locks/resource-pgdata.lock"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"doing": "a move", "pid": os.getpid()}))
    with pytest.raises(strikes.TooLate):
        strikes.mover_of(lab)
    words = (
        "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", words, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert strikes.mover_of(lab) == holder.pid
        holder.communicate(b"\n")
    with path.open() as file, pytest.raises(strikes.TooLate):
        fcntl.flock(file, fcntl.LOCK_SH)
        strikes.mover_of(lab)


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


def _pretended(path: Path, bad: str) -> Any:
    """An ordeal in which nothing is done; it goes wrong for the victim `bad`."""

    def ordeal_of(blow: Blow, seed: int, stages: Stages) -> Verdict:
        with path.open("a") as file:
            file.write(f"{blow}\n")
        return Verdict(str(blow), blow.victim != bad, "active", SECOND)

    return ordeal_of


def test_cells_that_went_well_are_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordeal, "run", _pretended(tmp_path / "done", "engine"))
    path, cells = tmp_path / "seed-1.json", blows.chosen("switchover/mount/before/*", 1)
    first = list(campaign.run(campaign.left(cells, {}), path, 1, 1.0))
    assert sorted(one.cell for one in first) == sorted(map(str, cells))
    with path.open("a") as file:
        file.write('{"cell": "torn')
    again = list(campaign.run(campaign.left(cells, campaign.done(path)), path, 1, 1.0))
    assert [one.cell for one in again] == ["switchover/mount/before/engine"]
    assert len(campaign.done(path)) == len(cells) and path.read_text().count('"cell"') == len(cells) + 2
    assert path.read_text().endswith("}\n") and json.loads(path.read_text().splitlines()[-1])
    assert list(campaign.run(cells, path, 1, 0.0)) == []


def test_cells_of_the_same_options_follow_each_other() -> None:
    options = [ordeal.policy(one)["on_error"] for one in campaign.left(blows.chosen("", 1), {})]
    assert len(options) > 600 and [one for one, _ in itertools.groupby(options)] == ["switchover", "halt"]


def test_a_blow_that_did_not_land_is_struck_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = iter([("missed", ""), ("active", "too late"), ("active", ""), ("active", "")])
    seeds: list[int] = []

    def ordeal_of(blow: Blow, seed: int, stages: Stages) -> Verdict:
        seeds.append(seed)
        end, note = next(ends)
        return Verdict(str(blow), end == "active", end, SECOND, note=note)

    monkeypatch.setattr(ordeal, "run", ordeal_of)
    verdict = ordeal.landed(Blow("eio", "mount", "during", "mover"), 1, Stages())
    assert verdict.ok and not verdict.note and len(set(seeds)) == 3
    for seen in ({"double_holders": 1}, {"damaged": 1}):
        harm = Verdict("eio/mount/during/mover", False, "missed", "", **seen)
        monkeypatch.setattr(ordeal, "run", lambda *_, harm=harm: harm)
        told: list[str] = []
        assert (
            ordeal.landed(Blow("eio", "mount", "during", "mover"), 1, Stages(told.append)) is harm
            and not told
        )


def test_several_labs_share_the_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordeal, "run", _pretended(tmp_path / "done", ""))
    path, cells = tmp_path / "seed-1.json", blows.chosen("eio/*", 1)
    assert campaign.share_out(cells, 3, path, 1, 1.0)
    assert sorted((tmp_path / "done").read_text().split()) == sorted(map(str, cells))
    assert set(campaign.done(path)) == set(map(str, cells))


def test_a_lab_that_crashes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordeal, "run", lambda *_: sys.exit(3))
    assert not campaign.share_out(blows.chosen("eio/mount/*/mover", 1), 2, tmp_path / "x", 1, 1.0)


def test_the_summary_counts_what_was_lost() -> None:
    bad = Verdict("a/b/c/d", False, "active", FIRST, lost=2, double_holders=1, service_ms=9000)
    told = campaign.summary([bad, Verdict("e/f/g/h", True, "held", "630: no node")], 5)
    assert "2 of 5 cells done: 1 active, 1 held, 0 missed, 0 lost; 1 failed" in told
    assert (
        "lost = 2, damaged = 0, double_holders = 1, double_mounts = 0" in told and "9.0 s (a/b/c/d)" in told
    )
    assert campaign.line(bad).startswith("FAILED a/b/c/d") and json.dumps(bad.plain())
