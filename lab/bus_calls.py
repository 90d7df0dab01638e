"""How long the beacon's calls take in a real minion: a timer that is added to its file, what it writes, and the rows of it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.cellinit import PLACE

#: Added to the end of the lab's copy of the beacon.
TIMER = f"""
import time as _time

_SPENT = [0.0, 0.0, 0.0]


def _clocks():
    with open("/proc/thread-self/schedstat") as file:
        queued = int(file.read().split()[1]) / 1e6
    return _time.perf_counter() * 1000, _time.thread_time() * 1000, queued


def _timed(function, config):
    began = _clocks()
    try:
        return function(config)
    finally:
        for number, (start, end) in enumerate(zip(began, _clocks())):
            _SPENT[number] += end - start


def _note():
    with open("{PLACE}/shared/beacon-calls", "a") as file:
        file.write(" ".join(map(str, (_time.monotonic(), *_SPENT))) + "\\n")
    _SPENT[:] = [0.0, 0.0, 0.0]


_validate, _beacon = validate, beacon


def validate(config):
    return _timed(_validate, config)


def beacon(config):
    try:
        return _timed(_beacon, config)
    finally:
        _note()
"""


@dataclass(frozen=True)
class Call:
    """One call of the beacon. at: when it ended (monotonic). wall_ms: by the clock; cpu_ms: of a processor; queued_ms: until a
    processor was free, which says nothing about the beacon but much about the machine."""

    at: float
    wall_ms: float
    cpu_ms: float
    queued_ms: float

    @property
    def own_ms(self) -> float:
        """What the call itself took of the minion's main loop."""
        return max(self.cpu_ms, self.wall_ms - self.queued_ms)


def parse_calls(text: str) -> list[Call]:
    """The calls that a minion has written down; a line that is being written is left out."""
    lines = [line.split() for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [Call(*map(float, words)) for words in lines if len(words) == 4]


def row(what: str, figures: Sequence[float], goal: float, **more: Any) -> dict[str, Any]:
    """A measurement as plain data. figures: milliseconds. The goal is for the median; for the longest with `longest=True`."""
    ordered = sorted(figures)
    if not ordered:
        return {
            "what": what,
            "median_ms": None,
            "p90_ms": None,
            "longest_ms": None,
            "n": 0,
            "goal_ms": goal,
            "ok": False,
        }
    judged = ordered[-1] if more.pop("longest", False) else statistics.median(ordered)
    return {
        "what": what,
        "median_ms": round(statistics.median(ordered), 2),
        "p90_ms": round(ordered[math.ceil(len(ordered) * 0.9) - 1], 2),
        "longest_ms": round(ordered[-1], 2),
        "n": len(ordered),
        "goal_ms": goal,
        "ok": judged <= goal,
        **more,
    }


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """The results for people."""
    head = f"{'what':58} {'median':>9} {'p90':>9} {'longest':>9} {'goal':>8} {'n':>4}"
    rows = [
        f"{one['what']:58} {one['median_ms']!s:>9} {one['p90_ms']!s:>9} {one['longest_ms']!s:>9} {one['goal_ms']:8g}"
        f" {one['n']:4}{'' if one['ok'] else '  over'}"
        for one in results
    ]
    return "\n".join([head, *rows])
