"""
kill -9 of whoever carries a move, at every kind of step: the resource ends on exactly one node, served, with nothing lost.

The hypervisor is slowed down so that the kill lands inside the step. Nobody helps afterwards: the engine finds the open
move by itself. The campaign in full is a matter of hours; this is its slice for every day.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from lab import product, trial
from lab.cluster import Lab
from lab.ledger import lost
from lab.linux import wait_until
from lab.observer import mountpoints
from lab.scenarios import DISK, FIRST
from lab.wishes import Wishes

SLOW = {"detach": 400, "attach": 400, "poweroff": 400}
LIMIT = 60.0


def _lab() -> Lab:
    policy = {"services": ["ledger"], "hang_timeout": 1}
    return Lab(
        Wishes(
            delays=SLOW,
            master_overrides=lambda lab: product.master_options(lab, {DISK: policy}),
            minion_overrides=product.minion_options,
        )
    )


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab whose ledger is written on labdb1."""
    with _lab() as up:
        trial.bring_up(up, by_hand=False)
        yield up


def _active(lab: Lab) -> list[str]:
    return [
        name for name, node in lab.nodes.items() if node.is_running and mountpoints(node, lab.disks[DISK])
    ]


def _state(lab: Lab) -> dict[str, object]:
    path = lab.master.root / "var/lib/salt/vmdk/journal" / f"{DISK}.json"
    found: dict[str, object] = json.loads(path.read_text()) if path.exists() else {}
    return found


def _kill_mover_at(lab: Lab, step: str, since: float) -> None:
    """Kill the process that holds the resource's lock as soon as it has said that it begins ``step``."""
    told = lab.master.events.wait(
        f"vmdk-move/{DISK}/step", LIMIT, since, lambda e: e.data.get("step") == step
    )
    assert told is not None, f"the move never came to {step}"
    lock = json.loads((lab.master.root / f"var/lib/salt/vmdk/locks/resource-{DISK}.lock").read_text())
    assert lab.master.cell.run(["kill", "-9", str(lock["pid"])]).code == 0


def _check_end(lab: Lab, since: float) -> None:
    def at_rest() -> bool:
        return len(_active(lab)) == 1 and not _state(lab).get("move")

    assert wait_until(at_rest, LIMIT, 0.1), (_active(lab), _state(lab))
    (where,) = _active(lab)

    def written() -> int:
        return sum(one.node == where and one.monotonic >= since for one in trial.acknowledged(lab)[-500:])

    before = written()
    assert wait_until(lambda: written() >= before + 10, LIMIT, 0.05), "the service does not write any more"
    told, found = trial.read_back(lab, lab.disks[DISK], [])
    assert told and lost(told, found) == []
    assert not lab.observer.findings.double_holders and not lab.observer.findings.double_mounts


@pytest.mark.parametrize("step", ["release", "detach", "attach", "mount"])
def test_a_switchover_whose_mover_is_killed(lab: Lab, step: str) -> None:
    since = time.monotonic()
    lab.master.start("salt-run", "vmdk.switchover", DISK)
    _kill_mover_at(lab, step, since)
    _check_end(lab, time.monotonic())


@pytest.mark.parametrize("step", ["fence", "detach", "attach"])
def test_a_failover_whose_mover_is_killed(step: str) -> None:
    with _lab() as lab:
        trial.bring_up(lab, by_hand=False)
        since = time.monotonic()
        lab.fault(FIRST, DISK, "all=hang")
        _kill_mover_at(lab, step, since)
        _check_end(lab, time.monotonic())


def test_the_whole_master_is_killed_in_mid_move() -> None:
    with _lab() as lab:
        trial.bring_up(lab, by_hand=False)
        since = time.monotonic()
        lab.crash(FIRST)
        told = lab.master.events.wait(
            f"vmdk-move/{DISK}/step", LIMIT, since, lambda e: e.data.get("step") == "attach"
        )
        assert told is not None
        lab.master.restart()
        _check_end(lab, time.monotonic())
