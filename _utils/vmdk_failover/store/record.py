"""
What a journal remembers of one resource, and how that is read from what was written. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vmdk_failover.model import Move, Outcome, Result, Step, StepKind, move_from_plain


@dataclass(frozen=True)
class Entry:
    """What the journal remembers of one resource (the ``Record`` port)."""

    epoch: int = 0
    move: Move | None = None
    outcomes: tuple[Outcome, ...] = ()
    paused: bool = False
    missing_ok: tuple[str, ...] = ()
    pause: Mapping[str, Any] = field(default_factory=dict)
    hold: Mapping[str, Any] | None = None
    recent: tuple[Mapping[str, Any], ...] = ()
    home: Mapping[str, Any] | None = None


def read(plain: Mapping[str, Any], redated: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Entry:
    """
    Understand a state.

    :param redated: gives a finished move by today's clock.
    :raises KeyError, TypeError, ValueError: it has another form.
    """
    return Entry(
        epoch=int(plain.get("epoch", 0)),
        move=move_from_plain(plain["move"]) if plain.get("move") else None,
        outcomes=tuple(outcome(o) for o in plain.get("outcomes", ())),
        paused=bool(plain.get("pause")),
        missing_ok=tuple(map(str, plain.get("missing_ok", ()))),
        pause=plain.get("pause") or {},
        hold=plain.get("hold"),
        recent=tuple(redated(dict(m)) for m in plain.get("recent", ())),
        home=_home(plain["home"]) if plain.get("home") else None,
    )


def _home(plain: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**plain, "node": str(plain["node"]), "epoch": int(plain["epoch"])}


def outcome(plain: Mapping[str, Any]) -> Outcome:
    """An outcome as it was written."""
    step = Step(StepKind(plain["step"]["kind"]), plain["step"]["node"])
    return Outcome(
        step,
        Result(plain["result"]),
        plain.get("evidence", ""),
        plain.get("code", ""),
        plain.get("took", 0.0),
        basis=plain.get("basis", ""),
    )
