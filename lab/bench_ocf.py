"""Our prober beside the monitor of ocf:heartbeat:Filesystem, on the same disks and faults: make bench-detect-peers.

    python -m lab.bench_ocf --runs 3

The agent is called as a cluster does, at levels 0, 10 and 20, with its own defaults: every 20 s, timeout 40 s. Where in
that interval a fault comes is chance (seeded). A monitor that hangs counts as failed at its timeout.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import leftovers, ocf, require
from lab.bench_faults import FAULTS, Fault, Patient
from lab.cell import LabError
from lab.ear import Ear
from lab.faultdisk import ROOT, DiskError, Disks
from lab.isolation import isolated
from lab.resident import Resident

OUT = ROOT / "build" / "bench" / "detect-peers.json"
FILE_SYSTEMS = ("ext4", "xfs", "btrfs")
LOADS = ("idle", "active")
#: The faults of `make bench-detect` that are compared.
NAMES = (
    "umount", "umount -l", "remount ro", "device removed", "disk dies silently",
    "write EIO", "write EIO, write probe", "read EIO", "all EIO",
    "write hang", "write hang, write probe", "read hang", "all hang",
)  # fmt: skip
GIVE_UP_S, OURS_S, READY_S, _HANG_LIMIT_S = 60.0, 12.0, 20.0, 150.0


@dataclass(frozen=True)
class Cell:
    """One fault on one kind of disk."""

    fault: Fault
    fstype: str
    load: str


@dataclass(frozen=True)
class Run:
    """Seconds from a fault to its detection; None: not within the time. ours: the prober's, with the condition that it told."""

    ours: float | None
    condition: str
    levels: Mapping[int, float | None]


@dataclass(frozen=True)
class Ward:
    """Where the runs take place. busy: the disks of those that are under way. over: set when all are to end.
    door: one disk at a time is made. ahead: those that were made before the first fault."""

    run_dir: Path
    disks: Disks
    ear: Ear
    busy: set[Resident] = field(default_factory=set)
    over: threading.Event = field(default_factory=threading.Event)
    door: threading.Lock = field(default_factory=threading.Lock)
    ahead: dict[Cell, list[Resident]] = field(default_factory=dict)

    def stop(self) -> None:
        """End all runs that are under way, whatever hangs."""
        self.over.set()
        for resident in tuple(self.busy):
            resident.free()

    def _sleep(self, seconds: float) -> None:
        if self.over.wait(seconds):
            raise LabError("the bench was stopped")

    def measure(self, cell: Cell, chance: random.Random) -> Run:
        """One fault on a disk that has had none yet. Raises LabError, DiskError."""
        resident = self._fresh(cell)
        monitors = {level: _monitor(resident, level) for level in ocf.LEVELS}
        self.busy.add(resident)
        try:
            resident.admit()
            self.ear.watch_over(resident)
            self._ready(resident)
            for monitor in monitors.values():
                if monitor.once().failed:
                    raise LabError(
                        f"{monitor.agent} calls a healthy file system failed at level {monitor.level}"
                    )
            self._sleep(0.5 + chance.random())
            return self._strike(resident, cell, monitors, chance)
        finally:
            self.ear.leave(resident)
            resident.free()
            for monitor in monitors.values():
                monitor.bury()
            resident.close()
            self.busy.discard(resident)

    def make_ahead(self, wanted: Sequence[Cell], runs: int) -> None:
        """Make the disks that cannot be made while another hangs: mkfs.btrfs opens all devices with a mounted btrfs."""
        for cell in wanted:
            if cell.fstype == "btrfs":
                self.ahead.setdefault(cell, []).extend(self._make(cell) for _ in range(runs))

    def _fresh(self, cell: Cell) -> Resident:
        with self.door:
            return self.ahead[cell].pop() if self.ahead.get(cell) else self._make(cell)

    def _make(self, cell: Cell) -> Resident:
        return Resident(self.run_dir, self.disks, None, cell.fstype, cell.load, cell.fault.write_probe)

    def _ready(self, resident: Resident) -> None:
        end = time.monotonic() + READY_S
        while resident.word() != "ok":
            if time.monotonic() > end:
                raise LabError(
                    f"a healthy disk is not told to be ok within {READY_S:.0f} s: {resident.word()!r}"
                )
            time.sleep(0.05)

    def _strike(
        self, resident: Resident, cell: Cell, monitors: Mapping[int, ocf.Monitor], chance: random.Random
    ) -> Run:
        phases = [chance.uniform(0, ocf.INTERVAL_S) for _ in monitors]
        struck = time.monotonic()
        resident.hurt(cell.fault)
        with ThreadPoolExecutor(len(monitors)) as pool:
            futures = [
                pool.submit(ocf.detect, one.once, struck, phase, GIVE_UP_S, self._sleep)
                for one, phase in zip(monitors.values(), phases, strict=True)
            ]
            ours = self.ear.first(resident.name, cell.fault.conditions, struck, OURS_S)
            levels = {level: future.result() for level, future in zip(monitors, futures, strict=True)}
        return Run(ours[0] - struck if ours else None, ours[1] if ours else "", levels)


