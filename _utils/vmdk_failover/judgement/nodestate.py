"""
What is made of a node by what its witnesses say: one word. Pure.

Four witnesses: the direct question, the age of the last signed heartbeat, the address, and vCenter. The word is shown to
people; what follows for a resource is the tables' to say (``silence.py``), which ask the same questions.
"""

from __future__ import annotations

import enum

from vmdk_failover.judgement.assess import NodeSight

#: Guest heartbeats that say that nothing runs in there. Any other word, and none, may mean that the guest lives.
DEAD = frozenset({"red", "gray"})


class NodeState(str, enum.Enum):
    """How a node is, apart from its disks; the words of ``vmdk.status``."""

    HEALTHY = "healthy"
    SUSPECT = "suspect"
    SILENT = "silent"
    ISOLATED = "isolated"
    OFF = "off"
    UNKNOWN = "unknown"


def state_of(sight: NodeSight, node_timeout: float) -> NodeState:
    """
    How a node is. A signed answer is proof of life, and "off" is vCenter's current word or somebody's who made sure; all between
    is silence, for which there may be an excuse.

    :param node_timeout: seconds of silence after which it counts.
    """
    if sight.vm.is_off or sight.confirmed:
        return NodeState.OFF
    if sight.facts is not None:
        return NodeState.HEALTHY
    if sight.signs.silent is None or sight.impostor:
        return NodeState.UNKNOWN
    if sight.signs.silent < node_timeout:
        return NodeState.SUSPECT
    return NodeState.ISOLATED if is_isolated(sight) else NodeState.SILENT


def is_isolated(sight: NodeSight) -> bool:
    """Its address is silent, and vCenter does not say that the guest is dead: it may run, and nothing of it comes through."""
    return sight.signs.address is False and sight.vm.heartbeat not in DEAD
