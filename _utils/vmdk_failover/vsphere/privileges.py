"""Which of the privileges that a failover needs vCenter's account has not got, for ``doctor``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pyVmomi import vim, vmodl

from vmdk_failover.errors import CannotObserve
from vmdk_failover.vsphere.findings import Finding
from vmdk_failover.vsphere.session import Login, Session

#: Needed on every VM of a resource, and what for.
NEEDED: Mapping[str, str] = {
    "System.Read": "seeing its disks and its power state",
    "VirtualMachine.Interact.PowerOff": "fencing it",
    "VirtualMachine.Config.RemoveDisk": "detaching its disk",
    "VirtualMachine.Config.AddExistingDisk": "attaching the disk to it",
    "VirtualMachine.Config.AdvancedConfig": "making a lost request impossible",
}

#: Without these a VM cannot take a disk.
TO_TAKE: Mapping[str, str] = {
    name: NEEDED[name] for name in ("System.Read", "VirtualMachine.Config.AddExistingDisk")
}

#: Needed on top of these where ``fence_action`` is ``reboot``.
FOR_REBOOT: Mapping[str, str] = {"VirtualMachine.Interact.PowerOn": "powering it on again after a fence"}


#: Needed on each datastore of a resource's disks, and on top of it where masters claim by folders.
ON_DATASTORES: Mapping[str, str] = {"Datastore.Browse": "attaching a file that is there"}
FOR_CLAIMS: Mapping[str, str] = {
    "Datastore.FileManagement": "making the folders by which masters claim epochs"
}


def check_privileges(
    session: Session, refs: Mapping[str, str], needed: Mapping[str, str] = NEEDED
) -> list[Finding]:
    """
    Ask vCenter about each privilege on each VM, in one call after that for the login's own key.

    :param refs: managed object ids by node. :param needed: privileges, and what for.
    :return: findings of code ``no_permission``.
    :raises CannotObserve: vCenter cannot be read.
    """
    answer = _ask(session, vim.VirtualMachine, refs.values(), needed)
    return lacking(answer, {ref: node for node, ref in refs.items()}, needed)


def check_datastores(session: Session, refs: Mapping[str, str], needed: Mapping[str, str]) -> list[Finding]:
    """The same for datastores; ``refs`` are managed object ids by name."""
    answer = _ask(session, vim.Datastore, refs.values(), needed)
    granted = _granted(answer)
    return [
        Finding("", "no_permission", _sentence(name, f"the datastore {store}", what), where=store)
        for store, ref in refs.items()
        for name, what in needed.items()
        if name not in granted.get(ref, set())
    ]


def _ask(session: Session, kind: Any, refs: Iterable[str], needed: Mapping[str, str]) -> Any:
    wanted = sorted(set(refs))

    def ask(login: Login) -> Any:
        key = login.content.sessionManager.currentSession.key
        entities = [login.ref(kind, ref) for ref in wanted]
        return login.content.authorizationManager.HasPrivilegeOnEntities(entities, key, list(needed))

    try:
        return (session.read(ask) if wanted else None) or ()
    except vmodl.fault.ManagedObjectNotFound as err:
        raise CannotObserve("something went away while its privileges were looked at; try again") from err


def lacking(
    answer: Iterable[Any], nodes: Mapping[str, str], needed: Mapping[str, str] = NEEDED
) -> list[Finding]:
    """
    Findings from vCenter's answer; a privilege that it does not speak of counts as missing. Pure.

    :param nodes: node by managed object id.
    """
    granted = _granted(answer)
    return [
        Finding(node, "no_permission", _sentence(name, f"the VM of {node}", what))
        for ref, node in nodes.items()
        for name, what in needed.items()
        if name not in granted.get(ref, set())
    ]


def _granted(answer: Iterable[Any]) -> Mapping[str, set[str]]:
    return {
        one.entity._GetMoId(): {each.privId for each in one.privAvailability if each.isGranted}
        for one in answer
    }


def _sentence(privilege: str, where: str, what: str) -> str:
    return f"vCenter's account lacks {privilege} on {where}, for {what}; grant it"
