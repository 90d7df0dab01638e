"""Play the stories of the random campaign, note each verdict, write the report: make campaign ARGS='--random --seed 1'.

With `--nodes qemu` they are played on emulated guests, with what only kernels of their own can show.
Ordeals of one block share a lab. Those that went well are not played again; `--only 17` plays one, whatever it was before.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from multiprocessing import Process, SimpleQueue
from pathlib import Path

from lab import linux
from lab.faultdisk import ROOT
from lab.hypervisor import built
from lab.ordeals import report
from lab.ordeals.catalogue import told_to
from lab.ordeals.clock import turnable
from lab.ordeals.court import Verdict, suffer
from lab.ordeals.story import BLOCK, Story, stage
from lab.ordeals.strikers import EXPECTED, mistake
from lab.qemu.guests import Guests
from lab.stage import Stage

PLACE = ROOT / "build" / "campaign"
#: Without --count; with --minutes, as many as there is time.
COUNT, MANY = 300, 100_000
NAMESPACES = "namespaces"


def numbers(text: str) -> list[int]:
    """Read 17 or 17,20-25. Raises ValueError."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        found += range(int(first), int(last or first) + 1)
    if not found or min(found) < 1:
        raise ValueError(f"{text!r} names no ordeal; they count from 1")
    return found


def done(path: Path) -> dict[int, Verdict]:
    """The verdicts of a file; of an ordeal that was played again, the last.

    A torn last line is no verdict, nor is one that does not say what struck: that ordeal is played again.
    """
    found: dict[int, Verdict] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with suppress(ValueError, TypeError):
            plain = json.loads(line)
            if "struck" not in plain:
                continue
            lists = {key: tuple(value) for key, value in plain.items() if isinstance(value, list)}
            verdict = Verdict(**{**plain, **lists})
            found[verdict.number] = verdict
    return found


