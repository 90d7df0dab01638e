"""
When a move ended: by which clock, and what that says now. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: A move that ended so many seconds from now was dated by a clock that was wrong; masters' clocks may differ by less.
SKEW = 60.0


@dataclass(frozen=True)
class Moment:
    """Now: id of this machine's boot, seconds of its boot clock, and the wall clock, which people set."""

    boot: str
    seconds: float
    wall: float


def with_moment(entry: Mapping[str, Any], now: Moment) -> dict[str, Any]:
    """An entry that is to be told its age later, whatever somebody sets the wall clock to meanwhile."""
    return {**entry, "moment": {"boot": now.boot, "seconds": now.seconds}}


def by_now(entry: Mapping[str, Any], now: Moment) -> dict[str, Any]:
    """
    The same with ``ended`` by today's wall clock (seconds).

    What ended before this boot is older than that, whatever the clock said then. What is dated later than now, as another master
    may have done, counts as long over: or a wrong clock would hold for as long as it is ahead.
    """
    plain = {key: value for key, value in entry.items() if key != "moment"}
    if "ended" not in plain:
        return plain
    then, ended = entry.get("moment"), float(plain["ended"])
    if isinstance(then, Mapping):
        same = then.get("boot") == now.boot
        ended = (
            now.wall - (now.seconds - float(then["seconds"])) if same else min(ended, now.wall - now.seconds)
        )
    return {**plain, "ended": ended if ended <= now.wall + SKEW else 0.0}
