"""From the prober's word to the master's bus, and what hung disks do to a minion: make bench-bus.

    python -m lab.bench_bus --runs 25

A real master and minions; nothing reacts to the events, so nothing moves. Times of events count from the moment that the
prober put down its word (`since` of the report). Beacon calls are timed in the minion itself: validation and call together.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lab import product
from lab.bus_calls import TIMER, Call, parse_calls, row, table
from lab.cell import LabError
from lab.cluster import Lab
from lab.events import Event
from lab.faultdisk import ROOT
from lab.linux import wait_until
from lab.wishes import DiskWish, Wishes

OUT = ROOT / "build" / "bench" / "bus.json"
NODE = "labdb1"
ENGINE, BEACON = "vmdk/{0}/{1}", f"salt/beacon/{NODE}/vmdk/{{0}}/{{1}}"
ENGINE_GOAL_MS, BEACON_GOAL_MS, PING_GOAL_MS, CALL_GOAL_MS = 40.0, 1050.0, 100.0, 10.0
HUNG, _HANG_LIMIT_S, _WAIT_S, _UP_S = 16, 150.0, 5.0, 60.0
#: Unit 7 is the controller's; on bus 0, unit 0 is the node's own disk.
_SLOTS = [*((1, unit) for unit in range(64) if unit != 7), (0, 1)]


def _names(count: int) -> list[str]:
    return [f"d{number}" for number in range(count)]


def _wishes(count: int, engine: bool) -> Wishes:
    disks = tuple(
        DiskWish(name, "ext4", 16, bus, unit)
        for name, (bus, unit) in zip(_names(count), _SLOTS, strict=False)
    )

    def master(lab: Lab) -> dict[str, Any]:
        calls = lab.run_dir / "n" / NODE / "salt/extmods/beacons/vmdk.py"
        calls.write_text(
            calls.read_text(encoding="utf-8") + TIMER, encoding="utf-8"
        )  # before the minion starts
        options = product.master_options(lab, {name: {} for name in _names(count)})
        options["vmdk"]["defaults"] = {"hang_timeout": 1, "probe_interval": 1}
        return {key: options[key] for key in ("vmdk", "ext_pillar")}

    return Wishes(
        disks=disks,
        hang_limit=_HANG_LIMIT_S,
        master_overrides=master,
        minion_overrides=product.minion_options if engine else {},
    )


@dataclass(frozen=True)
class Bench:
    """A lab whose first node has all its disks mounted, and watched."""

    lab: Lab
    count: int
    engine: bool

    @property
    def title(self) -> str:
        """What the rows of this lab have in common."""
        return (
            f"{self.count} disk{'s' if self.count > 1 else ''}, {'engine' if self.engine else 'beacon alone'}"
        )

    def told(self, form: str, disk: str, condition: str, since: float) -> Event:
        """Wait for an event. Raises LabError."""
        tag = form.format(disk, condition)
        if event := self.lab.master.events.wait(tag, _WAIT_S, since):
            return event
        raise LabError(f"{tag} did not come within {_WAIT_S:.0f} s; see the minion's log")

    def all_told(self, condition: str, disks: Sequence[str], since: float, seconds: float = _UP_S) -> None:
        """Wait until the beacon has told the same of some disks. Raises LabError."""
        events = self.lab.master.events
        tags = {BEACON.format(disk, condition) for disk in disks}
        missing = lambda: tags - {one.tag for one in events.seen(f"salt/beacon/{NODE}/vmdk/*", since)}  # noqa: E731
        if not wait_until(lambda: not missing(), seconds, 0.1):
            raise LabError(f"not told within {seconds:.0f} s: {sorted(missing())}")

    def shell(self, script: str) -> None:
        """Run a script on the node. Raises LabError."""
        done = self.lab.nodes[NODE].run(["sh", "-ec", script], 30)
        if done.code:
            raise LabError(f"{script}: {done.err.strip()}")

    def up(self) -> None:
        """Mount all disks, and wait until they are told to be well."""
        began = time.monotonic()
        self.all_told("unmounted", _names(self.count), 0.0)
        for name in _names(self.count):
            self.shell(f"mkdir -p {self.lab.mountpoint(name)}; {self._mount(name)}")
        self.all_told("ok", _names(self.count), began)

    def latencies(self, runs: int, chance: random.Random) -> list[dict[str, Any]]:
        """From the prober's word to the bus: unmount a disk and mount it, again and again."""
        forms = {"engine": ENGINE, "beacon": BEACON} if self.engine else {"beacon": BEACON}
        goals = {"engine": ENGINE_GOAL_MS, "beacon": BEACON_GOAL_MS}
        took: dict[str, list[float]] = {name: [] for name in forms}
        for _ in range(runs):
            time.sleep(1 + chance.random())  # anywhere between two calls of the beacon
            for script, condition in (
                (f"umount {self.lab.mountpoint('d0')}", "unmounted"),
                (self._mount("d0"), "ok"),
            ):
                began = time.monotonic()
                self.shell(script)
                for name, form in forms.items():
                    event = self.told(form, "d0", condition, began)
                    if condition == "unmounted":
                        took[name].append(_age_ms(event))
        return [
            row(f"to the master's bus by the {name} ({self.title})", took[name], goals[name])
            for name in forms
        ]

    def _mount(self, disk: str) -> str:
        link = f"/dev/disk/by-id/wwn-0x{self.lab.disks[disk].uuid.replace('-', '')}"
        return f"mount -o noatime {link} {self.lab.mountpoint(disk)}"

    def ping(self) -> float:
        """Milliseconds until the minion has answered. Raises LabError."""
        began = time.monotonic()
        if self.lab.master.local(NODE, "test.ping", seconds=10) is not True:
            raise LabError("the minion does not answer test.ping within 10 s")
        return (time.monotonic() - began) * 1000

    def calls(self, since: float) -> list[Call]:
        """The beacon's calls from a moment on."""
        path = self.lab.run_dir / "shared" / "beacon-calls"
        return [call for call in parse_calls(path.read_text(encoding="utf-8")) if call.at >= since]

    @contextmanager
    def hanging(self, disks: Sequence[str]) -> Iterator[None]:
        """Some disks hang, each with a writer that is stuck in it."""
        began = time.monotonic()
        for name in disks:
            self.lab.fault(NODE, name, "all=hang")
            self.lab.nodes[NODE].cell.start(
                ["dd", "if=/dev/zero", f"of=/srv/{name}/stuck", "bs=4k", "count=1", "conv=fsync"]
            )
        try:
            self.all_told("hung", disks, began)
            yield
        finally:
            for name in disks:
                self.lab.fault(NODE, name, "ok")

    def beacon_row(self, what: str, since: float) -> dict[str, Any]:
        """How long the beacon's calls have taken since a moment; the longest counts."""
        calls = self.calls(since)
        more = {
            "longest": True,
            "longest_wall_ms": round(max((call.wall_ms for call in calls), default=0.0), 2),
            "longest_cpu_ms": round(max((call.cpu_ms for call in calls), default=0.0), 2),
        }
        own = [call.own_ms for call in calls]
        return row(f"call of the beacon, {what} ({self.title})", own, CALL_GOAL_MS, **more)


