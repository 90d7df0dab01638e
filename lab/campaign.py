"""Kills, hangs and cuts off everybody at every step of every kind of move: make campaign.

    python -m lab.campaign --seed 1 --only 'switchover/*,mover' --minutes 60

Each cell has a lab of its own. Cells that went well are not done again; build/campaign/seed-N.json has one line for each.
Exit status 1 if a record was lost, two nodes had the disk at once, or a resource ended neither active on one node nor held.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from lab import ordeal
from lab.blows import Blow, chosen
from lab.faultdisk import ROOT
from lab.hypervisor import built
from lab.ordeal import Verdict

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
    doubles = f"lost {verdict.lost}, double {verdict.double_holders}+{verdict.double_mounts}"
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
        name: sum(getattr(one, name) for one in found) for name in ("lost", "double_holders", "double_mounts")
    }
    lines.append(", ".join(f"{name} = {value}" for name, value in sums.items()))
    return "\n".join(lines)


def run(
    cells: Sequence[Blow], before: Mapping[str, Verdict], path: Path, seed: int, minutes: float
) -> Iterator[Verdict]:
    """Carry out the cells that have not gone well before, as many as are begun in time, and note each verdict."""
    end = time.monotonic() + minutes * 60
    for cell in cells:
        known = before.get(str(cell))
        if known is not None and known.ok:
            continue
        if time.monotonic() >= end:
            return
        verdict = ordeal.run(cell, seed)
        note(path, verdict)
        yield verdict


def main(argv: Sequence[str]) -> int:
    """Carry out a campaign. Returns 0 if every cell that was done went well, 1 if not, 2 if none fits."""
    parser = argparse.ArgumentParser(prog="python -m lab.campaign", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the order and the moments")
    parser.add_argument(
        "--only", default="", metavar="PATTERN,…", help="kind/step/point/victim, or one of the words"
    )
    parser.add_argument("--minutes", type=float, default=1e6, metavar="M", help="begin no cell after so long")
    parser.add_argument("--again", action="store_true", help="forget what was done with this seed")
    parser.add_argument("--list", action="store_true", help="print the names of the cells")
    given = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell has it ignored
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
    interrupted = False
    try:
        for verdict in run(cells, done(path), path, given.seed, given.minutes):
            print(line(verdict), flush=True)
    except KeyboardInterrupt:
        interrupted = True
    verdicts = [one for name, one in done(path).items() if name in set(map(str, cells))]
    print(summary(verdicts, len(cells)))
    return 130 if interrupted else 0 if all(one.ok for one in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
