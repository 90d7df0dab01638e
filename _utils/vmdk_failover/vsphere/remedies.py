"""What mends each finding of ``checks.py`` and ``privileges.py``: the exact command or setting. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from vmdk_failover.model import Resource
from vmdk_failover.vsphere.findings import Finding

_PRIVILEGE = re.compile(r"\b(?:System|VirtualMachine|Datastore)(?:\.[A-Za-z]+)+")

#: Given the resource, the names of the VMs by node, and the node.
_Write = Callable[[Resource, Mapping[str, str], str], str]


def remedy(found: Finding, resource: Resource, names: Mapping[str, str]) -> str:
    """What to do about a finding of ``checks.py``, ``clusters.py`` or ``keepers.py``; ``names`` of the VMs by node."""
    if found.code in _OF_CLUSTERS:
        return _OF_CLUSTERS[found.code](found, resource, names)
    return _REMEDIES.get(found.code, _look)(resource, names, found.node)


def grant(sentence: str, user: str) -> str:
    """What to do about a privilege that the account has not got."""
    found = _PRIVILEGE.search(sentence)
    name = found.group() if found else "the privilege"
    return f"Add {name} to the role of {user}: 'govc role.update -a ROLE {name}', or in the vSphere client under Roles."


def _look(resource: Resource, names: Mapping[str, str], node: str) -> str:
    return f"Look at VM {names.get(node, node)} in the vSphere client."


def _vm(names: Mapping[str, str], node: str) -> str:
    return names.get(node) or node


def _enable_uuid(resource: Resource, names: Mapping[str, str], node: str) -> str:
    return f"'govc vm.change -vm {_vm(names, node)} -e disk.enableUUID=TRUE', then power the VM off and on."


def _snapshot(resource: Resource, names: Mapping[str, str], node: str) -> str:
    return f"'govc snapshot.remove -vm {_vm(names, node)} \\*' (it merges all of them; see 'govc snapshot.tree' first)."


def _controller(resource: Resource, names: Mapping[str, str], node: str) -> str:
    wanted = ", ".join(sorted({f"{d.controller} as SCSI controller {d.bus}" for d in resource.disks}))
    return f"Edit settings of VM {_vm(names, node)} > Add new device > SCSI controller: {wanted}."


def _slot(resource: Resource, names: Mapping[str, str], node: str) -> str:
    slots = ", ".join(f"SCSI({d.bus}:{d.unit})" for d in resource.disks)
    return (
        f"Edit settings of VM {_vm(names, node)} > move the disk at {slots} to another virtual device node."
    )


def _apart(found: Finding, resource: Resource, names: Mapping[str, str]) -> str:
    vms, cluster = " ".join(names.values()), found.where or "CLUSTER"
    rule = f"vmdk-{resource.name}"
    return f"'govc cluster.rule.create -cluster {cluster} -name {rule} -enable -anti-affinity {vms}'."


def _switch_on_ha(found: Finding, resource: Resource, names: Mapping[str, str]) -> str:
    return (
        f"'govc cluster.change -ha-enabled {found.where}', or give the resources a host_fence (docs/operation.md); "
        "without either, 'salt-run vmdk.confirm_off NODE' is yours to say."
    )


def _restart(found: Finding, resource: Resource, names: Mapping[str, str]) -> str:
    vm = _vm(names, found.node)
    return f"'govc cluster.override.change -cluster {found.where} -vm {vm} -ha-restart-priority medium'."


def _part(found: Finding, resource: Resource, names: Mapping[str, str]) -> str:
    return f"'govc cluster.rule.remove -name {found.where}', or take all nodes but one out of it."


def _elsewhere(found: Finding, resource: Resource, names: Mapping[str, str]) -> str:
    return f"Move VM {found.where} to a datastore without protected disks: 'govc vm.migrate -ds OTHER {found.where}'."


def _see_cluster(found: Finding, resource: Resource, names: Mapping[str, str]) -> str:
    return "'govc permissions.set -principal USER -role ReadOnly -propagate /DC/host/CLUSTER'."


def _independent(resource: Resource, names: Mapping[str, str], node: str) -> str:
    return (
        f"Edit settings of VM {_vm(names, node)} > the disk > Disk mode: Independent - Persistent (needs the VM off; backups of "
        "the VM leave the disk out then), and write the mode into the resource's file."
    )


def _datastore(resource: Resource, names: Mapping[str, str], node: str) -> str:
    return f"Make the datastore reachable from the host of VM {_vm(names, node)}: 'govc datastore.info' shows who mounts it."


def _unlisted(resource: Resource, names: Mapping[str, str], node: str) -> str:
    return f"'salt-run vmdk.adopt {resource.name} test=True' shows where the disk is; adopt it if its file was moved."


def _unshared(resource: Resource, names: Mapping[str, str], node: str) -> str:
    return f"Edit settings of VM {_vm(names, node)} > the disk > Sharing: No sharing."


def _persistent(resource: Resource, names: Mapping[str, str], node: str) -> str:
    return (
        f"Copy what is on it first: it is lost when VM {_vm(names, node)} goes off. Then, with the VM off, Edit settings > the "
        "disk > Disk mode: Dependent, or Independent - Persistent."
    )


def _readable(resource: Resource, names: Mapping[str, str], node: str) -> str:
    return f"Give the account the role of docs/quickstart.md on VM {_vm(names, node)}, its host and the datastore."


_REMEDIES: Mapping[str, _Write] = {
    "enable_uuid": _enable_uuid,
    "snapshot": _snapshot,
    "controller": _controller,
    "slot_taken": _slot,
    "disk_mode": _independent,
    "datastore": _datastore,
    "disk_unlisted": _unlisted,
    "multi_writer": _unshared,
    "discarding_disk": _persistent,
    "unreadable": _readable,
}

_OF_CLUSTERS: Mapping[str, Callable[[Finding, Resource, Mapping[str, str]], str]] = {
    "same_host": _apart,
    "drs_apart": _apart,
    "drs_together": _part,
    "ha_off": _switch_on_ha,
    "ha_restart": _restart,
    "cluster_unread": _see_cluster,
    "keeper": _elsewhere,
}
