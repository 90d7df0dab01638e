"""This product and a cluster of Pacemaker, struck by the same faults on the same disks: make bench-peers.

    python -m lab.peers --runs 3 --only hang

Both have two nodes of the lab, the lab's vCenter, a disk with ext4 and a service that writes. Both have their defaults:
here node_timeout 15, hang_timeout 10; there Corosync's token of 3 s, Filesystem at check level 20 every 20 s. A second row
is this product with node_timeout 3, hang_timeout 1. All is in build/bench/peers.json, with the documented defaults of
further products; when and on what it was measured, and with each run how busy the machine was.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from lab import product, trial
from lab.cell import LabError
from lab.faultdisk import ROOT, DiskError
from lab.peers import cib, documented, measure, pacemaker, report
from lab.peers.faults import FAULTS, Fault
from lab.scenarios import DISK, FIRST, SCENARIOS, SECOND

OUT = ROOT / "build" / "bench" / "peers.json"
HERE, TUNED, THERE = "here, defaults", "here, node 3 s, hang 1 s", "Pacemaker"
#: Where the options make no difference, this product is measured once.
_TUNED_FAULTS = ("hang", "freeze", "network cut")
_INTERVAL_S = 20.0


def say(words: str) -> None:
    """Tell whoever waits."""
    print(words, file=sys.stderr, flush=True)


def one_round(faults: Sequence[Fault], chance: random.Random, done: Callable[[measure.Result], None]) -> None:
    """Every fault once under every product."""
    for fault in faults:
        done(measure.ours(fault, measure.DEFAULTS, HERE, say))
        if fault.name in _TUNED_FAULTS:
            done(measure.ours(fault, measure.TUNED, TUNED, say))
        done(measure.theirs(fault, chance.uniform(0.0, _INTERVAL_S), say))


def idle(seconds: float) -> dict[str, dict[str, float]]:
    """CPU while all is well (ms/s), and how many values an administrator writes."""
    say(f"idle: {seconds:.0f} s each")
    plan = SCENARIOS["switchover"]
    with trial.prepared(plan, trial.Settings(hang_limit=measure.HANG_S)) as lab:
        cells = {name: lab.nodes[name].cell for name in (FIRST, SECOND)}
        here = measure.idle({**cells, "master": lab.master.cell}, lab, seconds)
        here["values"] = float(_values(lab))
    with measure.cluster_lab() as lab, pacemaker.Cluster(lab) as cluster:
        measure.settled(lab)
        there = measure.idle({name: lab.nodes[name].cell for name in (FIRST, SECOND)}, lab, seconds)
        lines = pacemaker.COROSYNC.count(": ")
        there["values"] = float(cib.written(cluster.settings) + lines)
    return {HERE: here, THERE: there}


def _values(lab: Any) -> int:
    """What an administrator writes here: the master's file, without what `protect` finds out, and its arguments."""
    options = product.master_options(lab, {DISK: {}})
    written = {**options, "vmdk": {"vcenter": options["vmdk"]["vcenter"]}}
    protect = ("name", "node", "mountpoint", "backups", "services")
    return _leaves(written) + len(protect)


def _leaves(value: Any) -> int:
    if isinstance(value, Mapping):
        return sum(_leaves(one) for one in value.values()) if value else 1
    if isinstance(value, list | tuple):
        return sum(_leaves(one) for one in value)
    return 1


def machine() -> dict[str, Any]:
    """When the measurement begins (UTC, ISO 8601) and on what: the kernel, how many processors this process may use."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "kernel": platform.release(),
        "processors": len(os.sched_getaffinity(0)),
        "load_at_start": measure.load(),
    }


def _write(
    results: Sequence[measure.Result], cost: Mapping[str, Any], seed: int, where: Mapping[str, Any]
) -> None:
    words = {
        "seed": seed,
        "machine": where,
        "versions": _versions(),
        "rows": report.rows(results),
        "idle_ms_per_s_and_values": cost,
        "documented": [row.plain() for row in documented.ROWS],
        "runs": [one.plain() for one in results],
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(words, indent=1) + "\n", encoding="utf-8")


def _versions() -> dict[str, str]:
    names = ("pacemaker", "corosync", "resource-agents")
    form = "${Package} ${Version}\n"
    shown = subprocess.run(
        ["dpkg-query", "--show", f"--showformat={form}", *names], capture_output=True, text=True, check=False
    )
    return dict(line.split(" ", 1) for line in shown.stdout.splitlines())


def run(runs: int, seed: int, faults: Sequence[Fault], idle_s: float) -> list[measure.Result]:
    """Measure all, and write after each. Raises LabError, DiskError."""
    chance = random.Random(seed)
    where = machine()
    results: list[measure.Result] = []
    cost: dict[str, Any] = idle(idle_s) if idle_s else {}

    def done(result: measure.Result) -> None:
        results.append(result)
        _write(results, cost, seed, where)

    for number in range(runs):
        say(f"round {number + 1} of {runs}")
        one_round(faults, chance, done)
    print(report.table(results))
    print(
        "< had the service back first; back: median, from the fault to the first record that was safe again;"
        " load: of the minute before each run, before its lab was begun"
    )
    print(f"{where['date']}, Linux {where['kernel']}, {where['processors']} processors")
    if cost:
        print("\nCPU while all is well, ms/s; values that an administrator writes")
        print(report.idle_table(cost))
    print(f"\nFrom the documents of others\n{documented.table()}")
    return results


def main(argv: Sequence[str]) -> int:
    """Returns 1 if a product lost data, had the disk twice or nobody saw, or this one did not recover; 2 if the lab fails."""
    parser = argparse.ArgumentParser(prog="python -m lab.peers", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="rounds")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of what chance decides")
    parser.add_argument("--only", default="", metavar="WORD", help="faults whose name has WORD in it")
    parser.add_argument(
        "--idle", type=float, default=60.0, metavar="S", help="seconds of rest; 0: not measured"
    )
    given = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        chosen = [fault for fault in FAULTS if given.only in fault.name]
        results = run(given.runs, given.seed, chosen, given.idle)
    except (LabError, DiskError) as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    bad = [one for one in results if one.lost != 0 or one.doubles != 0]
    return 1 if bad or any(one.back_s is None for one in results if one.product != THERE) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
