"""
Where the disk may be by what is remembered: finished moves, and the node on which it was last seen for certain. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vmdk_failover.judgement.assess import NodeSight, Snapshot
from vmdk_failover.model import Move, Outcome, Power, Result, StepKind

#: How a node comes to be a home, as the predicate of a sentence.
HAD, GIVEN = "was the last to have it", "was to get it in a move that failed"


def sighted(seen: Snapshot) -> str:
    """
    The node that has the disk for certain: it is the only one that may write, by vCenter's current word, and says itself that
    it has it mounted; else ``""``.
    """
    node = seen.writers[0] if seen.readable and len(seen.writers) == 1 else None
    return node.minion if node is not None and node.complete and node.running and node.mounted else ""


def _listed(seen: Snapshot) -> str:
    """The only node that has the disk by vCenter's current word, whether it runs or not; else ``""``."""
    node = seen.holders[0] if seen.readable and len(seen.holders) == 1 else None
    return node.minion if node is not None and node.complete and _current(node) else ""


def _current(node: NodeSight) -> bool:
    """Its VM is shown as it is now."""
    return node.vm.present is True and node.vm.connected is True and node.vm.power is not Power.UNKNOWN


def news(
    seen: Snapshot, recent: Sequence[Mapping[str, Any]], home: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """
    What is to be written down of a look, as :func:`changed` has it. Where nothing is remembered vCenter's word alone is better
    than none; but it replaces nothing: right after vCenter was restored its lists can be old ones that look current.

    :param recent: finished moves, oldest first. :param home: what is remembered.
    """
    weak = "" if known(recent, home) else _listed(seen)
    return changed(sighted(seen) or weak, recent, home)


def changed(
    node: str, recent: Sequence[Mapping[str, Any]], home: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """
    What is to be written down when the disk was seen for certain; ``None`` if that is remembered already.

    Its ``epoch`` is that of the last move that has ended: one that is open, perhaps another master's, ends later than this look.

    :param node: where it was seen; ``""`` if nowhere.
    :param recent: finished moves, oldest first. :param home: what is remembered.
    """
    if not node or list(known(recent, home)) == [node]:
        return None
    return {"node": node, "epoch": max((_epoch(move) for move in recent), default=0)}


def known(recent: Sequence[Mapping[str, Any]], home: Mapping[str, Any] | None = None) -> dict[str, str]:
    """
    The nodes that may have the disk as far as is remembered and nobody said ``clear`` since: who had it last, and who was to get
    it since in a move that failed; whatever such a move has detached it from is none.

    :param recent: finished moves, oldest first, as the journal has them.
    :param home: ``node`` on which it was seen for certain, after the move of ``epoch`` had ended; ``None`` if that is not known.
    :return: how they come to be in question, as the predicate of a sentence, by minion id, the latest first.
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for move in reversed(recent):
        if move.get("forgotten") or (home is not None and _epoch(move) <= _epoch(home)):
            break
        target = str(move.get("target", ""))
        if (move.get("ok") or move.get("given")) and target not in taken:
            found.setdefault(target, HAD if move.get("ok") else GIVEN)
        if move.get("ok"):
            return _named(found)
        taken.update(str(node) for node in move.get("taken", ()))
    if home is not None and (last := str(home.get("node", ""))) not in taken:
        found.setdefault(last, HAD)
    return _named(found)


def left(move: Move, seen: Snapshot, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """
    What a move that ends says of where the disk may be, besides whether it ended well.

    :return: ``given`` if the target was to get it and is not seen to be without it; ``taken``, the nodes it was detached from.
    """
    asked = any(o.step.kind is StepKind.ATTACH and o.result is not Result.FAILED for o in outcomes)
    target = seen.node(move.target)
    free = _current(target) and target.holds is False
    detached = {o.step.node for o in outcomes if o.step.kind is StepKind.DETACH and o.result is Result.DONE}
    return {"given": asked and not free, "taken": sorted(detached)}


def _named(found: Mapping[str, str]) -> dict[str, str]:
    """A move of another master can have left no name."""
    return {node: how for node, how in found.items() if node}


def _epoch(of: Mapping[str, Any]) -> int:
    return int(of.get("epoch", 0))