def _monitor(resident: Resident, level: int) -> ocf.Monitor:
    return ocf.Monitor(resident.name, resident.fault.path, str(resident.mountpoint), resident.fstype, level)


def cells(only: str, file_systems: Sequence[str]) -> list[Cell]:
    """What is measured. only: part of a fault's name."""
    return [
        Cell(fault, fstype, load)
        for fstype in file_systems
        for fault in FAULTS
        for load in LOADS
        if fault.name in NAMES and only in fault.name and fault.applies(fstype, load)
    ]


def result(cell: Cell, runs: Sequence[Run]) -> dict[str, Any]:
    """What came of one cell, as plain data."""
    ours = [run.ours for run in runs if run.ours is not None]
    return {
        "fault": cell.fault.name,
        "fs": cell.fstype,
        "load": cell.load,
        "n": len(runs),
        "ours": {
            "median_s": round(statistics.median(ours), 3) if ours else None,
            "longest_s": round(max(ours), 3) if ours else None,
            "missed": len(runs) - len(ours),
            "conditions": sorted({run.condition for run in runs if run.condition}),
        },
        "ocf": {str(level): _level([run.levels[level] for run in runs]) for level in ocf.LEVELS},
    }


def _level(found: Sequence[float | None]) -> dict[str, Any]:
    seen = [one for one in found if one is not None]
    return {
        "mean_s": round(statistics.mean(seen), 1) if seen else None,
        "detected": len(seen),
        "seconds": [None if one is None else round(one, 1) for one in found],
    }


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """The results for people."""
    levels = "".join(f"{f'level {level}':>16}" for level in ocf.LEVELS)
    rows = [f"{'fault':24} {'fs':6} {'load':7}{'ours':>12}{levels}"]
    for one in results:
        ours, n = one["ours"], one["n"]
        mine = f"{ours['median_s']:.2f} s" if not ours["missed"] else f"MISSED {ours['missed']}/{n}"
        theirs = "".join(f"{_words(one['ocf'][str(level)], n):>16}" for level in ocf.LEVELS)
        rows.append(f"{one['fault']:24} {one['fs']:6} {one['load']:7}{mine:>12}{theirs}")
    return "\n".join(rows)


def _words(level: Mapping[str, Any], n: int) -> str:
    if not level["detected"]:
        return "never"
    some = "" if level["detected"] == n else f" ({level['detected']}/{n})"
    return f"{level['mean_s']:.1f} s{some}"


@contextmanager
def _ward() -> Iterator[Ward]:
    require.check(FILE_SYSTEMS, salt=False)
    leftovers.give_back()
    with ExitStack() as stack:
        stack.enter_context(isolated())
        run_dir = stack.enter_context(leftovers.run_directory())
        disks = stack.enter_context(Disks(run_dir, _HANG_LIMIT_S))
        ear = stack.enter_context(Ear(stack.enter_context(Patient.watcher(run_dir))))
        yield Ward(run_dir, disks, ear)


def run(runs: int, jobs: int, seed: int, wanted: Sequence[Cell]) -> list[dict[str, Any]]:
    """Measure every cell some times, several at once, and write the results. Raises LabError, DiskError."""
    with _ward() as ward, ThreadPoolExecutor(jobs) as pool:
        ward.make_ahead(wanted, runs)
        chances = [
            [random.Random(f"{seed} {number} {turn}") for turn in range(runs)]
            for number in range(len(wanted))
        ]
        futures = [
            [pool.submit(ward.measure, cell, chance) for chance in row]
            for cell, row in zip(wanted, chances, strict=True)
        ]
        try:
            results = []
            for cell, row in zip(wanted, futures, strict=True):
                results.append(result(cell, [future.result() for future in row]))
                print(table(results[-1:]).splitlines()[1], file=sys.stderr, flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            ward.stop()
            raise
    about = {"interval_s": ocf.INTERVAL_S, "timeout_s": ocf.TIMEOUT_S, "give_up_s": GIVE_UP_S, "seed": seed}
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({**about, "cells": results}, indent=1) + "\n", encoding="utf-8")
    return results


def main(argv: Sequence[str]) -> int:
    """Measure and write. Returns 1 if our prober missed a fault, 2 if the lab or the agent does not work."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench_ocf", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="runs per cell")
    parser.add_argument("--jobs", type=int, default=16, metavar="N", help="runs at once")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of what chance decides")
    parser.add_argument("--only", default="", metavar="WORD", help="faults whose name has WORD in it")
    parser.add_argument("--fs", choices=FILE_SYSTEMS, action="append", help="file systems; all if left out")
    given = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell has it ignored
    try:
        results = run(given.runs, given.jobs, given.seed, cells(given.only, given.fs or FILE_SYSTEMS))
    except (LabError, DiskError) as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(table(results))
    print(
        f"ours: median; levels: mean of those detected within {GIVE_UP_S:.0f} s; never: not within {GIVE_UP_S:.0f} s"
    )
    return 1 if any(one["ours"]["missed"] for one in results) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
