"""
Histories by the thousand, in as many processes as there are cores; the first bad one is told in full, and made small.

Seeds are worked off in blocks, each by one process; a finished block is written down, so that a long campaign goes on where it
was ended: ``python -m tests.core.campaign --histories 1000000 --state build/soak.json`` (``make soak``).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from tests.core import shrink
from tests.core.histories import history

BLOCK = 500
LINE_EVERY = 10.0
PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass
class Tally:
    """
    What a campaign has come to.

    :ivar done: first seeds of the blocks that were worked off without a bad history.
    :ivar bad: seeds of bad histories.
    """

    done: set[int] = field(default_factory=set)
    bad: list[int] = field(default_factory=list)


def block(first: int, size: int = BLOCK) -> int | None:
    """The first bad seed of a block; ``None`` is the good answer."""
    return next((seed for seed in range(first, first + size) if history(seed).faults), None)


def cores() -> int:
    return len(os.sched_getaffinity(0))


def run(
    histories: int, tally: Tally, report: Callable[[Tally], None] = lambda tally: None, first: int = 0
) -> Tally:
    """Work off all blocks that are not done yet; ends early at a bad history."""
    left = iter([b for b in range(first, first + histories, BLOCK) if b not in tally.done])
    with ProcessPoolExecutor(cores(), multiprocessing.get_context("fork"), _alone, (os.getpid(),)) as pool:
        running: dict[Future[int | None], int] = {}
        while not tally.bad:
            for start in _some(left, 2 * cores() - len(running)):
                running[pool.submit(block, start)] = start
            if not running:
                break
            for one in wait(running, return_when=FIRST_COMPLETED).done:
                start, bad = running.pop(one), one.result()
                tally.done.add(start) if bad is None else tally.bad.append(bad)
            report(tally)
        pool.shutdown(cancel_futures=True)
    return tally


def _some(blocks: Iterator[int], count: int) -> Iterator[int]:
    for _ in range(count):
        with contextlib.suppress(StopIteration):
            yield next(blocks)


def _alone(parent: int) -> None:
    """Ctrl-C is the parent's to handle; when the parent ends, however it does and as soon as it may, so does the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


class Book:
    """
    Where a campaign writes down how far it is, and tells it.

    What was done with another product proves nothing, so the book knows by which sources it was made.
    """

    def __init__(self, path: Path, histories: int) -> None:
        self.path, self.histories = path, histories
        self.began = self.told = time.monotonic()
        self.source = source()
        self.before = 0

    def read(self) -> Tally:
        """What was done before, by the same sources."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            plain = json.loads(self.path.read_text(encoding="utf-8"))
            if plain["source"] == self.source and plain["block"] == BLOCK:
                self.before = len(plain["done"])
                return Tally(set(plain["done"]))
        return Tally()

    def write(self, tally: Tally) -> None:
        """Keep it, whole or not at all, and tell it now and then."""
        plain = {"source": self.source, "block": BLOCK, "done": sorted(tally.done), "bad": tally.bad}
        fresh = self.path.with_suffix(".new")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(json.dumps(plain), encoding="utf-8")
        fresh.replace(self.path)
        if time.monotonic() - self.told > LINE_EVERY or tally.bad:
            self.told = time.monotonic()
            print(self.line(tally), flush=True)

    def line(self, tally: Tally) -> str:
        """One line for people."""
        count, took = len(tally.done) * BLOCK, max(0.001, time.monotonic() - self.began)
        speed = (len(tally.done) - self.before) * BLOCK / took
        return (
            f"{count} of {self.histories} histories, {len(tally.bad)} bad, {speed:.0f}/s on {cores()} cores"
        )


def source() -> str:
    """Digest of the product's judgement and of the simulation."""
    root = Path(__file__).resolve().parent.parent.parent
    places = ["_utils/vmdk_failover/**/*.py", "tests/core/*.py", "tests/doubles/*.py"]
    digest = hashlib.sha256()
    for path in sorted(path for place in places for path in root.glob(place)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def main() -> int:
    """Exit code 1 if there is a bad history, 0 if there is none."""
    options = argparse.ArgumentParser(
        description="Histories of a world with faults; ends at the first bad one."
    )
    options.add_argument("--histories", type=int, default=1_000_000)
    options.add_argument("--first", type=int, default=0, help="first seed")
    options.add_argument(
        "--state", type=Path, default=Path("build/soak.json"), help="how far it is; goes on there"
    )
    options.add_argument("--anew", action="store_true", help="begin at the beginning")
    args = options.parse_args()
    book = Book(args.state, args.histories)
    tally = Tally() if args.anew else book.read()
    try:
        run(args.histories, tally, book.write, args.first)
    except KeyboardInterrupt:
        print(f"ended at {book.line(tally)}; the same command goes on there")
        return 130
    print(book.line(tally))
    if not tally.bad:
        return 0
    print(shrink.told(min(tally.bad)))
    return 1


if __name__ == "__main__":
    sys.exit(main())
