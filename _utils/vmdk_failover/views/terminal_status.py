"""``status`` as people read it: whether all is well in the first line, what is not in full, the rest a line each. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vmdk_failover.views.columns import WIDTH, aligned, moment, short, wrapped
from vmdk_failover.views.terminal_history import last_move

Plain = Mapping[str, Any]

#: States that need somebody's eyes, in capitals.
_LOUD = {
    "held": "HELD",
    "unknown": "NOT KNOWN",
    "paused": "PAUSED",
    "moving": "MOVING",
    "recovering": "RECOVERING",
}


def status(answer: Plain, width: int = WIDTH) -> Iterator[str]:
    for line in _lines(answer, width):
        yield from wrapped(line, width)


def _lines(answer: Plain, width: int) -> Iterator[str]:
    found: Mapping[str, Plain] = answer["resources"]
    bad = {name: one for name, one in found.items() if not one.get("protected")}
    yield _headline(answer, len(found), list(bad))
    if answer.get("watches_only"):
        yield f"  {answer['watches_only']}"
    if _is_unattended(answer):
        yield "  The engine vmdk of this master does not answer: nobody notices a node that dies or falls silent."
        yield "  'salt-run vmdk.doctor' says how it is mended."
    for fault in answer["faults"]:
        yield f"  configuration: {fault}"
    for name, one in bad.items():
        yield ""
        yield from _in_full(name, one)
    good = {name: one for name, one in found.items() if name not in bad}
    if len(found) == 1 and good:
        yield from (line for name, one in good.items() for line in _in_full(name, one))
    elif good:
        yield ""
        yield from _table(good, float(answer["at"]), width)


def _table(good: Mapping[str, Plain], now: float, width: int) -> Iterator[str]:
    """A line for each resource: as much as fits in ``width``; ``status NAME`` and ``--out=json`` tell the rest."""
    domain = _domain({node for one in good.values() for node in one["nodes"]})
    for style in _STYLES:
        dropped = domain if style.short else ""
        rows = [_row(name, one, now, style, dropped) for name, one in good.items()]
        lines = aligned([_HEAD[: len(rows[0])], *rows])
        if max(map(len, lines)) <= width:
            break
    yield lines[0]
    for line, one in zip(lines[1:], good.values(), strict=True):
        yield line
        if planned := one.get("planned"):
            yield f"  switchover to {planned['target'] or 'the best node'} planned at {moment(planned['at'])}"
    if dropped:
        yield f"Nodes are shown without {dropped}"


def _domain(nodes: Collection[str]) -> str:
    """What all ids end in from their first dot on, if they differ without it; else ``""``."""
    ends = {node[node.index(".") :] if "." in node else "" for node in nodes}
    firsts = {node.partition(".")[0] for node in nodes}
    return ends.pop() if len(ends) == 1 and len(firsts) == len(nodes) else ""


def _headline(answer: Plain, count: int, bad: Sequence[str]) -> str:
    if not count:
        return "Nothing is protected: 'salt-run vmdk.protect' makes a resource."
    noun = "resource" if count == 1 else "resources"
    if answer["all_well"]:
        return f"All is well: {count} {noun}, {'protected' if count == 1 else 'all protected'}."
    if not bad:
        why = (
            "this master's engine does not answer"
            if _is_unattended(answer)
            else "the configuration has faults"
        )
        return f"NOT WELL: {count} {noun} protected, but {why}."
    some = ", ".join(bad[:5]) + (", …" if len(bad) > 5 else "")
    return f"NOT WELL: {len(bad)} of {count} {noun} not protected ({some})."


def _is_unattended(answer: Plain) -> bool:
    """Whether nobody watches: this master is to act, and its engine does not answer."""
    return answer.get("engine") is False and not answer.get("watches_only")


def _row(name: str, one: Plain, now: float, style: _Style, domain: str) -> tuple[str, ...]:
    named = {node: node.removesuffix(domain) for node in one["nodes"]}
    ready = {node: bool(facts.get("ready")) for node, facts in one["nodes"].items() if node != one["active"]}
    cells = (name, named.get(one["active"], str(one["active"])), short(one.get("since"), now) or "-")
    if style.counted:
        return (*cells, f"{sum(ready.values())} of {len(ready)} ready")
    backups = [
        f"{', '.join(some)} {words}"
        for words, is_so in (("ready", True), ("NOT READY", False))
        if (some := [named[node] for node, so in ready.items() if so is is_so])
    ]
    last = () if style.last is None else (style.last(one.get("last_move"), domain) or "-",)
    return (*cells, "; ".join(backups) or "-", *last)


def _in_short(move: Any, domain: str) -> str:
    """A move without its end, which SINCE tells, and without the domain of its nodes."""
    if not isinstance(move, Mapping):
        return ""
    ends = {end: str(move.get(end) or "").removesuffix(domain) for end in ("source", "target")}
    return last_move({**move, **ends, "ended": None})


def _shortest(move: Any, domain: str) -> str:
    return last_move({**move, "source": "", "target": "", "ended": None}) if isinstance(move, Mapping) else ""


@dataclass(frozen=True)
class _Style:
    """How much a table tells. short: ids without their domain. last: how the last move is told. counted: backups are."""

    short: bool = True
    last: Callable[[Any, str], str] | None = None
    counted: bool = False


_HEAD = ("RESOURCE", "ACTIVE", "SINCE", "BACKUPS", "LAST MOVE")
#: The first that fits is taken.
_STYLES = (
    _Style(short=False, last=_in_short),
    _Style(last=_in_short),
    _Style(last=_shortest),
    _Style(),
    _Style(counted=True),
)


def _in_full(name: str, one: Plain) -> Iterator[str]:
    state, loud = str(one["state"]), _LOUD.get(str(one["state"]))
    where = f" on {one['active']}" if one.get("active") else ""
    since = f"{', there' if loud else ''} since {moment(one['since'])}" if one.get("since") else ""
    yield f"{name}: {loud or state}{where}{since}{'' if loud or one.get('protected') else ', NOT PROTECTED'}"
    yield from _why(one)
    yield from _nodes(one, bool(loud))
    if planned := one.get("planned"):
        yield f"  planned: switchover to {planned['target'] or 'the best node'} at {moment(planned['at'])}"
    if one.get("configuration") == "last good":
        yield "  its last good configuration is used; the present one has a fault"
    if last := last_move(one.get("last_move")):
        yield f"  last move: {last}"


def _nodes(one: Plain, loud: bool) -> Iterator[str]:
    """
    How the backups are. Where nobody is known to be in charge none of the nodes is called one, and it is told who has it mounted
    by its own word: a person asks first whether the service is up. While it moves, who has no part in it is not asked.
    """
    nodes: Mapping[str, Plain] = one["nodes"]
    if one["state"] == "moving":
        return
    active = one.get("active")
    if loud and not active:
        yield from (
            f"  {node} has it mounted, by its own word"
            for node, facts in nodes.items()
            if facts.get("mounted") == "mounted"
        )
    word = "backup" if active else "node"
    yield from (f"  {word} {_backup(node, facts)}" for node, facts in nodes.items() if node != active)


def _why(one: Plain) -> Iterator[str]:
    hold, pause = one.get("hold"), one.get("pause")
    if pause:
        who, until = pause.get("by"), moment(pause.get("until"))
        since = f" since {moment(pause.get('since'))}" if pause.get("since") else ""
        yield f"  maintenance{f' by {who}' if who else ''}{since}{f', until {until}' if until else ''}"
    if hold and one["state"] == "held":
        yield f"  held since {moment(hold.get('since'))} by rule {one.get('rule')}"
    reasons = [str(r) for r in one.get("not_protected_because") or ()]
    if str(one["state"]) != "active" and one.get("reason") and one["reason"] not in reasons:
        reasons.insert(0, str(one["reason"]))
    yield from (f"  {reason}" for reason in reasons)


def _backup(node: str, facts: Plain) -> str:
    if facts.get("ready"):
        return f"{node} ready"
    why = ", ".join(map(str, facts.get("why_not") or ("it cannot be seen",)))
    return f"{node} NOT READY{_silence(facts)}: {why}"


def _silence(facts: Plain) -> str:
    """How a node that gives no answer is, in brackets; ``""`` of one that answers, is off, or that nobody knows of."""
    state, lasts, answers = facts.get("state"), facts.get("silent_for"), facts.get("address")
    if state not in ("suspect", "silent", "isolated"):
        return ""
    address = (
        "" if answers is None else ", its address answers" if answers else ", nor does its address answer"
    )
    return f" ({state}{f', no heartbeat for {lasts:.0f} s' if lasts else ''}{address})"
