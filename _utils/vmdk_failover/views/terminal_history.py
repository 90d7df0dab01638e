"""What happened, as people read it: a line each. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vmdk_failover.judgement import describe
from vmdk_failover.views.columns import moment

Plain = Mapping[str, Any]


def last_move(move: Any) -> str:
    if not isinstance(move, Mapping):
        return ""
    ends = [str(move[end]) for end in ("source", "target") if move.get(end)]
    way = f"on {ends[0]}" if len(ends) == 2 and len(set(ends)) == 1 else " -> ".join(ends)
    way = f" {way}" if way else ""
    took = f" in {describe.duration(float(move['took']))}" if move.get("took") is not None else ""
    end = "" if move.get("ok") else f" FAILED: {move.get('reason')}"
    at = f" at {moment(move['ended'])}" if move.get("ended") else ""
    return f"{move.get('kind')}{way}{took}{at}{end}"


def step_done(step: Plain) -> str:
    return describe.sentence({"what": "outcome", "resource": "", **step}).removeprefix(": ")


def is_history(answer: Plain) -> bool:
    return bool(answer) and all(
        isinstance(entries, list) and all(isinstance(one, Mapping) for one in entries)
        for entries in answer.values()
    )


def history(answer: Plain) -> Iterator[str]:
    for name, entries in answer.items():
        yield f"{name}:" if entries else f"{name}: nothing has happened yet"
        yield from (f"  {line}" for line in map(_event, entries) if line)


def _event(entry: Plain) -> str:
    for key, write in _EVENTS.items():
        if entry.get(key) is not None or (key in entry and key == "pause"):
            words, inner = write(entry), entry[key] if isinstance(entry[key], Mapping) else {"at": entry[key]}
            when = moment(entry.get("at") or inner.get("at") or inner.get("since") or inner.get("ended"))
            return f"{when}  {words}" if when else words
    return ""


def _began(entry: Plain) -> str:
    move = entry["began"]
    why = f"{move.get('reason')} (rule {move.get('rule')}, epoch {move.get('epoch')})"
    return f"{move.get('kind')} to {move.get('target')} began: {why}"


def _finished(entry: Plain) -> str:
    done = entry["finished"]
    return last_move({**done, "ended": None})


def _outcome(entry: Plain) -> str:
    outcome = entry["outcome"]
    step = outcome.get("step") or {}
    plain = {**outcome, "step": step.get("kind"), "node": step.get("node"), "outcome": outcome.get("result")}
    return step_done(plain)


def _held(entry: Plain) -> str:
    hold = entry["hold"]
    return f"HELD: {hold.get('reason')} (rule {hold.get('rule')})" if hold else ""


def _paused(entry: Plain) -> str:
    pause = entry["pause"]
    if not pause:
        return "maintenance ended"
    who = f" by {pause['by']}" if pause.get("by") else ""
    until = f", until {moment(pause['until'])}" if pause.get("until") else ""
    return f"maintenance began{who}{until}"


def _appointed(entry: Plain) -> str:
    done = entry["appointed"]
    return f"planned switchover of {moment(done.get('planned'))}: {done.get('result')} - {done.get('reason')}"


#: A key that only this entry has → how it is written. Others (what was seen, what was waited for) are for machines.
_EVENTS: Mapping[str, Callable[[Plain], str]] = {
    "began": _began,
    "finished": _finished,
    "outcome": _outcome,
    "hold": _held,
    "pause": _paused,
    "appointed": _appointed,
    "cleared": lambda entry: "cleared by a person",
    "adopted": lambda entry: f"adopted under epoch {entry['adopted'].get('epoch')}",
    "confirmed_off": lambda entry: str(entry["confirmed_off"].get("words")),
}
