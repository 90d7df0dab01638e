"""Every scenario of the lab, in a fresh lab each: the road of an event from the fault to the mounted file system."""

from __future__ import annotations

import pytest

from lab import trial
from lab.scenarios import SCENARIOS

#: What must have been done, in this order; other steps may not.
STEPS = {
    "unmounted": [("mount", "labdb1")],
    "cold-start": [("mount", "labdb1")],
    "eio-switchover": [
        ("release", "labdb1"),
        ("detach", "labdb1"),
        ("attach", "labdb2"),
        ("mount", "labdb2"),
    ],
    "switchover": [("release", "labdb1"), ("detach", "labdb1"), ("attach", "labdb2"), ("mount", "labdb2")],
    "power-off": [("detach", "labdb1"), ("attach", "labdb2"), ("mount", "labdb2")],
    "minion-dies": [("detach", "labdb1"), ("attach", "labdb2"), ("mount", "labdb2")],
}
FENCED = [("fence", "labdb1"), ("detach", "labdb1"), ("attach", "labdb2"), ("mount", "labdb2")]
STEPS |= {name: [("release", "labdb1"), *FENCED] for name in ("hang-switchover", "busy-highstate")}
STEPS |= dict.fromkeys(("guest-freezes", "isolated"), FENCED) | {"agent-dies": []}
STEPS |= {"hang-halt": [("halt", "labdb1"), *FENCED]}


def _outcome(name: str, **settings: object) -> trial.Outcome:
    return trial.run(SCENARIOS[name], trial.Settings(hang_timeout=1.0, **settings))  # type: ignore[arg-type]


def _check(outcome: trial.Outcome) -> None:
    assert outcome.ok, outcome
    assert (outcome.lost, outcome.double_holders, outcome.double_mounts) == (0, 0, 0)
    assert outcome.acknowledged > 0


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str) -> None:
    outcome = _outcome(name)
    _check(outcome)
    done = [(step.name, step.node) for step in outcome.steps]
    # a node that halts itself may be off before it is fenced
    without_fence = [step for step in STEPS[name] if step[0] != "fence"]
    assert done == STEPS[name] or (name == "hang-halt" and done == without_fence)
    assert all(step.outcome == "done" for step in outcome.steps if step.name not in ("release", "halt"))


def test_xfs_with_a_slow_hypervisor() -> None:
    outcome = _outcome(
        "hang-switchover", fstype="xfs", delays={"detach": 700, "attach": 800, "poweroff": 500}
    )
    _check(outcome)
    took = {step.name: step.took_ms for step in outcome.steps}
    assert took["fence"] >= 500 and took["detach"] >= 700 and took["attach"] >= 800


def test_many_other_vms_cost_no_further_call() -> None:
    alone, among_many = (_outcome("power-off", filler=count) for count in (0, 60))
    _check(alone)
    _check(among_many)
    assert 0 < among_many.move_calls <= alone.move_calls + 3  # a task that was asked for twice
