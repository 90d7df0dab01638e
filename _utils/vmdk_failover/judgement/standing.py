"""
How a resource stands: state, where it is active, whether it is protected, and each node, in plain form. Pure.

The same words for ``status``, for the events of a change, and for the metrics.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vmdk_failover.judgement import homes, policy, protection, rules
from vmdk_failover.judgement.along import WAITS
from vmdk_failover.judgement.assess import NodeSight, Snapshot
from vmdk_failover.judgement.case import may_land
from vmdk_failover.judgement.nodestate import state_of
from vmdk_failover.judgement.policy import Choice, Situation, Wish
from vmdk_failover.model import Move
from vmdk_failover.ports import Record

#: All states there are.
STATES = ("active", "held", "moving", "paused", "recovering", "waiting", "unknown")

_WORDS: Mapping[Choice, str] = {
    Choice.NOTHING: "active",
    Choice.HOLD: "held",
    Choice.WAIT: "waiting",
    Choice.REFUSE: "held",
    Choice.MOVE: "recovering",
}


def of(seen: Snapshot, record: Record, now: float) -> dict[str, Any]:
    """
    How the resource stands in this look.

    :param now: wall seconds.
    :return: the keys that docs/answers.md describes.
    """
    situation = situation_of(seen, record, now)
    decision = policy.decide(situation)
    state = "paused" if record.paused else _WORDS[decision.choice]
    rule, reason = decision.rule, decision.reason
    gaps: tuple[str, ...] = ()
    if record.move:
        state, rule, reason = _stage(seen, record, record.move)
        gaps = (reason,)
    else:
        gaps = protection.gaps(situation)
    if state == "active" and gaps:
        reason = f"{reason}, NOT PROTECTED: {'; '.join(gaps)}"
    active = next((n.minion for n in seen.nodes if n.healthy), "")
    return {
        "state": state,
        "reason": reason,
        "rule": rule,
        "protected": state == "active" and not gaps,
        "not_protected_because": list(gaps),
        "active": active,
        "since": _since(record, active),
        "hold": dict(record.hold) if record.hold else None,
        "pause": _pause(record),
        "epoch": record.epoch,
        "nodes": {n.minion: _node(n, seen.resource.node_timeout) for n in seen.nodes},
        "last_move": _last_move(record),
    }


def _pause(record: Record) -> dict[str, Any] | None:
    """Who paused it, since when and until when; of which disks the journal keeps for itself."""
    return {k: v for k, v in record.pause.items() if k != "disks"} if record.paused else None


def unknown(reason: str) -> dict[str, Any]:
    """How a resource stands that cannot be looked at: the same keys, so that whoever reads them finds them just then."""
    return {
        "state": "unknown",
        "reason": reason,
        "rule": 0,
        "protected": False,
        "not_protected_because": [reason],
        "active": "",
        "since": None,
        "hold": None,
        "pause": None,
        "epoch": None,
        "nodes": {},
        "last_move": None,
    }


def differs(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether people should be told: another state, place, protection or rule; numbers within a sentence do not count."""
    return _gist(one) != _gist(other)


def _gist(plain: Mapping[str, Any]) -> tuple[Any, ...]:
    gaps = sorted(re.sub(r"\d+", "", str(gap)) for gap in plain.get("not_protected_because") or ())
    # while it moves each step has a rule of its own; the events of the move tell them
    told = plain.get("state") != "moving"
    rule = plain.get("rule", 0) if told else 0
    return plain.get("state"), plain.get("active"), plain.get("protected"), rule, gaps if told else []


def _stage(seen: Snapshot, record: Record, move: Move) -> tuple[str, int, str]:
    """State of a resource whose move is open, with what the move does next, or why it does not go on."""
    verdict = rules.next_verdict(case_of(seen, record, move))
    if verdict.then is rules.Then.HOLD and verdict.rule != WAITS:
        return "held", verdict.rule, verdict.reason
    if verdict.then in (rules.Then.WAIT, rules.Then.HOLD):
        return "moving", verdict.rule, verdict.reason
    return "moving", verdict.rule, f"a {move.kind.value} to {move.target} is under way: {move.reason}"


def situation_of(seen: Snapshot, record: Record, now: float, wish: Wish | None = None) -> Situation:
    """
    What the policy judges while no move is open, of what is seen and remembered.

    :param now: wall seconds. :param wish: an operator's request.
    """
    return Situation(
        seen, record.epoch, now, record.paused, record.recent, wish, record.missing_ok, record.home
    )


def case_of(seen: Snapshot, record: Record, move: Move) -> rules.Case:
    """What the step table judges, of what is seen and remembered."""
    last = homes.known(record.recent, record.home)
    return rules.Case(
        move, seen, tuple(record.outcomes), record.epoch, record.paused, record.missing_ok, last
    )


def forgotten_by_clear(seen: Snapshot, record: Record) -> str:
    """
    What nobody would remember if the open move were closed now: a request to vCenter whose answer was lost may still be carried
    out. When the move itself cannot make it impossible, it says so (rule 63), and from then on it is a person's to make sure.

    :return: one sentence, with what to do; ``""`` if nothing would be forgotten.
    """
    move = record.move
    if move is None:
        return ""
    case = case_of(seen, record, move)
    lost, name = may_land(case), move.resource.name
    if not lost or rules.next_verdict(case).rule == rules.UNSEALED:
        return ""
    resume = f"'salt-run vmdk.resume {name}', and " if record.paused else ""
    return (
        f"it is not known whether the {lost[0].step.kind.value} on {lost[0].step.node} will still be carried out, and the open "
        f"move, which sees to that, would be forgotten: {resume}let 'salt-run vmdk.recover {name}' go on until it ends or tells "
        f"you to make sure of it; if it cannot, 'salt-run vmdk.adopt {name}' ends the move and makes that impossible"
    )


def _since(record: Record, active: str) -> float | None:
    """Since when it is active there (wall seconds); ``None`` if no move that is remembered and rightly dated brought it there."""
    arrivals = [m for m in record.recent if m.get("ok") and m.get("source") != m.get("target")]
    return arrivals[-1].get("ended") or None if arrivals and arrivals[-1].get("target") == active else None


def _last_move(record: Record) -> dict[str, Any] | None:
    """Of other masters' moves too little is known to tell it."""
    own = [move for move in record.recent if not move.get("master")]
    return dict(own[-1]) if own else None


def _node(sight: NodeSight, node_timeout: float) -> dict[str, Any]:
    facts, signs = sight.facts, sight.signs
    return {
        "state": state_of(sight, node_timeout).value,
        "silent_for": None if signs.silent is None else round(max(0.0, signs.silent), 1),
        "address": signs.address,
        "power": sight.vm.power.value,
        "holds": sight.holds,
        "mounted": facts.mounted.value if facts else "unknown",
        "condition": facts.condition.value if facts else "unknown",
        "ready": not sight.unfit(),
        "why_not": list(sight.unfit()),
    }
