"""Hurts and heals disks for minutes or hours under the eyes of one prober: make soak-detect.

    python -m lab.soak --minutes 30 --disks 16 --seed 7

Every two seconds a healthy disk gets one of the faults of `make bench-detect`. Nothing may be missed, nothing told of a
healthy disk, and the prober may not grow: build/bench/soak-detect.json, exit status 1 if it is not so.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import leftovers, require
from lab.bench_faults import FAULTS, HANG_TIMEOUT, Fault, Patient
from lab.cell import LabError
from lab.faultdisk import ROOT, DiskError, Disks
from lab.isolation import isolated
from lab.resident import Resident
from lab.soak_court import FAST, SLOW, Case, Court, Injury, figures, growth
from lab.soak_told import told, weigh

sys.path.append(str(ROOT / "_utils"))

from vmdk_failover.guest import watch

OUT = ROOT / "build" / "bench" / "soak-detect.json"
FILE_SYSTEMS = ("ext4", "xfs", "btrfs")
EVERY_S, SAMPLE_S = 2.0, 5.0
#: What the prober takes in the first part of a run says nothing: each kind of fault is met for the first time, and Python takes
#: memory by the megabyte.
WARM_UP_S, WARM_UP_PART = 30.0, 1 / 3
#: What a fault may take beyond the goal of its median before it counts as missed: other disks and people are at work.
GRACE_S = 2.0
#: How much the prober may grow after that, by the straight line through the samples.
ALLOWED = {
    "descriptors": 4.0,
    "threads": 0.5,
    "processes": 0.5,
    "rss_mb": 1.0,
    "pss_mb": 1.0,
    "private_mb": 1.0,
}
_READY_S, _DRAIN_S, _HANG_LIMIT_S = 30.0, 40.0, 30.0
#: True as well where requests fail or the device is not there.
_ALSO = frozenset({"io_error", "fs_error"})


@dataclass(frozen=True)
class Plan:
    """What is to be done. every: seconds between two faults. say: told one line a minute."""

    minutes: float = 30.0
    disks: int = 16
    seed: int = 1
    every: float = EVERY_S
    minute: float = 60.0
    say: Callable[[str], None] = lambda _: None


def injury(resident: Resident, fault: Fault, now: float) -> Injury:
    """What a fault on a disk must lead to."""
    limit = fault.goal(resident.load) / 1000 + GRACE_S
    words = frozenset(fault.conditions)
    also = words | _ALSO if words & {"io_error", "device_gone"} else words
    return Injury(resident.name, fault.name, resident.fstype, resident.load, now, limit, words, also)


@dataclass
class Soak:
    """One soak under way. fast: reads at once, slow: once a second. free: disks that are well."""

    plan: Plan
    residents: dict[str, Resident]
    fast: watch.Watch
    slow: watch.Watch
    pool: ThreadPoolExecutor
    court: Court = field(default_factory=Court)
    samples: list[dict[str, float]] = field(default_factory=list)
    pids: set[int] = field(default_factory=set)
    work: dict[str, tuple[Fault, Future[None]]] = field(default_factory=dict)
    next_slow: float = 0.0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.plan.seed)
        self.resources = {one.name: one.resource for one in self.residents.values()}

    def settle(self) -> None:
        """Wait until the prober has said of all that they are well. Raises LabError."""
        end = time.monotonic() + _READY_S
        while sick := {name: one.word() for name, one in self.residents.items() if one.word() != "ok"}:
            if time.monotonic() > end:
                raise LabError(f"healthy disks are not told to be ok within {_READY_S:.0f} s: {sick}")
            self.fast.poll(self.resources)
            self.slow.poll()
            time.sleep(0.02)

    def hear(self, seconds: float) -> None:
        """Read what is told for some seconds, and judge it."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            self._take(FAST, self.fast.wait(min(0.05, end - now)))
            if now >= self.next_slow:
                self._take(SLOW, self.slow.poll())
                self.next_slow = now + 1.0
            self.court.look(time.monotonic())
            self._go_on()

    def _take(self, reader: str, reports: Sequence[dict[str, Any]]) -> None:
        for one in reports:
            self.court.hear(reader, one["resource"], one["condition"], one["evidence"], time.monotonic())

    def _go_on(self) -> None:
        """Heal what has been told, and note what is healed."""
        for name, (fault, future) in tuple(self.work.items()):
            if not future.done():
                continue
            case, failed = self.court.open[name], _failure(future)
            if failed:
                self.court.problems.append(f"other: {case.injury}: {failed}")
            if case.healing_at > time.monotonic():
                if failed or self.court.may_heal(name):
                    self.court.healing(name, time.monotonic())
                    self.work[name] = (fault, self.pool.submit(self.residents[name].heal, fault))
            else:
                self.court.healed(name, time.monotonic())
                del self.work[name]

    def strike(self) -> None:
        """Hurt a disk that is well, if there is one."""
        well = [one for name, one in self.residents.items() if name not in self.court.open]
        fitting = {one.name: [fault for fault in FAULTS if one.suits(fault)] for one in well}
        names = [name for name, faults in fitting.items() if faults]
        if not names:
            return
        resident = self.residents[self.chance.choice(names)]
        fault = self.chance.choice(fitting[resident.name])
        self.court.struck(injury(resident, fault, time.monotonic()))
        self.work[resident.name] = (fault, self.pool.submit(resident.hurt, fault))

    def run(self) -> None:
        """Hurt, heal and judge for the time of the plan, then wait until all are well."""
        begin = time.monotonic()
        end = begin + self.plan.minutes * 60
        next_sample, next_line, number = begin, begin + self.plan.minute, 1
        while (now := time.monotonic()) < end:
            self.strike()
            self.hear(min(self.plan.every, end - now))
            if now >= next_sample:
                self._sample(now - begin)
                next_sample = now + SAMPLE_S
            if now >= next_line:
                self.plan.say(self._line(number))
                next_line, number = next_line + self.plan.minute, number + 1
        drained = time.monotonic() + _DRAIN_S
        while self.court.open and time.monotonic() < drained:
            self.hear(0.2)
        for case in self.court.open.values():
            self.court.problems.append(f"other: {case.injury} was not over {_DRAIN_S:.0f} s after the end")
        self._sample(time.monotonic() - begin)

    def _sample(self, at: float) -> None:
        living = [one.pid for one in self.fast._processes if one.poll() is None]
        self.pids.update(living)
        if living:
            self.samples.append({"at": at, **weigh(living[-1])})

    def _line(self, number: int) -> str:
        last, cases = self.samples[-1], self.court.closed
        told = sum(FAST in case.told for case in cases)
        return (
            f"minute {number}: {len(cases)} faults over, {told} told; {_blamed(self.court)}; prober"
            f" {last['descriptors']:.0f} descriptors, RSS {last['rss_mb']:.1f} MB, private {last['private_mb']:.1f} MB"
        )

    def result(self, interrupted: bool) -> dict[str, Any]:
        """What came of it, as plain data."""
        warm_up = max(WARM_UP_S, self.plan.minutes * 60 * WARM_UP_PART)
        warm = [one for one in self.samples if one["at"] >= warm_up] or self.samples
        grown = growth(warm, ALLOWED)
        if len(self.pids) > 1:
            self.court.problems.append(
                f"other: the prober did not live through it: {len(self.pids)} of them were seen"
            )
        cases: list[Case] = self.court.closed
        return {
            "ok": not self.court.problems and not interrupted and all(row["ok"] for row in grown.values()),
            "interrupted": interrupted,
            "minutes": round(self.plan.minutes, 2),
            "disks": len(self.residents),
            "seed": self.plan.seed,
            "hang_timeout_s": HANG_TIMEOUT,
            "faults": len(cases),
            "told": sum(FAST in case.told for case in cases),
            "told_to_slow_reader": sum(SLOW in case.told for case in cases),
            **{kind: self.court.count(kind) for kind in ("missed", "false", "lost", "other")},
            "problems": self.court.problems[:100],
            "by_fault": figures(cases),
            "prober": grown,
        }


