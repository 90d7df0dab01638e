"""
A look in few words: what each witness said, small enough to be kept in the history. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vmdk_failover.judgement.assess import NodeSight, Snapshot

#: No text of a node or of vCenter is kept longer than this.
LONGEST = 300
#: So many reasons why a node is not ready are kept.
REASONS = 3

Words = dict[str, dict[str, Any]]


def words(seen: Snapshot) -> Words:
    """By witness (``vcenter`` while it cannot be read, and each node) what it said; what is unknown is left out."""
    found: Words = {} if seen.readable else {"vcenter": {"unreadable": _short(seen.reason)}}
    return {**found, **{one.minion: _of(one) for one in seen.nodes}}


def news(before: Mapping[str, Any], now: Words) -> Words:
    """What is not as it was in an earlier look."""
    return {who: said for who, said in now.items() if before.get(who) != said}


def _of(node: NodeSight) -> dict[str, Any]:
    facts, vm = node.facts, node.vm
    found: dict[str, Any] = {"power": vm.power.value, "holds": node.holds, "answers": facts is not None}
    if vm.connected is not True:
        found["connected"] = vm.connected
    if vm.present is False:
        found["gone"] = True
    if vm.task:
        found["task"] = _short(vm.task)
    if facts is not None:
        found.update(mounted=facts.mounted.value, condition=facts.condition.value)
        if facts.evidence:
            found["evidence"] = _short(facts.evidence)
    if not node.holds and node.unfit():
        found["not_ready"] = [_short(why) for why in node.unfit()[:REASONS]]
    return found


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
