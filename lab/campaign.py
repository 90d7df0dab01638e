"""Kills, hangs and cuts off everybody at every step of every kind of move: make campaign.

    python -m lab.campaign --seed 1 --only 'switchover/*,mover' --minutes 60

A lab serves many cells; between two of them it is brought back to a starting point, which is checked, or built anew.
Cells that went well are not done again; build/campaign/seed-N.json has one line for each, build/campaign/seed-N.html shows them.
--minutes 0 does none and only writes that page anew.
Exit status 1 if a record was lost, two nodes had the disk at once, or a resource ended neither active on one node nor held.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab import linux, ordeal
from lab.blows import Blow, chosen
from lab.campaign_page import page
from lab.faultdisk import ROOT
from lab.hypervisor import built
from lab.ordeal import Verdict
from lab.stage import Stages

PLACE = ROOT / "build" / "campaign"


def done(path: Path) -> dict[str, Verdict]:
    """The verdicts of a file; of a cell that was done again, the last. A torn last line is no verdict."""
    found: dict[str, Verdict] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            verdict = Verdict(**json.loads(line))
        except (ValueError, TypeError):
            continue
        found[verdict.cell] = verdict
    return found


def note(path: Path, verdict: Verdict) -> None:
    """Add a verdict to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torn = path.exists() and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" * torn + json.dumps(verdict.plain()) + "\n")


def line(verdict: Verdict) -> str:
    """A verdict for people."""
    word = "ok" if verdict.ok else "FAILED"
    doubles = f"lost {verdict.lost}, damaged {verdict.damaged}, double {verdict.double_holders}+{verdict.double_mounts}"
    times = f"struck after {verdict.struck_ms} ms, {verdict.service_ms / 1000:.1f} s without service"
    return (
        f"{word:6} {verdict.cell:44} {verdict.end} {verdict.where}; {doubles}; {times}; {verdict.took_s} s"
        + (f"; {verdict.note}" if verdict.note else "")
    )


def summary(verdicts: Iterable[Verdict], cells: int) -> str:
    """All verdicts in a few lines."""
    found = list(verdicts)
    ends = {end: sum(one.end == end for one in found) for end in ("active", "held", "missed", "lost")}
    longest = max(found, key=lambda one: one.service_ms, default=None)
    counts = ", ".join(f"{count} {end}" for end, count in ends.items())
    lines = [f"{len(found)} of {cells} cells done: {counts}; {sum(not one.ok for one in found)} failed"]
    if longest is not None:
        lines.append(f"longest time without service: {longest.service_ms / 1000:.1f} s ({longest.cell})")
    sums = {
        name: sum(getattr(one, name) for one in found)
        for name in ("lost", "damaged", "double_holders", "double_mounts")
    }
    lines.append(", ".join(f"{name} = {value}" for name, value in sums.items()))
    return "\n".join(lines)


def left(cells: Iterable[Blow], before: Mapping[str, Verdict]) -> list[Blow]:
    """The cells that have not gone well before; those that can share a lab follow each other."""
    found = [cell for cell in cells if not (str(cell) in before and before[str(cell)].ok)]
    return sorted(found, key=lambda cell: sorted(ordeal.policy(cell).items()), reverse=True)


def _say(sentence: str) -> None:
    print(f"       {sentence}", flush=True)


def run(cells: Iterable[Blow], path: Path, seed: int, minutes: float) -> Iterator[Verdict]:
    """Carry out cells, as many as are begun in time, and note each verdict."""
    end = time.monotonic() + minutes * 60
    with Stages(_say) as stages:
        for cell in cells:
            if time.monotonic() >= end:
                return
            verdict = ordeal.landed(cell, seed, stages)
            note(path, verdict)
            yield verdict


def _work(place: int, cells: Sequence[Blow], taken: Any, path: Path, seed: int, minutes: float) -> None:
    """Be lab number `place` of several: take cells until there are none. taken: how many were taken from either end."""
    linux.die_with_parent(signal.SIGTERM)
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C reaches all; who started this one ends it
    for verdict in run(_take(cells, taken, place % 2), path, seed, minutes):
        print(line(verdict), flush=True)


def _take(cells: Sequence[Blow], taken: Any, end: int) -> Iterator[Blow]:
    """Cells from the beginning or from the end, so that two labs seldom need the same options."""
    while True:
        with taken.get_lock():
            if sum(taken) >= len(cells):
                return
            number = taken[end]
            taken[end] += 1
        yield cells[-1 - number if end else number]


def share_out(cells: Sequence[Blow], jobs: int, path: Path, seed: int, minutes: float) -> bool:
    """Carry out cells in `jobs` labs at once. Returns whether all labs ended by themselves."""
    fork = multiprocessing.get_context("fork")
    taken = fork.Array("i", [0, 0])
    arguments = (cells, taken, path, seed, minutes)
    labs = range(min(jobs, len(cells)))
    workers = [fork.Process(target=_work, args=(place, *arguments)) for place in labs]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    except BaseException:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()
        raise
    return not any(worker.exitcode for worker in workers)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab.campaign", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--seed", type=int, default=1, metavar="N", help="of the order and the moments")
    add("--only", default="", metavar="PATTERN,…", help="kind/step/point/victim, or one of the words")
    add(
        "--minutes",
        type=float,
        default=1e6,
        metavar="M",
        help="begin no cell after so long; 0: only the page",
    )
    add("--jobs", type=int, default=1, metavar="N", help="so many labs at once")
    add("--again", action="store_true", help="forget what was done with this seed")
    add("--list", action="store_true", help="print the names of the cells")
    add("--random", action="store_true", help="random faults instead; --only then has numbers: 17,20-25")
    add(
        "--nodes",
        choices=("namespaces", "qemu"),
        default="namespaces",
        help="of random ones; qemu: guests under emulation, with kernels and SCSI controllers of their own",
    )
    add(
        "--count",
        type=int,
        default=0,
        metavar="N",
        help="so many random ones; without it as many as there is time",
    )
    return parser


def main(argv: Sequence[str]) -> int:
    """Carry out a campaign. Returns 0 if every cell that was done went well, 1 if not, 2 if none fits."""
    given = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell has it ignored
    if given.random:
        from lab.ordeals import run as random_ones

        return random_ones.main(given)
    if given.nodes != "namespaces":
        print(f"campaign: --nodes {given.nodes} is for random faults; add --random", file=sys.stderr)
        return 2
    cells, path = chosen(given.only, given.seed), PLACE / f"seed-{given.seed}.json"
    if given.list:
        print("\n".join(map(str, cells)))
        return 0
    if not cells:
        print(f"campaign: no cell fits {given.only!r}; --list shows them all", file=sys.stderr)
        return 2
    if given.again:
        path.unlink(missing_ok=True)
    built()
    interrupted, whole = False, True
    try:
        whole = share_out(left(cells, done(path)), given.jobs, path, given.seed, given.minutes)
    except KeyboardInterrupt:
        interrupted = True
    everything = done(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".html").write_text(page(given.seed, everything.values()), encoding="utf-8")
    verdicts = [one for name, one in everything.items() if name in set(map(str, cells))]
    print(summary(verdicts, len(cells)))
    print(path.with_suffix(".html"))
    return 130 if interrupted else 0 if whole and all(one.ok for one in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
