"""Measures fail-overs in fresh labs: a table for people, build/bench/failover.json for programs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from lab import trial
from lab.cell import LabError
from lab.faultdisk import ROOT
from lab.scenarios import SCENARIOS

OUT = ROOT / "build" / "bench" / "failover.json"
HANG_TIMEOUT = 1.0


@dataclass(frozen=True)
class Figure:
    """One row of the results. name: of an outcome's member, in milliseconds. goal: what its median should not pass."""

    what: str
    name: str
    goal: int


@dataclass(frozen=True)
class Cell:
    """Runs of one scenario, and the figures that they give. filler: further VMs. runs: 0 is as many as asked for."""

    scenario: str
    figures: tuple[Figure, ...]
    delays: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    filler: int = 0
    runs: int = 0


def _mounted(what: str, goal: int) -> Figure:
    return Figure(f"{what}: fault to mounted", "fault_to_mounted_ms", goal)


SLOW = MappingProxyType({"detach": 1400, "attach": 1500})
CELLS = (
    Cell(
        "power-off",
        (Figure("power-off: fault to event", "fault_to_event_ms", 300), _mounted("power-off", 1500)),
    ),
    Cell("power-off", (_mounted("power-off, slow vCenter", 5000),), SLOW),
    Cell("eio-switchover", (_mounted("EIO", 2500),)),
    Cell("hang-switchover", (_mounted("hang", 4000),)),
    Cell("hang-halt", (_mounted("hang, on_error halt", 4000),)),
    Cell("isolated", (_mounted("network cut, node_timeout 3", 6000),)),
    Cell("guest-freezes", (_mounted("guest frozen, node_timeout 3", 6000),)),
    Cell("switchover", (Figure("planned switchover: unavailable", "unavailable_ms", 1500),)),
    Cell("power-off", (_mounted("power-off, 1000 more VMs", 2000),), filler=1000, runs=2),
)


def run(runs: int, say: Callable[[str], None], only: str = "") -> list[dict[str, Any]]:
    """Measure, print and write the results.

    runs: of each cell that has no number of its own. only: a part of the names of the rows that are measured anew; the
    others stay as they are in the file.
    """
    results = []
    for cell in CELLS:
        if any(only in one.what for one in cell.figures):
            results += _measured(cell, cell.runs or runs, say)
    kept = _before() if only else []
    names = [one["what"] for one in results]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    rows = [*(one for one in kept if one["what"] not in names), *results]
    OUT.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(table(results))
    return results


def _before() -> list[dict[str, Any]]:
    return list(json.loads(OUT.read_text(encoding="utf-8"))) if OUT.exists() else []


def _measured(cell: Cell, count: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    outcomes: list[trial.Outcome] = []
    for number in range(1, count + 1):
        outcomes.append(_once(cell))
        for one in cell.figures:
            say(f"{one.what}: run {number} of {count}: {getattr(outcomes[-1], one.name)} ms")
    return [_result(cell, one, outcomes) for one in cell.figures]


def _once(cell: Cell) -> trial.Outcome:
    settings = trial.Settings(delays=cell.delays, hang_timeout=HANG_TIMEOUT, filler=cell.filler)
    outcome = trial.run(SCENARIOS[cell.scenario], settings)
    if not outcome.ok:
        raise LabError(f"{cell.scenario} did not end well, so it was not measured: {outcome.notes}")
    return outcome


def _result(cell: Cell, figure: Figure, outcomes: Sequence[trial.Outcome]) -> dict[str, Any]:
    figures = sorted(getattr(one, figure.name) for one in outcomes)
    calls = [one.move_calls for one in outcomes]
    return {
        "what": figure.what,
        "median_ms": round(statistics.median(figures)),
        "p90_ms": figures[min(len(figures) - 1, round(len(figures) * 0.9))],
        "n": len(figures),
        "goal_ms": figure.goal,
        "vcenter_calls": round(statistics.median(calls)),
        "other_vms": cell.filler,
        "hang_timeout_s": HANG_TIMEOUT,
        "hypervisor_delays_ms": dict(cell.delays),
    }


def table(results: Sequence[dict[str, Any]]) -> str:
    """The results for people."""
    head = f"{'what':44} {'median':>8} {'p90':>8} {'goal':>8} {'n':>4} {'vCenter calls':>14}"
    rows = [
        f"{one['what']:44} {one['median_ms']:5} ms {one['p90_ms']:5} ms {one['goal_ms']:5} ms"
        f" {one['n']:4} {one['vcenter_calls']:14}"
        for one in results
    ]
    return "\n".join([head, *rows])
