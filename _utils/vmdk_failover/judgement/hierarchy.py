"""
Resources that depend on each other: what one look says of the others, and the questions that both tables ask about them. Pure.

A resource is mounted only where all that it depends on is active. A move of one takes the others along: what depends on it leaves
first and is mounted last. Nothing here ever lets go of a disk or holds a fence up: each resource moves by its own rows.
"""

from __future__ import annotations

from vmdk_failover.judgement.assess import NodeSight, Snapshot
from vmdk_failover.kin import Kin, Neighbour
from vmdk_failover.model import MountState, Move, MoveKind

#: Rows by which a resource follows what it depends on; such a move asks nobody to come along.
TAKEN_ALONG = frozenset({570, 571})
FOLLOWS = TAKEN_ALONG | {577}
#: Kinds of moves that leave a node.
LEAVES = (MoveKind.FAILOVER, MoveKind.SWITCHOVER)


def kin_of(one: Neighbour, seen: Snapshot) -> Kin:
    """What a look at another resource of the hierarchy says of it."""
    return Kin(
        one.name,
        one.below,
        next((n.minion for n in seen.nodes if _in_service(n, seen.readable)), ""),
        tuple(n.minion for n in seen.writers if not _unmounted(n)),
        any(n.failed for n in seen.writers),
        one.paused,
        one.move,
        {n.minion: n.unfit() for n in seen.nodes},
    )


def _in_service(node: NodeSight, readable: bool) -> bool:
    """By vCenter's word and its own; by its own alone while vCenter cannot be read."""
    runs = node.facts is not None and node.facts.services is not False
    return runs and (node.healthy if readable else node.mounted and not node.failed)


def _unmounted(node: NodeSight) -> bool:
    facts = node.facts
    return facts is not None and facts.mounted is MountState.UNMOUNTED and facts.superblock is False


def below(seen: Snapshot) -> tuple[Kin, ...]:
    """What the resource depends on."""
    return tuple(k for k in seen.kin if k.below) if seen.kin else ()


def above(seen: Snapshot) -> tuple[Kin, ...]:
    """What depends on the resource."""
    return tuple(k for k in seen.kin if not k.below) if seen.kin else ()


def stands(seen: Snapshot, minion: str) -> bool:
    """Whether all that the resource depends on is active on this node."""
    return not seen.kin or all(k.active == minion for k in below(seen))


def base(seen: Snapshot) -> str:
    """The node on which all that it depends on is active; ``""`` if there is no such node, or it depends on nothing."""
    nodes = {k.active for k in below(seen)}
    return nodes.pop() if len(nodes) == 1 else ""


def base_words(seen: Snapshot, minion: str) -> str:
    """What of it is not active on this node (``""``: on any), as part of a sentence."""
    return " and ".join(f"{k.name} {_where(k)}" for k in below(seen) if not minion or k.active != minion)


def _where(kin: Kin) -> str:
    if kin.move is not None and not kin.move.is_local:
        return f"is on its way to {kin.move.target}"
    paused = " and is paused" if kin.paused else ""
    return f"is active on {kin.active}{paused}" if kin.active else f"is not seen to be active{paused}"


def leader(seen: Snapshot, minion: str) -> Move | None:
    """An open move that takes what the resource depends on away from this node."""
    return _leaving(below(seen), minion)


def puller(seen: Snapshot, minion: str) -> Move | None:
    """An open move by which what depends on the resource has left this node of its own accord; not before it has let go."""
    found = _leaving(tuple(k for k in above(seen) if minion not in k.on), minion)
    return None if found is None or found.rule in FOLLOWS else found


def _leaving(kin: tuple[Kin, ...], minion: str) -> Move | None:
    moves = (k.move for k in kin if k.move is not None)
    return next((m for m in moves if m.kind in LEAVES and m.source == minion != m.target), None)


def riders(seen: Snapshot, minion: str) -> tuple[Kin, ...]:
    """What depends on the resource and may still be in use on this node."""
    return tuple(k for k in above(seen) if minion in k.on)


def coming(seen: Snapshot, minion: str) -> bool:
    """Whether something that the resource depends on is on its way to this node."""
    return any(k.move is not None and k.move.target == minion for k in below(seen))


def cannot_base(seen: Snapshot, minion: str, holder: str) -> tuple[str, ...]:
    """Why what the resource depends on could not be active on this node too, if the resource came there from ``holder``."""
    return tuple(words for k in below(seen) if (words := _cannot_base(k, minion, holder)))


def _cannot_base(kin: Kin, minion: str, holder: str) -> str:
    if kin.active == minion:
        return ""
    if not kin.active or kin.active != holder or kin.move is not None or kin.paused:
        return f"it depends on {kin.name}, which {_where(kin)}"
    unfit = "; ".join(kin.unfit.get(minion, ()))
    return f"it depends on {kin.name}, which could not come along: {unfit}" if unfit else ""


def cannot_follow(seen: Snapshot, minion: str) -> tuple[str, ...]:
    """Why what depends on the resource could not follow it to this node."""
    found = []
    for kin in above(seen):
        if kin.active == minion:
            continue
        trouble = "it is paused" if kin.paused else "it is being moved" if kin.move is not None else ""
        trouble = trouble or ("it cannot use its disk" if kin.failed else "")
        trouble = trouble or "; ".join(kin.unfit.get(minion, ()))
        if trouble:
            found.append(f"{kin.name}, which depends on it, could not come along: {trouble}")
    return tuple(found)
