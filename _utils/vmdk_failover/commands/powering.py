"""
``power_off``: a node that holds nothing is powered off on purpose, for maintenance.

Never a fence: a node that holds a disk, or of which that is not known, is refused, and no move can begin meanwhile.
"""

from __future__ import annotations

import contextlib
from typing import Any

from vmdk_failover.app import App
from vmdk_failover.engine import WISH_WAIT
from vmdk_failover.errors import OutcomeUnknown, Refused, StepFailed
from vmdk_failover.model import Resource, Result, VmFacts


def power_off(app: App, node: str, test: bool = False) -> dict[str, Any]:
    """
    Power the VM of a node off, and read that back.

    :param node: minion id. :param test: only say what would be done.
    :return: whether it is ``off``, and whether that was ``changed`` (or would be).
    :raises FailoverError: it holds a disk, it is not known whether it does, or it did not go off.
    """
    mine = [r for r in app.settings.resources.values() if node in {n.minion for n in r.nodes}]
    if not mine:
        raise Refused(f"{node} is not a node of any resource")
    if app.bystander:
        raise Refused(app.bystander, "bystander")
    with contextlib.ExitStack() as locks:
        for resource in sorted(mine, key=lambda one: one.name):
            locks.enter_context(app.lock.resource(resource.name, "power-off", WISH_WAIT))
        locks.enter_context(app.lock.node(node, WISH_WAIT))
        seen, *_ = [_idle(app, resource, node) for resource in mine]  # of each of them
        if not test:  # a fence may have promised to start it again: it is in somebody's hands now
            app.vicinity.restart(node, False)
        if seen.is_off or test:
            return {"node": node, "off": seen.is_off, "changed": not seen.is_off}
        outcome = app.hypervisor.power_off(mine[0], mine[0].node(node), seen)
        if not _idle(app, mine[0], node).is_off:
            raise (OutcomeUnknown if outcome.result is Result.UNKNOWN else StepFailed)(outcome.evidence)
    return {"node": node, "off": True, "changed": True}


def _idle(app: App, resource: Resource, node: str) -> VmFacts:
    """The VM of a node that holds nothing of the resource."""
    if app.journal.state(resource.name).move is not None:
        raise Refused(f"a move of {resource.name} is open; let it end first")
    facts = app.hypervisor.observe(resource)
    vm = facts.vm(node)
    if not facts.readable or vm.present is not True:
        raise Refused(f"the VM of {node} cannot be seen: {facts.reason or 'vCenter does not show it'}")
    listed = [vm.lists(disk) for disk in resource.disks]
    if any(one is not False for one in listed):
        raise Refused(
            f"{node} has the disk of {resource.name}, or it is not known whether it has; "
            f"'salt-run vmdk.drain {node}' first"
        )
    return vm
