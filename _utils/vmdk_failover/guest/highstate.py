"""
What is so of a resource on this node, for a state that was given no order: it may change nothing, and only says how it is. Pure.

The answer is Salt's ``result``. ``True``: what the state names is so. ``False``: it is not, and something is wrong, or somebody
asked for what a state alone cannot bring about. ``None``, which Salt shows as neither: a backup that does not have the
resource (it is not mounted there, and a highstate of that node is not red for it), or what is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from vmdk_failover.model import MountState, NodeFacts, Resource

#: Salt's ``result``, and one sentence.
Said = tuple[bool | None, str]

_NOT_MOUNTED: Mapping[MountState, str] = {
    MountState.UNMOUNTED: "its disk is in this node, and it is not mounted",
    MountState.PARTLY: "not all of its file systems are mounted",
    MountState.FOREIGN: "something else is mounted in its place",
    MountState.UNKNOWN: "what is mounted in its place is not known",
}


def mounted(resource: Resource, facts: NodeFacts) -> Said:
    """
    Whether the resource is in service here.

    :param facts: with what the service manager says (``services``).
    """
    name, state = resource.name, facts.mounted
    if state is MountState.UNMOUNTED and facts.device is False and not facts.superblock:
        return None, f"{name} is not active here, its disk is not in this node"
    if state is not MountState.MOUNTED:
        return False, f"{name} is not active here: {_NOT_MOUNTED[state]}"
    if not resource.services or facts.services:
        return True, f"{name} is active here"
    if facts.services is None:
        return None, f"{name} is active here; whether its services run is not known"
    return False, f"{name} is active here, but not all of its services run"


def unmounted(resource: Resource, facts: NodeFacts) -> Said:
    """Whether nothing of the resource is in use here; what is not proven is not so."""
    name, state = resource.name, facts.mounted
    if state is MountState.MOUNTED:
        return False, f"{name} is active here"
    if state is not MountState.UNMOUNTED:
        return False, f"it is not proven that {name} is not in use here: {_NOT_MOUNTED[state]}"
    if facts.superblock is not False:
        return False, f"{name} is not active here, but still in use: 'salt-call vmdk.users {name}' names who"
    if facts.busy:
        return False, f"{name} is not active here, but its disk is in use: {facts.busy}"
    return True, f"{name} is not active here"


def halted(resource: Resource, facts: NodeFacts) -> Said:
    """A machine that answers is not halted."""
    return False, f"{facts.minion} runs: nothing but an order of the master halts it"


#: By the act of the order that the state has when the master gives it.
SAYS: Mapping[str, Callable[[Resource, NodeFacts], Said]] = {
    "mount": mounted,
    "release": unmounted,
    "halt": halted,
}
