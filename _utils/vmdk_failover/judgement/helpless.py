"""
The policy of a holder that says unasked that it cannot use its disk, and answers no question. Pure.
"""

from __future__ import annotations

from dataclasses import replace

from vmdk_failover.judgement.assess import NodeSight
from vmdk_failover.judgement.failing import came_along, fellows, out_of_space
from vmdk_failover.judgement.silence import HEARD
from vmdk_failover.judgement.situation import Choice, PolicyRow, Situation, holder_name, of_holder
from vmdk_failover.model import NodeFacts


def calls_for_help(s: Situation, h: NodeSight) -> bool:
    """
    It says without being asked that it cannot use the disk, and has answered no question for as long as a silent node is given.

    Its heartbeats come, so it is not silent, nor is the master cut off from it: what fails takes the minion along (its own disk
    is on the same storage, full or read-only), and so nobody can ask it to let go.
    """
    if h.facts is not None or h.complaint is None or h.guarded or h.renamed:
        return False
    silent, unanswered = h.signs.silent, h.signs.unanswered
    lives = silent is not None and 0 <= silent <= HEARD  # less than 0 is an excuse, such as a boot
    long = unanswered is not None and unanswered >= s.resource.node_timeout
    return lives and long and not _is_no_help(s, h)


def _is_no_help(s: Situation, h: NodeSight) -> bool:
    """What would keep the disk where it is if it had answered (650 to 654)."""
    said = h.complaint
    if said is None:
        return True
    word = NodeFacts(h.minion, "", 0.0, condition=said.condition, evidence=said.evidence)
    asked = replace(h, facts=word)
    often = s.rescues() >= s.resource.max_failovers_per_hour
    return often or out_of_space(s, asked) or came_along(s, asked) or bool(fellows(s, asked))


def _help_words(s: Situation) -> str:
    said = s.holder.complaint if s.holder else None
    what = f"{said.condition.value}: {said.evidence}" if said else "it cannot use the disk"
    return (
        f"{holder_name(s)} says that it cannot use the disk ({what}) and has answered no question for more than "
        f"{s.resource.node_timeout:g} s, although its heartbeats come: its minion cannot work (is its own disk full, read-only, "
        "or on the same storage?)"
    )


#: The row by which a resource leaves a node that says so and answers nothing.
HELP = 637

HELPLESS: tuple[PolicyRow, ...] = (
    PolicyRow(
        HELP,
        "the holder says that it cannot use the disk, answers nothing, and another node is ready",
        of_holder(lambda s, h: calls_for_help(s, h) and bool(s.targets())),
        Choice.MOVE,
        _help_words,
    ),
)
