#!/usr/bin/env python3
"""Keep the table of measured figures in docs/scale.md that of the last measurements.

``--write`` writes it anew from build/bench, which ``make bench-…`` fills; ``--check`` exits with 1 if the page has other rows.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "scale.md"
BENCH = ROOT / "build" / "bench"
HEAD = ("| measured | figure | goal | by |", "|---|---|---|---|")
NONE = "–"

Value = Callable[[Any], str]


@dataclass(frozen=True)
class Figure:
    """One row. target: the make target that measures it. file: where that writes. value: the words of the figure."""

    words: str
    target: str
    file: str
    value: Value
    goal: str = NONE


def _of(rows: Any, **which: Any) -> Mapping[str, Any]:
    """The one row of a measurement that is meant."""
    (found,) = (row for row in rows if all(row[key] == value for key, value in which.items()))
    row: Mapping[str, Any] = found
    return row


def _spread(row: Mapping[str, Any]) -> str:
    return f"{_time(row['median_ms'])}, {_time(row['p90_ms'])} ({row['n']} runs)"


def _time(ms: float) -> str:
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.1f} s"


def _run(what: str) -> Value:
    return lambda rows: _spread(_of(rows, what=what))


def _fault(fault: str, load: str) -> Value:
    return lambda rows: _spread(_of(rows, fault=fault, load=load, fs="ext4"))


def _storm(count: int) -> Value:
    def words(rows: Any) -> str:
        row = _of(rows, resources=count)
        calls = f"{row['vcenter_calls_each']:.0f} calls of vCenter for each"
        return f"{row['first_s']:.1f} s the first, {row['last_s']:.1f} s the last; {calls}"

    return words


def _cost(disks: int) -> Value:
    def words(rows: Any) -> str:
        row = _of(rows, disks=disks)
        return f"{row['prober_ms_per_s'] / 10:.2f} % of a core, {row['private_mb']:.0f} MB"

    return words


FAILOVER, DETECT, STORM = "failover.json", "detect.json", "storm.json"
FIGURES = (
    Figure("power-off of the holder: event on the master's bus", "bench", FAILOVER,
           _run("power-off: fault to event"), "300 ms"),
    Figure("power-off: mounted on the backup", "bench", FAILOVER, _run("power-off: fault to mounted"), "1.5 s"),
    Figure("the same, vCenter takes 1.4 s to detach and 1.5 s to attach", "bench", FAILOVER,
           _run("power-off, slow vCenter: fault to mounted"), "5 s"),
    Figure("the same among 1,000 other VMs", "bench", FAILOVER,
           _run("power-off, 1000 more VMs: fault to mounted"), "2 s"),
    Figure("I/O error: mounted on the backup", "bench", FAILOVER, _run("EIO: fault to mounted"), "2.5 s"),
    Figure("disk hangs (`hang_timeout: 1`): mounted on the backup", "bench", FAILOVER,
           _run("hang: fault to mounted"), "4 s"),
    Figure("network of the node cut (`node_timeout: 3`): mounted on the backup", "bench", FAILOVER,
           _run("network cut, node_timeout 3: fault to mounted"), "6 s"),
    Figure("guest frozen (`node_timeout: 3`): mounted on the backup", "bench", FAILOVER,
           _run("guest frozen, node_timeout 3: fault to mounted"), "6 s"),
    Figure("planned switchover: not available for", "bench", FAILOVER,
           _run("planned switchover: unavailable"), "1.5 s"),
    Figure("a node sees that requests fail, disk in use", "bench-detect", DETECT, _fault("all EIO", "active"), "250 ms"),
    Figure("the same, disk idle", "bench-detect", DETECT, _fault("all EIO", "idle"), "1.2 s"),
    Figure("a node sees that a disk hangs (`hang_timeout: 1`), in use", "bench-detect", DETECT,
           _fault("all hang", "active"), "1.4 s"),
    Figure("a node sees `umount`", "bench-detect", DETECT, _fault("umount", "idle"), "15 ms"),
    Figure("watching one disk costs a node", "bench-detect", "detect-cost.json", _cost(1), "0.1 %"),
    Figure("watching 64 disks costs a node", "bench-detect", "detect-cost.json", _cost(64), "0.8 %"),
    Figure("from the prober to the master's bus, by the node's engine", "bench-bus", "bus.json",
           _run("to the master's bus by the engine (16 disks, engine)"), "40 ms"),
    Figure("the same by the beacon", "bench-bus", "bus.json",
           _run("to the master's bus by the beacon (16 disks, engine)"), "1.1 s"),
    Figure("one look and one decision", "bench-mind", "mind.json",
           lambda found: f"{found['look_and_decide_us']:.0f} µs", "100 µs"),
    Figure("histories of the simulation, on one core", "bench-mind", "mind.json",
           lambda found: f"{found['histories_per_s']:,.0f} a second", "2,000 a second"),
    *(Figure(f"{count} VMs off at once: active on their backups", "bench-storm", STORM, _storm(count), goal)
      for count, goal in ((10, NONE), (50, "10 s"), (200, NONE))),
    *(Figure(f"host of {count} VMs dies (`node_timeout: 3`, a fence of 1 s): active on their backups",
             "bench-storm ARGS='--host'", "storm-host.json", _storm(count), goal)
      for count, goal in ((10, NONE), (50, "10 s"))),
)  # fmt: skip


def rows() -> Iterator[str]:
    """The table as it should be; :raises OSError, KeyError, ValueError: something was not measured."""
    for one in FIGURES:
        found = json.loads((BENCH / one.file).read_text(encoding="utf-8"))
        yield f"| {one.words} | {one.value(found)} | {one.goal} | `make {one.target}` |"


def split(text: str) -> tuple[str, list[str], str]:
    """The page before the table, the table's rows, and the page after it."""
    before, _, rest = text.partition("\n".join(HEAD) + "\n")
    lines = rest.split("\n")
    end = next(number for number, line in enumerate(lines) if not line.startswith("|"))
    return before, lines[:end], "\n".join(lines[end:])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--check", action="store_true")
    chosen.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    before, there, after = split(PAGE.read_text(encoding="utf-8"))
    fresh = list(rows())
    if write:
        PAGE.write_text("\n".join((before + HEAD[0], HEAD[1], *fresh, after)), encoding="utf-8")
        return 0
    if fresh != there:
        print(
            "docs/scale.md has other figures than build/bench; run scripts/figures_doc.py --write",
            file=sys.stderr,
        )
    return int(fresh != there)


if __name__ == "__main__":
    sys.exit(main())
