"""
A move as its history tells it: who saw what, what was decided by which rule, what was done, how it ended. Pure.

What is read was written by this product, but sentences in it come from nodes; whatever is of an unexpected form is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vmdk_failover.judgement import describe

Plain = Mapping[str, Any]
#: What was seen so many seconds before the decision, and was held, belongs to the picture.
BEFORE = 120.0
#: What is seen while all is well.
_WELL = ("ok", "watching")


@dataclass(frozen=True)
class Mark:
    """A moment: ``at`` wall seconds. ``kind``: ``seen``, ``decided``, ``waits``, ``held``, ``person``, ``done``, ``ended``."""

    at: float
    kind: str
    who: str
    words: str
    rule: int = 0


@dataclass(frozen=True)
class Bar:
    """A step. ``end`` is ``None`` and ``outcome`` ``lost`` if whoever did it ended in the midst of it."""

    step: str
    node: str
    begin: float
    end: float | None
    outcome: str
    words: str
    code: str
    rule: int
    reason: str


@dataclass(frozen=True)
class Said:
    """What a witness said from a moment on, as a look of the master had it."""

    at: float
    who: str
    facts: Plain


@dataclass(frozen=True)
class Incident:
    """
    One move.

    :param result: ``done``, ``given up``, ``closed``, ``adopted``, ``held`` or ``open``, with ``words``.
    :param settings: the resource as it was configured when the move began.
    """

    resource: str
    epoch: int
    kind: str
    source: str
    target: str
    because: str
    rule: int
    began: float
    ended: float | None
    result: str
    words: str
    marks: tuple[Mark, ...] = ()
    bars: tuple[Bar, ...] = ()
    said: tuple[Said, ...] = ()
    settings: Plain = field(default_factory=dict)

    @property
    def first(self) -> float:
        """The first moment that is known of it."""
        return min([self.began, *(m.at for m in self.marks), *(b.begin for b in self.bars)])

    @property
    def last(self) -> float:
        """The last moment that is known of it."""
        ends = [b.begin if b.end is None else b.end for b in self.bars]
        return max([self.began, self.ended or 0.0, *(m.at for m in self.marks), *ends])

    @property
    def in_service(self) -> float | None:
        """When the file system was mounted at the end; ``None`` if it was not."""
        ends = [b.end for b in self.bars if b.step == "mount" and b.outcome == "done" and b.end]
        return ends[-1] if ends and self.result == "done" else None

    @property
    def rules(self) -> list[int]:
        """All rules that spoke, each once."""
        found = {self.rule, *(m.rule for m in self.marks), *(b.rule for b in self.bars)}
        return sorted(found - {0})


def epochs(history: Iterable[Plain]) -> list[int]:
    """Numbers of the moves that the history knows from their beginning, oldest first."""
    return [_whole(_mapping(e["began"]).get("epoch")) for e in history if "began" in e]


def read(history: Sequence[Plain], seen: Iterable[Plain], epoch: int) -> Incident | None:
    """
    Read the move ``epoch``.

    :param history: all entries of the resource's history, oldest first.
    :param seen: what was seen around it (``sightings.py``).
    :return: ``None`` if the history does not know it.
    """
    starts = [i for i, e in enumerate(history) if _mapping(e.get("began")).get("epoch") == epoch]
    if not starts:
        return None
    start = starts[-1]
    history = _all_dated(history)
    mine = list(_until_its_end(history[start:]))
    began, at = _mapping(mine[0]["began"]), _at(mine[0])
    result, words, ended = _end(mine)
    because, rule = _text(began.get("because") or began.get("reason")), _whole(began.get("rule"))
    since = max([at - BEFORE, *(_at(e) for e in history[:start] if _is_end(e))])
    marks = [
        *_signs(seen, since, at),
        *_before(history[:start], since),
        *(_seen(one) for one in seen if at < _at(one) <= (ended or float("inf"))),
        Mark(at, "decided", "master", because, rule),
        *filter(None, map(_mark, mine[1:])),
    ]
    return Incident(
        _text(began.get("resource")),
        epoch,
        _text(began.get("kind")),
        _text(began.get("source")),
        _text(began.get("target")),
        because,
        rule,
        at,
        ended,
        result,
        words,
        tuple(sorted(marks, key=lambda mark: mark.at)),
        tuple(_bars(mine)),
        tuple(_said(mine)),
        _mapping(began.get("settings")),
    )


def _all_dated(history: Sequence[Plain]) -> list[Plain]:
    """Lines without a moment get that of the next one, or of the last one before."""
    found: list[Plain] = []
    at = next(filter(None, map(_at, reversed(history))), 0.0)
    for entry in reversed(history):
        at = _at(entry) or at
        found.append({**entry, "at": at})
    return found[::-1]


def _until_its_end(entries: Sequence[Plain]) -> Iterator[Plain]:
    for number, entry in enumerate(entries):
        if number and "began" in entry:
            return
        yield entry
        if _is_end(entry):
            return


def _is_end(entry: Plain) -> bool:
    return any(end in entry for end in ("finished", "cleared", "adopted"))


def _end(mine: Sequence[Plain]) -> tuple[str, str, float | None]:
    last, at = mine[-1], _at(mine[-1])
    finished = _mapping(last.get("finished"))
    if finished:
        words = f"{_text(finished.get('reason'))} (rule {_whole(finished.get('rule'))})"
        return ("done" if finished.get("ok") is True else "given up"), words, at
    if "cleared" in last:
        return "closed", "a person closed it (vmdk.clear)", at
    if "adopted" in last:
        return "adopted", "a person took the world as it was then (vmdk.adopt)", at
    hold = _mapping(last.get("hold"))
    if hold:
        return "held", f"{_text(hold.get('reason'))} (rule {_whole(hold.get('rule'))})", None
    return "open", "it has not ended", None


def _signs(seen: Iterable[Plain], since: float, until: float) -> Iterator[Mark]:
    """What led to the move: seen before it, and after all was well for the last time."""
    signs: list[Mark] = []
    for one in seen:
        if since < _at(one) <= until:
            signs = [] if one.get("what") in _WELL else [*signs, _seen(one)]
    yield from signs


def _before(history: Sequence[Plain], since: float) -> Iterator[Mark]:
    """Holds and acts of persons shortly before the move."""
    for entry in history:
        mark = _mark(entry)
        if mark is not None and mark.kind in ("held", "person") and mark.at > since:
            yield mark


def _mark(entry: Plain) -> Mark | None:
    at = _at(entry)
    if "hold" in entry:
        hold = _mapping(entry["hold"])
        reason = _text(hold.get("reason")) if hold else "the hold is over"
        return Mark(at, "held", "master", reason, _whole(hold.get("rule")))
    if "waits" in entry:
        return Mark(at, "waits", "master", _text(entry.get("reason")), _whole(entry["waits"]))
    if "finished" in entry:
        end = _mapping(entry["finished"])
        kind = "done" if end.get("ok") is True else "ended"
        return Mark(at, kind, "master", _text(end.get("reason")), _whole(end.get("rule")))
    for key, words in (
        ("cleared", "closed it (vmdk.clear)"),
        ("adopted", "took the world as it is (vmdk.adopt)"),
    ):
        if key in entry:
            return Mark(at, "person", "a person", words)
    if "pause" in entry:
        return Mark(at, "person", "a person", "began maintenance" if entry["pause"] else "ended maintenance")
    return None


def _seen(one: Plain) -> Mark:
    what = _text(one.get("what"))
    words = ": ".join(filter(None, (describe.SEEN.get(what, what), _text(one.get("words")))))
    return Mark(_at(one), "seen", _text(one.get("who")), words)


def _bars(mine: Sequence[Plain]) -> Iterator[Bar]:
    """Each verdict with a step, and the outcome that followed it if one did."""
    pending: Plain | None = None
    for entry in mine:
        if "verdict" in entry and isinstance(entry.get("step"), Mapping):
            if pending is not None:
                yield _bar(pending, None)
            pending = entry
        elif "outcome" in entry and pending is not None:
            yield _bar(pending, entry)
            pending = None
    if pending is not None:
        yield _bar(pending, None)


def _bar(verdict: Plain, ended: Plain | None) -> Bar:
    step, begin = _mapping(verdict["step"]), _at(verdict)
    outcome = _mapping(ended["outcome"]) if ended else {}
    took = max(0.0, _number(outcome.get("took")))
    return Bar(
        _text(step.get("kind")),
        _text(step.get("node")),
        begin,
        begin + took if ended else None,
        _text(outcome.get("result")) if ended else "lost",
        _text(outcome.get("evidence")) if ended else "whoever did it ended before the answer came",
        _text(outcome.get("code")),
        _whole(verdict.get("verdict")),
        _text(verdict.get("reason")),
    )


def _said(mine: Sequence[Plain]) -> Iterator[Said]:
    for entry in mine:
        for who, facts in _mapping(entry.get("saw")).items():
            if isinstance(facts, Mapping):
                yield Said(_at(entry), _text(who), facts)


def doing(bar: Bar) -> str:
    """A step as people say it."""
    words = describe.WORDS.get(bar.step, (bar.step, bar.step))
    return f"{words[1 if bar.outcome == 'done' else 0]} {bar.node}"


def _at(entry: Plain) -> float:
    return _number(entry.get("at"))


def _mapping(value: object) -> Plain:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) and abs(value) < 1e12 else 0.0


def _whole(value: object) -> int:
    return int(_number(value))
