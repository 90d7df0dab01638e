"""Plays scenarios one after the other: a lab that fails keeps none of the others back. Of all of them, a file is written."""

from __future__ import annotations

import json
import os
import platform
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import trial
from lab.cell import LabError
from lab.faultdisk import ROOT, DiskError
from lab.hypervisor import VcenterError
from lab.scenarios import Scenario

OUT = ROOT / "build" / "bench"


@dataclass(frozen=True)
class Row:
    """What one scenario came to. outcome: None where the lab itself has failed. problem: why it has; else empty. load: the
    machine's load average (1 minute) at its end. took_s: seconds, with the start of its lab."""

    scenario: str
    outcome: trial.Outcome | None
    problem: str
    load: float
    took_s: float

    @property
    def ok(self) -> bool:
        """Whether all was as it should be."""
        return self.outcome is not None and self.outcome.ok

    def plain(self) -> dict[str, Any]:
        """As plain data: the members of the outcome, if there is one, and those of the row."""
        own = {"problem": self.problem, "load": self.load, "took_s": self.took_s}
        seen = self.outcome.plain() if self.outcome is not None else {"scenario": self.scenario, "ok": False}
        return {**seen, **own}


def play(
    scenarios: Sequence[Scenario], settings: trial.Settings, done: Callable[[Row], None] = lambda _: None
) -> list[Row]:
    """Play them all, each in a lab of its own.

    done: called after each, before the next begins. Returns one row for each, in their order. What a failed lab raises is
    in its row and raised to nobody.
    """
    rows: list[Row] = []
    for scenario in scenarios:
        settings.say(f"{scenario.name}: {scenario.description}")
        rows.append(_played(scenario, settings))
        if rows[-1].problem:
            settings.say(f"lab: {scenario.name}: {rows[-1].problem}")
        done(rows[-1])
    return rows


def _played(scenario: Scenario, settings: trial.Settings) -> Row:
    began = time.monotonic()
    outcome, problem = None, ""
    try:
        outcome = trial.run(scenario, settings)
    except (LabError, VcenterError, DiskError) as err:
        problem = str(err) or type(err).__name__
    except (
        Exception
    ) as err:  # a fault of the lab's own code: it is shown where it is, and the others are played
        traceback.print_exc()
        problem = f"{type(err).__name__}: {err}"
    load, took = round(os.getloadavg()[0], 2), round(time.monotonic() - began, 1)
    return Row(scenario.name, outcome, problem, load, took)


def status(rows: Sequence[Row]) -> int:
    """The exit status for what was played: 0 all good, 1 a scenario did not end as it should, 2 a lab itself has failed."""
    if any(row.problem for row in rows):
        return 2
    return 0 if all(row.ok for row in rows) else 1


def path_of(nodes: str) -> Path:
    """The file of all scenarios. nodes: namespaces or qemu."""
    return OUT / ("scenarios.json" if nodes == "namespaces" else f"scenarios-{nodes}.json")


def write(path: Path, rows: Sequence[Row], waiting: Sequence[str], about: Mapping[str, Any]) -> None:
    """Write what was played so far. waiting: names of those that were not played yet. about: what else is worth knowing."""
    machine = {"kernel": platform.release(), "processors": os.cpu_count()}
    words = {**about, **machine, "not_played": list(waiting), "rows": [row.plain() for row in rows]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(words, indent=1) + "\n", encoding="utf-8")
