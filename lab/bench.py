"""Measures fail-overs in fresh labs: a table for people, build/bench/failover.json for programs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lab import trial
from lab.cell import LabError
from lab.faultdisk import ROOT
from lab.scenarios import SCENARIOS

OUT = ROOT / "build" / "bench" / "failover.json"
HANG_TIMEOUT = 1.0


@dataclass(frozen=True)
class Cell:
    """One measurement. figure: what of an outcome is measured. goal: milliseconds that the median should not pass."""

    what: str
    scenario: str
    figure: str = "fault_to_mounted_ms"
    goal: int = 0
    filler: int = 0
    runs: int = 0


CELLS = (
    Cell("power-off: fault to mounted", "power-off", goal=2000),
    Cell("EIO: fault to mounted", "eio-switchover", goal=2500),
    Cell("hang: fault to mounted", "hang-switchover", goal=4000),
    Cell("hang, on_error halt: fault to mounted", "hang-halt", goal=4000),
    Cell("planned switchover: unavailable", "switchover", "unavailable_ms", 1500),
    Cell("power-off, 1000 more VMs: fault to mounted", "power-off", goal=2000, filler=1000, runs=2),
)


def run(runs: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Measure every cell, print and write the results. runs: of each cell that has no number of its own."""
    results = []
    for cell in CELLS:
        count = cell.runs or runs
        outcomes = []
        for number in range(1, count + 1):
            outcomes.append(_once(cell))
            say(f"{cell.what}: run {number} of {count}: {getattr(outcomes[-1], cell.figure)} ms")
        results.append(_result(cell, outcomes))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(table(results))
    return results


def _once(cell: Cell) -> trial.Outcome:
    settings = trial.Settings(hang_timeout=HANG_TIMEOUT, filler=cell.filler)
    outcome = trial.run(SCENARIOS[cell.scenario], settings)
    if not outcome.ok:
        raise LabError(f"{cell.scenario} did not end well, so it was not measured: {outcome.notes}")
    return outcome


def _result(cell: Cell, outcomes: Sequence[trial.Outcome]) -> dict[str, Any]:
    figures = sorted(getattr(one, cell.figure) for one in outcomes)
    calls = [one.move_calls for one in outcomes]
    return {
        "what": cell.what,
        "median_ms": round(statistics.median(figures)),
        "p90_ms": figures[min(len(figures) - 1, round(len(figures) * 0.9))],
        "n": len(figures),
        "goal_ms": cell.goal,
        "vcenter_calls": round(statistics.median(calls)),
        "other_vms": cell.filler,
        "hang_timeout_s": HANG_TIMEOUT,
        "hypervisor_delays_ms": 0,
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
