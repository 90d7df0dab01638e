"""Judges a soak of the prober: what was told of which disk, against what was done to it. Pure; told the time, in seconds.

A fault is told within its limit and by the one word that fits, every reader hears of it, its end is told too, and nothing is
ever said of a disk to which nothing was done.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: The reader that is told at once, as the engine is, and the one that asks once a second, as the beacon does.
FAST, SLOW = "engine", "beacon"
#: Seconds within which the slow reader tells what the fast one has told, and within which the end of a fault is told.
SLOW_READER_S, RECOVERY_S = 1.6, 12.0
#: Seconds without another word after which a disk is well again.
QUIET_S = 1.5
_WELL = frozenset({"ok", "standby"})
_WARNINGS = frozenset({"slow", "nearly_full"})


@dataclass(frozen=True)
class Injury:
    """One fault on one disk. limit: seconds until it must have been told. conditions: the words that tell it; also: those
    that are true as well while it lasts, but do not tell it."""

    resource: str
    fault: str
    fstype: str
    load: str
    at: float
    limit: float
    conditions: frozenset[str]
    also: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.fault} on {self.resource} ({self.fstype}, {self.load})"


@dataclass
class Case:
    """An injury from its beginning until the disk is well. told: by each reader, its first word and when. word: the last
    one, and when it came."""

    injury: Injury
    told: dict[str, tuple[str, float]] = field(default_factory=dict)
    word: dict[str, tuple[str, float]] = field(default_factory=dict)
    healing_at: float = math.inf
    healed_at: float = math.inf
    given_up: bool = False


@dataclass
class Court:
    """All cases. problems: a sentence for everything that is not as it should be; each begins with its kind and a colon."""

    open: dict[str, Case] = field(default_factory=dict)
    closed: list[Case] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def struck(self, injury: Injury) -> None:
        """A healthy disk is being hurt now."""
        self.open[injury.resource] = Case(injury)

    def healing(self, resource: str, now: float) -> None:
        """Its fault is being taken back: from now on many words are true for a moment."""
        self.open[resource].healing_at = now

    def healed(self, resource: str, now: float) -> None:
        """The fault is no more, and the file system is mounted."""
        self.open[resource].healed_at = now

    def hear(self, reader: str, resource: str, condition: str, evidence: str, now: float) -> None:
        """A reader was told something."""
        case = self.open.get(resource)
        if case is None:
            if condition not in _WELL:
                self._blame("false", f"{reader} was told {condition} of the healthy {resource}: {evidence}")
            return
        case.word[reader] = (condition, now)
        if now < case.healing_at:
            self._judge(case, reader, condition, evidence, now)
        elif condition in _WARNINGS:
            self._blame("false", f"{condition} while {case.injury} was taken back: {evidence}")

    def _judge(self, case: Case, reader: str, condition: str, evidence: str, now: float) -> None:
        if condition in case.injury.conditions:
            case.told.setdefault(reader, (condition, now))
        elif condition in _WELL and reader not in case.told:
            return  # the end of what was before, or the first word of all
        elif condition in _WELL:
            self._blame("false", f"{reader} was told {condition} while {case.injury} lasted")
        elif condition not in case.injury.also:
            self._blame("false", f"{reader} was told {condition} for {case.injury}: {evidence}")

    def _blame(self, kind: str, sentence: str) -> None:
        self.problems.append(f"{kind}: {sentence}")

    def may_heal(self, resource: str) -> bool:
        """Whether all that should be told of a fault was told, or is not waited for any longer."""
        case = self.open[resource]
        return case.given_up or {FAST, SLOW} <= set(case.told)

    def look(self, now: float) -> None:
        """Judge what was not told in time, and close what is over."""
        for case in tuple(self.open.values()):
            if case.healing_at == math.inf:
                self._judge_silence(case, now)
            elif case.healed_at < math.inf:
                self._judge_recovery(case, now)

    def _judge_silence(self, case: Case, now: float) -> None:
        first = case.told.get(FAST)
        if case.given_up:
            return
        if first is None and now - case.injury.at > case.injury.limit:
            self._blame("missed", f"{case.injury} was not told within {case.injury.limit:.1f} s")
            case.given_up = True
        elif first is not None and SLOW not in case.told and now - first[1] > SLOW_READER_S:
            self._blame("lost", f"{case.injury} was told to the {FAST}, but not to the {SLOW}")
            case.given_up = True

    def _judge_recovery(self, case: Case, now: float) -> None:
        sick = [reader for reader in case.told if case.word[reader][0] != "ok"]
        last = max([case.healed_at, *(at for _, at in case.word.values())])
        if sick and now - case.healed_at > RECOVERY_S:
            words = ", ".join(f"the {reader}'s last word is {case.word[reader][0]}" for reader in sick)
            self._blame("missed", f"the end of {case.injury} was not told within {RECOVERY_S:.0f} s; {words}")
        elif sick or now - last < QUIET_S:
            return
        self.closed.append(self.open.pop(case.injury.resource))

    def count(self, kind: str) -> int:
        """How many problems of a kind there are: missed, false, lost or other."""
        return sum(problem.startswith(f"{kind}:") for problem in self.problems)


def figures(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """How soon each fault was told, by fault and load."""
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        if FAST in case.told:
            groups.setdefault((case.injury.fault, case.injury.load), []).append(case)
    return [_row(fault, load, group) for (fault, load), group in sorted(groups.items())]


def _row(fault: str, load: str, group: Sequence[Case]) -> dict[str, Any]:
    took = sorted((case.told[FAST][1] - case.injury.at) * 1000 for case in group)
    words = [case.told[FAST][0] for case in group]
    return {
        "fault": fault,
        "load": load,
        "n": len(took),
        "median_ms": round(statistics.median(took), 1),
        "p90_ms": round(took[math.ceil(len(took) * 0.9) - 1], 1),
        "longest_ms": round(took[-1], 1),
        "conditions": {word: words.count(word) for word in sorted(set(words))},
    }


@dataclass(frozen=True)
class Trend:
    """What a figure did over a soak, by a straight line through its samples. grew: from the line's beginning to its end."""

    first: float
    last: float
    grew: float
    per_hour: float


def trend(samples: Sequence[tuple[float, float]]) -> Trend:
    """The trend of (seconds, value) samples; flat when there are fewer than three."""
    if len(samples) < 3:
        value = samples[-1][1] if samples else 0.0
        return Trend(value, value, 0.0, 0.0)
    slope = statistics.linear_regression(*zip(*samples, strict=True)).slope
    seconds = samples[-1][0] - samples[0][0]
    return Trend(samples[0][1], samples[-1][1], slope * seconds, slope * 3600)


def growth(samples: Sequence[Mapping[str, float]], allowed: Mapping[str, float]) -> dict[str, Any]:
    """The trends of some figures. samples: each with `at` and the figures. allowed: how much each may grow over the run."""
    rows = {}
    for name, most in allowed.items():
        line = trend([(one["at"], one[name]) for one in samples])
        rows[name] = {
            "first": round(line.first, 2),
            "last": round(line.last, 2),
            "highest": round(max((one[name] for one in samples), default=0.0), 2),
            "grew": round(line.grew, 2),
            "per_hour": round(line.per_hour, 2),
            "allowed": most,
            "ok": line.grew <= most,
        }
    return rows
