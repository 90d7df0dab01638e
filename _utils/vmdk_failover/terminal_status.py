"""``status`` as people read it: whether all is well in the first line, what is not in full, the rest a line each. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vmdk_failover.columns import aligned, moment
from vmdk_failover.terminal_history import last_move

Plain = Mapping[str, Any]

#: States that need somebody's eyes, in capitals.
_LOUD = {
    "held": "HELD",
    "unknown": "NOT KNOWN",
    "paused": "PAUSED",
    "moving": "MOVING",
    "recovering": "RECOVERING",
}


def status(answer: Plain) -> Iterator[str]:
    found: Mapping[str, Plain] = answer["resources"]
    bad = {name: one for name, one in found.items() if not one.get("protected")}
    yield _headline(answer, len(found), list(bad))
    if answer.get("watches_only"):
        yield f"  {answer['watches_only']}"
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
        head = ("RESOURCE", "ACTIVE", "SINCE", "BACKUPS", "LAST MOVE")
        yield from aligned([head, *(_row(name, one) for name, one in good.items())])


def _headline(answer: Plain, count: int, bad: Sequence[str]) -> str:
    if not count:
        return "Nothing is protected: 'salt-run vmdk.protect' makes a resource."
    noun = "resource" if count == 1 else "resources"
    if answer["all_well"]:
        return f"All is well: {count} {noun}, {'protected' if count == 1 else 'all protected'}."
    if not bad:
        return f"NOT WELL: {count} {noun} protected, but the configuration has faults."
    some = ", ".join(bad[:5]) + (", …" if len(bad) > 5 else "")
    return f"NOT WELL: {len(bad)} of {count} {noun} not protected ({some})."


def _row(name: str, one: Plain) -> tuple[str, ...]:
    if planned := one.get("planned"):
        name = f"{name} (switchover planned at {moment(planned['at'])})"
    backups = "; ".join(_backup(node, facts) for node, facts in one["nodes"].items() if node != one["active"])
    return (
        name,
        str(one["active"]),
        moment(one.get("since")) or "-",
        backups,
        last_move(one.get("last_move")) or "-",
    )


def _in_full(name: str, one: Plain) -> Iterator[str]:
    state, loud = str(one["state"]), _LOUD.get(str(one["state"]))
    where = f" on {one['active']}" if one.get("active") else ""
    since = f"{', there' if loud else ''} since {moment(one['since'])}" if one.get("since") else ""
    yield f"{name}: {loud or state}{where}{since}{'' if loud or one.get('protected') else ', NOT PROTECTED'}"
    yield from _why(one)
    for node, facts in one["nodes"].items():
        if node != one.get("active"):
            yield f"  backup {_backup(node, facts)}"
    if planned := one.get("planned"):
        yield f"  planned: switchover to {planned['target'] or 'the best node'} at {moment(planned['at'])}"
    if one.get("configuration") == "last good":
        yield "  its last good configuration is used; the present one has a fault"
    if last := last_move(one.get("last_move")):
        yield f"  last move: {last}"


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
    return f"{node} NOT READY: {', '.join(map(str, facts.get('why_not') or ('it cannot be seen',)))}"
