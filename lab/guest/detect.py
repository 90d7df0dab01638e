"""
``make guest ARGS=detect``: how soon the prober tells of a failing disk inside a guest on SCSI, by the guest's own clock. Prints a
table and writes build/bench/detect-guest.json; ``detect_trial.py`` is the program in the guest.
"""

from __future__ import annotations

import json
import os
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.bench_detect import LOADS, commonest, figures
from lab.bench_faults import LOAD
from lab.guest import vm
from lab.guest.inside import loop_ms

OUT = vm.ROOT / "build" / "bench" / "detect-guest.json"
FILE_SYSTEMS = ("ext4", "xfs")
#: From so many milliseconds without a processor on, a run says more of the host than of the guest.
KEPT_WAITING_MS = 2.0
_LIMIT_S = 7200.0
_CELL = ("fault", "fs", "load", "processors")
_TIMES = ("verdict_ms", "first_ms", "kernel_ms", "asked_ms", "struck_ms", "waited_ms")


@dataclass
class Machine(vm.Vm):
    """A guest that is told what to measure, and how long its processors had to wait for one of the host's."""

    wishes: dict[str, Any] = field(default_factory=dict)

    def wished(self) -> dict[str, Any]:
        """What is to be measured."""
        return self.wishes

    def waited(self) -> float:
        """Milliseconds for which the guest's processors could have run and had none of the host's, since it exists."""
        threads = [one["thread-id"] for one in self.qmp("query-cpus-fast")]
        paths = [Path(f"/proc/{self._process.pid}/task/{thread}/schedstat") for thread in threads]
        return sum(int(path.read_text().split()[1]) for path in paths) / 1e6


def row(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the runs of one cell come to: medians in milliseconds, and those of the runs that the host did not disturb."""
    good = [one for one in runs if "missed" not in one]
    quiet = [one["told_ms"] for one in good if one["waited_ms"] < KEPT_WAITING_MS]
    return {
        **{key: runs[0][key] for key in _CELL},
        **figures([one["told_ms"] for one in good]),
        "goal_ms": runs[0]["goal_ms"],
        "source": commonest([one["source"] for one in good]),
        "conditions": dict(Counter(one["condition"] for one in good)),
        "first": dict(Counter(one["first"] for one in good)),
        "missed": len(runs) - len(good),
        "undisturbed": figures(quiet),
        **{key: _median([one[key] for one in good]) for key in _TIMES},
        "load_average": _median([one["load_average"] for one in runs]),
        "runs": [dict(one) for one in runs],
    }


def _median(values: Sequence[float | None]) -> float | None:
    there = [one for one in values if one is not None]
    return round(statistics.median(there), 2) if there else None


def text(one: Mapping[str, Any]) -> str:
    """A row for people."""
    is_in_time = one["median_ms"] is not None and one["median_ms"] <= one["goal_ms"]
    word = "MISSED" if one["missed"] else "" if is_in_time else "over"
    quiet = one["undisturbed"]
    cell = f"{one['fault']:20} {one['fs']:5} {one['load']:7}{one['processors']:>2}"
    return (
        f"{cell} {one['median_ms']!s:>7} {one['p90_ms']!s:>7} {one['n']:>3}"
        f" {one['goal_ms']:>6g} {word:6} {quiet['median_ms']!s:>7} {quiet['n']:>3} {one['verdict_ms']!s:>8}"
        f" {one['waited_ms']!s:>7} {one['load_average']!s:>5}  {one['source']}"
    )


HEAD = (
    f"{'ms':20} {'':5} {'':7}{'':2} {'median':>7} {'p90':>7} {'n':>3} {'goal':>6} {'':6} {'quiet':>7} {'n':>3} {'verdict':>8}"
    f" {'waited':>7} {'load':>5}  source"
)


def merged(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows that were measured now instead of those of the same cell; the others stay."""
    cells = [[one[key] for key in _CELL] for one in new]
    return [dict(one) for one in old if [one[key] for key in _CELL] not in cells] + [dict(one) for one in new]


def _write(guest: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """:param guest: what the guest says of itself, by the number of its processors."""
    old = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {"rows": [], "guest": {}}
    OUT.parent.mkdir(parents=True, exist_ok=True)
    value = {"guest": {**old["guest"], **guest}, "rows": merged(old["rows"], rows)}
    OUT.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _machine(guest: Mapping[str, Any]) -> dict[str, Any]:
    """What a guest says of itself, and how many times slower than this machine it is."""
    slower = round(guest["loop_ms"] / loop_ms(), 1)
    return {**guest, "accel": "tcg", "host_processors": os.cpu_count(), "times_slower": slower}


def run(folder: Path, verbose: bool, wishes: Mapping[str, Any]) -> bool:
    """
    Measure in one guest.

    :param folder: for the guest's files. :param verbose: show each run.
    :param wishes: ``runs`` (of each cell), ``only`` (part of a fault's name), ``fs`` and ``loads`` (names), ``processors``.
    :return: whether every fault of every run was told.
    """
    runs: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    guest: dict[str, Any] = {}
    line = ""
    print(HEAD, flush=True)
    program = vm.HERE / "detect_trial.py"
    wishes = {**wishes, "program": LOAD}
    with Machine(folder, program, disks=2, processors=wishes["processors"], wishes=wishes) as machine:
        for line in machine.lines(_LIMIT_S):
            word, _, rest = line.partition(" ")
            if word == "RUN":
                here = {"processors": machine.processors, "load_average": round(os.getloadavg()[0], 2)}
                runs.append({**json.loads(rest), **here})
            elif word == "CELL":
                rows.append(row(runs))
                _write({}, rows)
                print(text(rows[-1]), flush=True)
                runs = []
            elif word == "GUEST":
                guest = _machine(json.loads(rest))
                _write({str(machine.processors): guest}, rows)
            if verbose or word not in ("RUN", "CELL", "GUEST", "GUEST-END"):
                print(line, flush=True)
    if guest:
        print(f"kernel {guest['kernel']}, {guest['times_slower']} times slower than this machine, {OUT}")
    return line == "GUEST-END 0" and not any(one["missed"] for one in rows)


__all__ = ["FILE_SYSTEMS", "LOADS", "Machine", "merged", "row", "run", "text"]
