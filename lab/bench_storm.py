"""Measures a master when the VMs of many resources are powered off at once: build/bench/storm.json.

    python -m lab.bench_storm --resources 10,50,200 [--host]

The vCenter is the lab's, the engine's process, its movers, the journal and the property stream are the product's. The nodes are
in memory (files that the movers share): what they cost must not be mistaken for what the master costs. The way from an event
through Salt's reactor is left out; `make bench` measures it.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.cluster import fingerprint
from lab.faultdisk import ROOT
from lab.storm import Storm
from lab.storm_host import HostStorm

OUT = ROOT / "build" / "bench" / "storm.json"
GOAL_RESOURCES, GOAL_S = 50, 10.0


def run(
    count: int, filler: int, answer_s: float, mount_s: float, kind: Callable[..., Storm] = Storm
) -> dict[str, Any]:
    """Measure one storm."""
    with tempfile.TemporaryDirectory(prefix="vmdk-storm-") as name:
        storm = kind(Path(name), count, filler)
        try:
            pin = fingerprint(storm.vcenter.host, storm.vcenter.port)
            storm.start(storm.options(pin), answer_s, mount_s)
            storm.vcenter.reset()
            began = storm.strike()
            storm.wait_done()
            return _result(storm, began, filler)
        finally:
            storm.close()


def _result(storm: Storm, began: float, filler: int) -> dict[str, Any]:
    ended = storm.told("ended")
    took = sorted(one["when"] - began for one in ended)
    calls = [one["vcenter_calls"] for one in ended]
    return {
        "resources": len(took),
        "other_vms": filler,
        "first_s": round(took[0], 2),
        "median_s": round(statistics.median(took), 2),
        "last_s": round(took[-1], 2),
        "vcenter_calls_each": statistics.median(calls),
        "vcenter_calls_most": max(calls),
        **storm.more(),
        "bad": [one["resource"] for one in ended if one["result"] != "done"] + storm.misplaced(),
    }


def _row(one: Mapping[str, Any]) -> str:
    return (
        f"{one['resources']:4} resources: first {one['first_s']:6.2f} s, median {one['median_s']:6.2f} s, "
        f"last {one['last_s']:6.2f} s; vCenter calls each {one['vcenter_calls_each']:g}, at most {one['vcenter_calls_most']}"
        + (f"; host_fence called {one['host_fence_calls']} times" if "host_fence_calls" in one else "")
        + (f"; NOT WELL: {one['bad']}" if one["bad"] else "")
    )


def main(argv: Sequence[str]) -> int:
    """Measure and write. Returns 1 if a resource did not arrive."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench_storm", description=__doc__.splitlines()[0])
    parser.add_argument("--resources", default="10,50,200", metavar="N,N", help="how many at once")
    parser.add_argument("--filler", type=int, default=0, metavar="N", help="further VMs in the inventory")
    parser.add_argument("--answer-ms", type=float, default=50, help="how long a node's answer takes")
    parser.add_argument("--mount-ms", type=float, default=150, help="how long a mount takes")
    parser.add_argument("--host", action="store_true", help="the ESXi host dies, instead of its VMs")
    given = parser.parse_args(argv)
    kind, out = Storm, OUT
    if given.host:
        kind, out = HostStorm, OUT.with_name("storm-host.json")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results = []
    for count in map(int, given.resources.split(",")):
        results.append(run(count, given.filler, given.answer_ms / 1000, given.mount_ms / 1000, kind))
        print(_row(results[-1]), flush=True)
    print(f"goal: {GOAL_RESOURCES} resources within {GOAL_S:g} s")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 1 if any(one["bad"] for one in results) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
