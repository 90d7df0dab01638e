"""Measures how soon a node's prober tells a failure, and what it costs: build/bench/detect.json and detect-cost.json.

    python -m lab.bench_detect --runs 20

Each run has a disk and a file system of its own; one prober watches them all, as on a node.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab import bench_cost, linux
from lab.bench_faults import FAULTS, HANG_TIMEOUT, Fault, Patient
from lab.faultdisk import ROOT, Disks
from lab.isolation import isolated

OUT = ROOT / "build" / "bench"
FILE_SYSTEMS = ("ext4", "xfs", "btrfs")
LOADS = ("idle", "active")
_LIMIT_S, _READY_S = 12.0, 8.0


class Missed(Exception):
    """The prober has not told what it should have."""


def _told(patient: Patient, conditions: Sequence[str], seconds: float) -> dict[str, Any]:
    """Wait for one of some conditions. Returns the report, with the time at which it came (boot clock)."""
    seen: list[str] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for report in patient.watch.wait(0.05):
            if report["condition"] in conditions:
                return {**report, "came": time.clock_gettime(time.CLOCK_BOOTTIME)}
            seen.append(report["condition"])
    raise Missed(f"{' or '.join(conditions)} was not told within {seconds} s, but {seen or 'nothing'}")


def _ready(patient: Patient) -> None:
    end = time.monotonic() + _READY_S
    while time.monotonic() < end:
        patient.watch.poll({patient.resource.name: patient.resource})
        if patient.word() == "ok":
            time.sleep(0.4 + (time.monotonic_ns() // 1000 % 700) / 1000)  # anywhere between two probes
            patient.watch.poll()
            return
        time.sleep(0.01)
    raise Missed(f"a healthy disk is not told to be ok, but {patient.word()}")


def _once(patient: Patient, fault: Fault) -> tuple[float, str]:
    """One run. Returns milliseconds and the source that saw it."""
    with patient.mounted(fault):
        _ready(patient)
        began = time.clock_gettime(time.CLOCK_BOOTTIME)
        fault.strike(patient)
        report = _told(patient, fault.conditions, _LIMIT_S)
        sources = re.findall(r"\(([^()]*)\)$", report["evidence"])
        return (report["came"] - began) * 1000, sources[-1] if sources else "?"


def _cell(
    run_dir: Path, disks: Disks, watch: Any, fstype: str, load: str, fault: Fault, runs: int
) -> dict[str, Any]:
    figures, sources, missed = [], [], 0
    for _ in range(runs):
        patient = Patient(run_dir, disks, watch, fstype, load)
        try:
            ms, source = _once(patient, fault)
            figures.append(ms)
            sources.append(source)
        except Missed as err:
            missed += 1
            print(f"missed: {fault.name} {fstype} {load}: {err}", file=sys.stderr)
        finally:
            patient.close()
    ordered = sorted(figures) or [math.inf]
    return {
        "fault": fault.name,
        "fs": fstype,
        "load": load,
        "source": max(set(sources), key=sources.count) if sources else "none",
        "median_ms": round(statistics.median(ordered), 1) if figures else None,
        "p90_ms": round(ordered[min(len(ordered) - 1, math.ceil(len(ordered) * 0.9) - 1)], 1)
        if figures
        else None,
        "n": len(figures),
        "missed": missed,
        "goal_ms": fault.goal(load),
    }


@contextmanager
def _place() -> Iterator[Path]:
    with isolated(), tempfile.TemporaryDirectory(prefix="vmdk-bench-") as name:
        linux.mount("tmpfs", name, "tmpfs")
        try:
            yield Path(name)
        finally:
            linux.umount(name, linux.MNT_DETACH)


def run(runs: int, only: str, file_systems: Sequence[str]) -> list[dict[str, Any]]:
    """Measure every cell. only: part of a fault's name."""
    results = []
    with _place() as run_dir, Disks(run_dir) as disks, Patient.watcher(run_dir) as watch:
        for fstype in file_systems:
            for fault in FAULTS:
                for load in LOADS:
                    if only in fault.name and fault.applies(fstype, load):
                        results.append(_cell(run_dir, disks, watch, fstype, load, fault, runs))
                        print(_row(results[-1]), flush=True)
    return results


def _row(one: dict[str, Any]) -> str:
    good = one["median_ms"] is not None and one["median_ms"] <= one["goal_ms"] and not one["missed"]
    return (
        f"{one['fault']:26} {one['fs']:6} {one['load']:7} {one['median_ms']!s:>8} {one['p90_ms']!s:>8} ms"
        f"  n {one['n']:<3} goal {one['goal_ms']:>5} {'' if good else 'MISSED' if one['missed'] else 'over'}  {one['source']}"
    )


def _write(name: str, value: object) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / name).write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def main(argv: Sequence[str]) -> int:
    """Measure and write. Returns 1 if a fault was missed."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench_detect", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, metavar="N", help="runs per cell")
    parser.add_argument("--only", default="", metavar="WORD", help="faults whose name has WORD in it")
    parser.add_argument("--fs", choices=FILE_SYSTEMS, action="append", help="file systems; all if left out")
    parser.add_argument(
        "--cost", action=argparse.BooleanOptionalAction, default=True, help="measure CPU and memory"
    )
    parser.add_argument("--seconds", type=float, default=20.0, metavar="S", help="seconds per cost")
    given = parser.parse_args(argv)
    if os.geteuid() != 0:
        parser.error("needs root: loop devices, mounts and namespaces")
    results = run(given.runs, given.only, given.fs or FILE_SYSTEMS) if given.runs else []
    if results:
        print(f"hang_timeout {HANG_TIMEOUT} s, probe_interval 1 s")
        _write("detect.json", results)
    if given.cost:
        with _place() as run_dir:
            costs = [bench_cost.measure(run_dir / str(n), n, given.seconds) for n in bench_cost.COUNTS]
        for one in costs:
            print(bench_cost.row(one))
        _write("detect-cost.json", costs)
    return 1 if any(one["missed"] for one in results) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
