"""What grows with the number of nodes and resources, and how: build/bench/scale.json.

    python -m lab.bench_scale --resources 100,300,1000 --vms 10000

Two nodes for each resource. Measured are processor time, memory, calls of the vCenter and time of the product's own
processes; the vCenter is the lab's, the nodes are files (an answer takes 50 ms), the event bus is Salt's. `--part` takes
one part alone.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lab import scale_parts, scale_world
from lab.faultdisk import ROOT

OUT = ROOT / "build" / "bench" / "scale.json"
PARTS = ("input", "bus", "world")


def say(words: str) -> None:
    """Tell whoever waits."""
    print(words, flush=True)


def _input(given: argparse.Namespace) -> list[dict[str, Any]]:
    return [scale_parts.engine_input(count) for count in given.resources]


def _bus(given: argparse.Namespace) -> list[dict[str, Any]]:
    return [scale_parts.bus(2 * count, given.seconds) for count in given.resources]


def _world(given: argparse.Namespace) -> list[dict[str, Any]]:
    return [
        scale_world.run(count, max(0, given.vms - 2 * count), given.seconds, max(1, count // 20), say)
        for count in given.resources
    ]


MEASURES: Mapping[str, Callable[[argparse.Namespace], list[dict[str, Any]]]] = {
    "input": _input,
    "bus": _bus,
    "world": _world,
}


def main(argv: Sequence[str]) -> int:
    """Measure and write. Returns 1 if a resource did not arrive where it should."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench_scale", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--resources", type=lambda text: [int(one) for one in text.split(",")], default=[100, 300, 1000], metavar="N,N"
    )  # fmt: skip
    parser.add_argument("--vms", type=int, default=10_000, metavar="N", help="VMs in the inventory")
    parser.add_argument(
        "--seconds", type=float, default=60.0, metavar="S", help="how long the rest is measured"
    )
    parser.add_argument("--part", choices=PARTS, action="append", help="all if left out")
    given = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    found: dict[str, Any] = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {}
    for part in given.part or PARTS:
        rows = MEASURES[part](given)
        found[part] = {"load": os.getloadavg(), "rows": rows}
        for row in rows:
            say(f"{part:6} " + ", ".join(f"{name} {value}" for name, value in row.items()))
        OUT.parent.mkdir(parents=True, exist_ok=True)
        OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 1 if any(row.get("bad") for row in found.get("world", {}).get("rows", ())) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