def note(path: Path, verdict: Verdict) -> None:
    """Add a verdict to a file, whole or not at all, also where several labs write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        file.write(b"\n" + json.dumps(verdict.plain()).encode() + b"\n")


def line(verdict: Verdict, seed: int, nodes: str = NAMESPACES) -> str:
    """A verdict for people; of one that failed, with how to play it again."""
    doubles = f"lost {verdict.lost}, damaged {verdict.damaged}, double {verdict.double_holders}+{verdict.double_mounts}"
    rule = f" (rule {verdict.rule})" if verdict.rule else ""
    word = "ok" if verdict.ok else "missed" if verdict.is_missed else "FAILED"
    words = (
        f"{word:6} {verdict.number:4} {verdict.end}: {verdict.where}{rule}; {doubles}; "
        f"{verdict.service_ms / 1000:.1f} s without service; {verdict.took_s:.0f} s; {verdict.story}"
    )
    if verdict.ok:
        return words
    kind = "" if nodes == NAMESPACES else f" --nodes {nodes}"
    again = f"make campaign ARGS='--random{kind} --seed {seed} --only {verdict.number}'"
    return f"{words}\n       {verdict.stage}\n       {verdict.note}\n       again: {again}"


def play(stories: Sequence[Story], seed: int, end: float, nodes: str = NAMESPACES) -> Iterator[Verdict]:
    """Play stories, those of one block in one lab as long as that can be brought back to its start; none begins after `end`.

    nodes: namespaces or qemu.
    """
    for block, part in groupby(stories, key=lambda one: one.block):
        left = list(part)
        while left and time.monotonic() < end:
            yield from _in_one_lab(left, seed, block, end, nodes)


def _in_one_lab(left: list[Story], seed: int, block: int, end: float, nodes: str) -> Iterator[Verdict]:
    """Play from the front of `left` and take away what was played, until a lab cannot be used again."""
    wanted, guests = stage(seed, block), Guests() if nodes == "qemu" else None
    if guests is not None:
        wanted = replace(wanted, policy=guests.policy(wanted.policy))
    words = json.dumps(wanted.plain())
    try:
        with turnable(), Stage(wanted.policy, wanted.delays, wanted.fstype, guests) as place:
            place.restore()
            while left and time.monotonic() < end:
                verdict = suffer(place, left[0])
                left.pop(0)
                yield replace(verdict, stage=words)
                if not verdict.ok:
                    return
    except Exception as problem:
        why = f"the lab failed: {problem}"
        if not isinstance(problem, EXPECTED):
            traceback.print_exc()
            why = mistake(problem)
        if left:
            failed = left.pop(0)
            names = tuple(one.fault for one in failed.blows)
            yield Verdict(failed.number, str(failed), names, False, "missed", why, stage=words)


def work(queue: SimpleQueue[list[int]], path: Path, seed: int, end: float, nodes: str) -> None:
    """Be one of several labs: take blocks of numbers until an empty one comes; begin no ordeal after moment `end`."""
    linux.die_with_parent(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with suppress(KeyboardInterrupt):
        while block := queue.get():
            for verdict in play([told_to(nodes, seed, one) for one in block], seed, end, nodes):
                note(path, verdict)
                print(line(verdict, seed, nodes), flush=True)


def share_out(
    chosen: Sequence[int], jobs: int, path: Path, seed: int, minutes: float, nodes: str = NAMESPACES
) -> bool:
    """Play ordeals in `jobs` labs at once. Returns whether all labs ended by themselves."""
    queue: SimpleQueue[list[int]] = SimpleQueue()
    end = time.monotonic() + minutes * 60
    workers = [Process(target=work, args=(queue, path, seed, end, nodes)) for _ in range(jobs)]
    for worker in workers:  # first: what is put into the queue waits for somebody who takes it
        worker.start()
    blocks = [list(part) for _, part in groupby(chosen, key=lambda one: (one - 1) // BLOCK)]
    for block in [*blocks, *[[]] * jobs]:
        queue.put(block)
    for worker in workers:
        worker.join()
    return not any(worker.exitcode for worker in workers)


def _is_done(number: int, seed: int, before: Mapping[int, Verdict], nodes: str) -> bool:
    """Whether an ordeal went well before, with the story that it has now: new faults make new stories."""
    known = before.get(number)
    return known is not None and known.ok and known.story == str(told_to(nodes, seed, number))


def _count(given: argparse.Namespace) -> int:
    if given.count:
        return int(given.count)
    return MANY if given.minutes < 1e6 and not given.list else COUNT


def main(given: argparse.Namespace) -> int:
    """
    Carry out a random campaign.

    given: seed, minutes, count, only, jobs, again, list, nodes, as lab.campaign reads them. Returns 0 if all that was played went
    well, 1 if something failed or was missed, 2 if `only` names nothing, 130 after Ctrl-C.
    """
    try:
        chosen = numbers(given.only) if given.only else list(range(1, _count(given) + 1))
    except ValueError as problem:
        print(f"campaign: {problem}", file=sys.stderr)
        return 2
    if given.list:
        print("\n".join(f"{one:4} {told_to(given.nodes, given.seed, one)}" for one in chosen))
        return 0
    kind = "" if given.nodes == NAMESPACES else f"{given.nodes}-"
    path = PLACE / f"random-{kind}{given.seed}.jsonl"
    if given.again:
        path.unlink(missing_ok=True)
    before = done(path)
    left = [one for one in chosen if given.only or not _is_done(one, given.seed, before, given.nodes)]
    built()
    interrupted, whole = False, True
    try:
        whole = share_out(left, given.jobs, path, given.seed, given.minutes, given.nodes)
    except KeyboardInterrupt:
        interrupted = True
    verdicts = [one for number, one in sorted(done(path).items()) if number in set(chosen)]
    everything = sorted(done(path).values(), key=lambda one: one.number)
    report.write(path, given.seed, everything, given.nodes)
    print("\n".join(report.summary(verdicts, given.nodes)))
    print(f"{path.with_suffix('.html')}")
    return 130 if interrupted else 0 if whole and all(one.ok for one in verdicts) else 1
