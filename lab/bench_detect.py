"""Measures how soon a node's prober tells a failure, and what it costs: build/bench/detect.json and detect-cost.json.

    python -m lab.bench_detect --runs 20

Each run has a disk and a file system of its own; one prober watches all runs of a cell. Several cells are measured at a
time, each in its own namespaces and with its own prober.
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
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from lab import bench_cost, linux
from lab.bench_faults import DOUBT, FAULTS, FIRST_MS, HANG_TIMEOUT, Fault, Patient
from lab.faultdisk import ROOT, Disks
from lab.isolation import isolated

OUT = ROOT / "build" / "bench"
FILE_SYSTEMS = ("ext4", "xfs", "btrfs")
LOADS = ("idle", "active")
_LIMIT_S, _READY_S = 12.0, 8.0


class Missed(Exception):
    """The prober has not told what it should have."""


@dataclass(frozen=True)
class Sight:
    """One run: milliseconds until the condition was told, and until anything was said (a failed read that is tried again)."""

    told: float
    first: float
    condition: str
    source: str


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _told(patient: Patient, conditions: Sequence[str], began: float) -> Sight:
    """Wait for one of some conditions."""
    seen: list[str] = []
    first = 0.0
    while _now() < began + _LIMIT_S:
        for report in patient.watch.wait(0.05):
            came = (_now() - began) * 1000
            if report["condition"] in conditions:
                sources = re.findall(r"\(([^()]*)\)$", report["evidence"])
                return Sight(came, first or came, report["condition"], sources[-1] if sources else "?")
            seen.append(report["condition"])
        if not first and DOUBT in patient.evidence():
            first = (_now() - began) * 1000
    raise Missed(f"{' or '.join(conditions)} was not told within {_LIMIT_S} s, but {seen or 'nothing'}")


def _ready(patient: Patient) -> None:
    end = time.monotonic() + _READY_S
    while time.monotonic() < end:
        patient.watch.poll({patient.resource.name: patient.resource})
        if patient.word() == "ok":
            time.sleep(0.1 + (time.monotonic_ns() // 1000 % 1000) / 1000)  # anywhere between two probes
            patient.watch.poll()
            return
        time.sleep(0.01)
    raise Missed(f"a healthy disk is not told to be ok, but {patient.word()}")


def _once(patient: Patient, fault: Fault) -> Sight:
    with patient.mounted(fault):
        _ready(patient)
        with ThreadPoolExecutor(1) as beside:  # an umount returns long after the mount has gone
            began = _now()
            struck = beside.submit(fault.strike, patient)
            sight = _told(patient, fault.conditions, began)
            struck.result()
        return sight


def _measure(fstype: str, load: str, name: str, runs: int) -> list[dict[str, Any]]:
    """Measure one cell, in a process of its own."""
    fault = next(one for one in FAULTS if one.name == name)
    sights: list[Sight] = []
    missed: list[str] = []
    with _place() as run_dir, Disks(run_dir) as disks, Patient.watcher(run_dir) as watch:
        for _ in range(runs):
            patient = Patient(run_dir, disks, watch, fstype, load)
            try:
                sights.append(_once(patient, fault))
            except Missed as err:
                missed.append(str(err))
                print(f"missed: {name} {fstype} {load}: {err}", file=sys.stderr)
            finally:
                patient.close()
    cell = {"fault": name, "fs": fstype, "load": load}
    told = {
        **cell,
        **figures([one.told for one in sights]),
        **_words(sights, missed),
        "goal_ms": fault.goal(load),
    }
    if all(one.first == one.told for one in sights):
        return [told]
    seen = {**cell, "fault": f"{name}, first sight", **figures([one.first for one in sights])}
    return [{**seen, **_words(sights, missed), "goal_ms": FIRST_MS}, told]


def figures(times: Sequence[float]) -> dict[str, Any]:
    """Median, 90th percentile and number of some milliseconds."""
    ordered = sorted(times)
    if not ordered:
        return {"median_ms": None, "p90_ms": None, "n": 0}
    at = min(len(ordered) - 1, math.ceil(len(ordered) * 0.9) - 1)
    return {
        "median_ms": round(statistics.median(ordered), 1),
        "p90_ms": round(ordered[at], 1),
        "n": len(ordered),
    }


def _words(sights: Sequence[Sight], missed: Sequence[str]) -> dict[str, Any]:
    return {
        "source": commonest([one.source for one in sights]),
        "conditions": dict(Counter(one.condition for one in sights)),
        "missed": len(missed),
    }


def commonest(words: Sequence[str]) -> str:
    """The word that is there most often, ``none`` if there is none."""
    return Counter(words).most_common(1)[0][0] if words else "none"


@contextmanager
def _place() -> Iterator[Path]:
    with isolated(), tempfile.TemporaryDirectory(prefix="vmdk-bench-") as name:
        linux.mount("tmpfs", name, "tmpfs")
        try:
            yield Path(name)
        finally:
            linux.umount(name, linux.MNT_DETACH)


def run(runs: int, only: str, file_systems: Sequence[str], jobs: int) -> list[dict[str, Any]]:
    """Measure every cell, some at a time, and print a table. only: part of a fault's name."""
    cells = [
        (fstype, load, fault.name)
        for fstype in file_systems
        for fault in FAULTS
        for load in LOADS
        if only in fault.name and fault.applies(fstype, load)
    ]
    with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
        futures = [pool.submit(_measure, *cell, runs) for cell in cells]
        for done in as_completed(futures):
            print(*(_row(one) for one in done.result()), sep="\n", flush=True)
    results = [one for future in futures for one in future.result()]
    print(f"\nhang_timeout {HANG_TIMEOUT} s, probe_interval 1 s, {runs} runs, {jobs} at a time")
    print(*(_row(one) for one in results), sep="\n", flush=True)
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
    parser.add_argument("--jobs", type=int, default=4, metavar="N", help="cells that are measured at a time")
    parser.add_argument("--only", default="", metavar="WORD", help="faults whose name has WORD in it")
    parser.add_argument("--fs", choices=FILE_SYSTEMS, action="append", help="file systems; all if left out")
    parser.add_argument(
        "--cost", action=argparse.BooleanOptionalAction, default=True, help="measure CPU and memory"
    )
    parser.add_argument("--seconds", type=float, default=20.0, metavar="S", help="seconds per cost")
    given = parser.parse_args(argv)
    if os.geteuid() != 0:
        parser.error("needs root: loop devices, mounts and namespaces")
    results = run(given.runs, given.only, given.fs or FILE_SYSTEMS, max(1, given.jobs)) if given.runs else []
    if results:
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
