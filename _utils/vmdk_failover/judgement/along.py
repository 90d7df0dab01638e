"""
Rows of the step table for resources that depend on each other: what depends on one leaves first and is mounted last. Pure.

They stand where a node is asked to release, and where it would be told to mount: nothing here is in the way of a fence.
"""

from __future__ import annotations

from vmdk_failover.errors import Busy
from vmdk_failover.judgement.case import Case, Row, Then, may_ask_release, source_name
from vmdk_failover.judgement.hierarchy import FOLLOWS, TAKEN_ALONG, base_words, below, coming, riders, stands
from vmdk_failover.model import Step, StepKind

#: How often others are asked to come along, on either side, if somebody else is at work there.
ALONG_TRIES = 3
#: The row by which a move waits for what it depends on.
WAITS = 237


def laden(case: Case) -> bool:
    """What depends on it may still be in use on the source, and the source would be asked to release now."""
    return bool(case.seen.kin) and may_ask_release(case) and bool(riders(case.seen, case.move.source))


def _names(case: Case) -> str:
    return " and ".join(k.name for k in riders(case.seen, case.move.source))


def stuck(case: Case) -> bool:
    """A planned move whose riders do not get off."""
    return laden(case) and not case.is_rescue and _tried(case, case.move.source)


def _tried(case: Case, node: str) -> bool:
    asked = [o.code for o in case.outcomes if o.step == Step(StepKind.ALONG, node)]
    return len(asked) >= ALONG_TRIES or any(code != Busy.code for code in asked)


def baseless(case: Case) -> bool:
    """It has the disk on the target, and what it depends on is not active there."""
    return bool(case.seen.kin) and case.target.complete and not stands(case.seen, case.move.target)


def may_call(case: Case) -> bool:
    """What it depends on is to come along; a move that follows another one asks nobody."""
    mine = not case.move.is_local and bool(case.move.source) and case.move.rule not in FOLLOWS
    return baseless(case) and mine and not _tried(case, case.move.target)


def forsaken(case: Case) -> bool:
    """What it depends on does not come, and another place is better than waiting here."""
    gives_up = not case.is_rescue or case.move.rule in TAKEN_ALONG
    return baseless(case) and not may_call(case) and gives_up and not coming(case.seen, case.move.target)


def gives_up(case: Case) -> bool:
    """One of these rows would give the move up."""
    return stuck(case) or forsaken(case)


def _lacking(case: Case) -> str:
    return base_words(case.seen, case.move.target)


def _why_not(case: Case) -> str:
    """What keeps it from coming to the target, as the end of a sentence."""
    node = case.move.target
    unfit = [(k.name, k.unfit.get(node, ())) for k in below(case.seen) if k.active != node]
    found = [f"{node} cannot take {name}: {'; '.join(why)}" for name, why in unfit if why]
    return f" ({', '.join(found)})" if found else ""


def _ways_on(case: Case) -> str:
    """Who could come to the target and does not, with the request that brings it, as the end of a sentence."""
    node = case.move.target
    idle = [k for k in below(case.seen) if k.active not in ("", node) and not (k.move or k.paused)]
    names = [k.name for k in idle if not k.unfit.get(node, ())]
    return "".join(f"; 'salt-run vmdk.failover {name} target={node}' brings it there" for name in names)


LADEN: tuple[Row, ...] = (
    Row(
        135,
        "what depends on it is still on the source",
        lambda c: laden(c) and not _tried(c, c.move.source),
        StepKind.ALONG,
        lambda c: f"{_names(c)} depends on it and has to leave {c.move.source} first",
        source_name,
    ),
    Row(
        137,
        "what depends on it does not leave, and the move is a planned one",
        stuck,
        Then.ABANDON,
        lambda c: (
            f"{_names(c)}, which depends on it, did not leave {c.move.source}: {c.said(StepKind.ALONG)}"
        ),
    ),
)

BASELESS: tuple[Row, ...] = (
    Row(
        235,
        "what it depends on is not active on the target and has to come along",
        may_call,
        StepKind.ALONG,
        lambda c: f"{_lacking(c)}, and has to come to {c.move.target}: {c.move.resource.name} depends on it",
    ),
    Row(
        236,
        "what it depends on does not come to the target",
        forsaken,
        Then.ABANDON,
        lambda c: (
            f"{_lacking(c)}, and {c.move.resource.name}, which depends on that, is not brought into service on {c.move.target}"
            f"{_why_not(c)}"
        ),
    ),
    Row(
        WAITS,
        "what it depends on is not active on the target yet",
        baseless,
        Then.HOLD,
        lambda c: f"{c.move.resource.name} waits on {c.move.target}: {_lacking(c)}{_why_not(c)}{_ways_on(c)}",
    ),
)