def _age_ms(event: Event) -> float:
    offset = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
    report = event.data.get("data", event.data)  # an engine's event has its data one level deeper
    return (event.monotonic + offset - float(report["since"])) * 1000


def _measure(bench: Bench, runs: int, seconds: float, chance: random.Random) -> list[dict[str, Any]]:
    results = bench.latencies(runs, chance) if bench.count <= HUNG else []
    began = time.monotonic()
    pings = _for(bench, runs, seconds)
    results.append(bench.beacon_row("all well", began))
    if bench.count < HUNG:
        return results
    names = _names(HUNG)
    with bench.hanging(names):
        began = time.monotonic()
        late = _for(bench, runs, seconds)
        results.append(bench.beacon_row(f"{HUNG} hang", began))
    usual = statistics.median(pings)
    results.append(row(f"test.ping, all well ({bench.title})", pings, usual))
    results.append(row(f"test.ping, {HUNG} hang ({bench.title})", late, round(usual + PING_GOAL_MS, 2)))
    bench.all_told("ok", names, began)
    return results


def _for(bench: Bench, runs: int, seconds: float) -> list[float]:
    """Answer times of some questions, spread over at least some seconds."""
    end = time.monotonic() + seconds
    found = []
    while len(found) < runs or time.monotonic() < end:
        found.append(bench.ping())
        time.sleep(max(0.0, seconds / runs - found[-1] / 1000))
    return found


def run(runs: int, seconds: float, seed: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Measure in three labs, write and return the results. Raises LabError."""
    results = []
    for count, engine in ((HUNG, True), (1, False), (64, False)):
        with Lab(_wishes(count, engine), say) as lab:
            bench = Bench(lab, count, engine)
            say(f"{bench.title}: the lab is up")
            bench.up()
            found = _measure(bench, runs, seconds, random.Random(seed))
        say(table(found))
        results += found
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return results


def main(argv: Sequence[str]) -> int:
    """Measure and write. Returns 1 if a goal was missed, 2 if the lab does not work."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench_bus", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=25, metavar="N", help="events and questions of each kind")
    parser.add_argument(
        "--seconds", type=float, default=30.0, metavar="S", help="how long the beacon's calls are timed"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of what chance decides")
    given = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell has it ignored
    try:
        results = run(
            given.runs, given.seconds, given.seed, lambda words: print(words, file=sys.stderr, flush=True)
        )
    except LabError as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(table(results))
    return 0 if all(one["ok"] for one in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
