"""Which of the privileges that a failover needs vCenter's account has not got, for ``doctor``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pyVmomi import vmodl

from vmdk_failover.errors import CannotObserve
from vmdk_failover.vsphere.checks import Finding
from vmdk_failover.vsphere.session import Login, Session

#: Needed on every VM of a resource, and what for.
NEEDED: Mapping[str, str] = {
    "System.Read": "seeing its disks and its power state",
    "VirtualMachine.Interact.PowerOff": "fencing it",
    "VirtualMachine.Config.RemoveDisk": "detaching its disk",
    "VirtualMachine.Config.AddExistingDisk": "attaching the disk to it",
    "VirtualMachine.Config.AdvancedConfig": "making a lost request impossible",
}


#: Needed on top of these where ``fence_action`` is ``reboot``.
FOR_REBOOT: Mapping[str, str] = {"VirtualMachine.Interact.PowerOn": "powering it on again after a fence"}


def check_privileges(
    session: Session, refs: Mapping[str, str], needed: Mapping[str, str] = NEEDED
) -> list[Finding]:
    """
    Ask vCenter about each privilege on each VM, in one call after that for the login's own key.

    :param refs: managed object ids by node. :param needed: privileges, and what for.
    :return: findings of code ``no_permission``.
    :raises CannotObserve: vCenter cannot be read.
    """

    def ask(login: Login) -> Any:
        key = login.content.sessionManager.currentSession.key
        vms = [login.vm(ref) for ref in refs.values()]
        return login.content.authorizationManager.HasPrivilegeOnEntities(vms, key, list(needed))

    try:
        return lacking(session.read(ask) or (), {ref: node for node, ref in refs.items()}, needed)
    except vmodl.fault.ManagedObjectNotFound as err:
        raise CannotObserve("a VM went away while its privileges were looked at; try again") from err


def lacking(
    answer: Iterable[Any], nodes: Mapping[str, str], needed: Mapping[str, str] = NEEDED
) -> list[Finding]:
    """
    Findings from vCenter's answer; a privilege that it does not speak of counts as missing. Pure.

    :param nodes: node by managed object id.
    """
    granted = {
        one.entity._GetMoId(): {each.privId for each in one.privAvailability if each.isGranted}
        for one in answer
    }
    return [
        Finding(
            node, "no_permission", f"vCenter's account lacks {name} on the VM of {node}, for {what}; grant it"
        )
        for ref, node in nodes.items()
        for name, what in needed.items()
        if name not in granted.get(ref, set())
    ]