def _blamed(court: Court) -> str:
    return ", ".join(f"{kind} {court.count(kind)}" for kind in ("missed", "false", "lost", "other"))


def _failure(future: Future[None]) -> str:
    problem = future.exception()
    if isinstance(problem, subprocess.CalledProcessError):
        return f"{problem}: {(problem.stderr or b'').decode(errors='replace').strip()}"
    return repr(problem) if problem is not None else ""


@contextmanager
def prepared(plan: Plan) -> Iterator[Soak]:
    """The disks, mounted and watched; all given back at the end, whatever they do."""
    require.check(FILE_SYSTEMS, salt=False)
    for sentence in leftovers.give_back():
        plan.say(sentence)
    with ExitStack() as stack:
        enter = stack.enter_context
        enter(isolated())
        run_dir = enter(leftovers.run_directory())
        disks = enter(Disks(run_dir, _HANG_LIMIT_S))
        fast = enter(Patient.watcher(run_dir))
        slow = watch.Watch(run_dir / "state", starts=False)
        stack.callback(slow.close)
        residents: dict[str, Resident] = {}
        stack.callback(_close, residents)
        pool = enter(ThreadPoolExecutor(plan.disks))
        stack.callback(_free, residents)  # before the pool is waited for: a worker may be stuck on a disk
        for number in range(plan.disks):
            one = _resident(run_dir, disks, fast, number)
            residents[one.name] = one
            one.admit()
        soak = Soak(plan, residents, fast, slow, pool)
        soak.settle()
        yield soak


def _resident(run_dir: Path, disks: Disks, fast: Any, number: int) -> Resident:
    """Number 0, 3, 6 … ext4, 1, 4 … xfs, 2, 5 … btrfs; idle and active in turn; every third pair with a write probe."""
    load = ("idle", "active")[number % 2]
    return Resident(run_dir, disks, fast, FILE_SYSTEMS[number % 3], load, write_probe=number % 8 in (2, 6))


def _free(residents: dict[str, Resident]) -> None:
    for one in residents.values():
        one.free()


def _close(residents: dict[str, Resident]) -> None:
    for one in residents.values():
        with suppress(OSError, DiskError, subprocess.TimeoutExpired):  # the others must be given back too
            one.close()


def run(plan: Plan) -> dict[str, Any]:
    """Carry out a soak and write its result. Ctrl-C ends it early: what was seen until then is judged."""
    with prepared(plan) as soak:
        interrupted = False
        try:
            soak.run()
        except KeyboardInterrupt:
            interrupted = True
        result = soak.result(interrupted)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def main(argv: Sequence[str]) -> int:
    """Soak. Returns 0 if all was well, 1 if something was missed, false or grew, 2 if the lab does not work."""
    parser = argparse.ArgumentParser(prog="python -m lab.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0, metavar="M", help="how long")
    parser.add_argument("--disks", type=int, default=16, metavar="N", help="how many disks")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of what chance decides")
    parser.add_argument(
        "--every", type=float, default=EVERY_S, metavar="S", help="seconds between two faults"
    )
    given = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell has it ignored
    plan = Plan(
        given.minutes, given.disks, given.seed, given.every, say=lambda words: print(words, flush=True)
    )
    try:
        result = run(plan)
    except (LabError, DiskError) as problem:
        print(f"soak: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(told(result))
    return 130 if result["interrupted"] else 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
