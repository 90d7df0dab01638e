"""
What ``protect`` and ``doctor`` ask of vCenter about the VMs of a resource: everything that would make a
failover fail.

One call reads all VMs, their hosts and the datastores that the hosts reach, a second one how each host reaches those that
matter: vCenter calls a datastore accessible as long as one host reaches it. Judging the answers is pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from vmdk_failover.around import datastore_of
from vmdk_failover.finding import HINT
from vmdk_failover.judgement.stake import discards
from vmdk_failover.model import Disk
from vmdk_failover.vsphere import clusters, devices
from vmdk_failover.vsphere.findings import Finding
from vmdk_failover.vsphere.properties import Read, filter_spec, retrieve, step
from vmdk_failover.vsphere.session import Login, Session

_VM_PATHS = (
    "name",
    "config.hardware.device",
    "config.extraConfig",
    "config.flags.diskUuidEnabled",
    "snapshot",
    "runtime.host",
)


@dataclass(frozen=True)
class Group:
    """
    The VMs of one resource.

    :param refs: managed object ids by node. :param holder: the node that has the disks now.
    :param fenced: a host fence is set, so a lost host needs no vSphere HA.
    """

    refs: Mapping[str, str]
    holder: str
    disks: Sequence[Disk]
    fenced: bool = False


@dataclass(frozen=True)
class Seen:
    """What the checks know of one VM; ``None`` means that it could not be read. more: its host has datastores that could not."""

    node: str
    name: str
    hardware: Sequence[Any] | None
    enable_uuid: bool | None
    snapshot: bool | None
    host: str
    datastores: Mapping[str, bool | None] | None
    ref: str = ""
    cluster: clusters.Cluster | None = None
    more: bool = False


def check_all(session: Session, groups: Mapping[str, Group]) -> dict[str, list[Finding]]:
    """
    Check the VMs of several resources in two calls.

    :return: findings by the key of each group.
    :raises CannotObserve: vCenter cannot be read.
    """
    wanted = sorted({ref for group in groups.values() for ref in group.refs.values()})

    def ask(login: Login) -> dict[str, Read]:
        return retrieve(login, _spec(login, wanted))

    answer = session.read(ask) if wanted else {}
    known = {
        ref: clusters.cluster_of(answer[ref], answer) for ref in answer if answer[ref].kind == "HostSystem"
    }
    names = {datastore_of(disk.path) for group in groups.values() for disk in group.disks}
    lost = _lost(session, sorted(ref for ref in answer if answer[ref].get("summary.name") in names))
    return {
        key: judge([_seen(n, ref, answer, known, lost) for n, ref in group.refs.items()], group)
        for key, group in groups.items()
    }


def _lost(session: Session, refs: Sequence[str]) -> frozenset[tuple[str, str]]:
    """Hosts and datastores of which vCenter says that the one does not reach the other, by their ids."""

    def ask(login: Login) -> dict[str, Read]:
        stores = [login.ref(vim.Datastore, ref) for ref in refs]
        return retrieve(login, filter_spec(stores, {vim.Datastore: ("host",)}))

    answer = session.read(ask) if refs else {}
    return frozenset(
        (mount.key._GetMoId(), ref)
        for ref, store in answer.items()
        for mount in store.get("host") or ()
        if mount.mountInfo.accessible is False
    )


def judge(vms: Sequence[Seen], group: Group) -> list[Finding]:
    """All findings about these VMs, in the order of the nodes. Pure."""
    found: list[Finding] = []
    for vm in vms:
        if vm.hardware is None:
            found.append(
                Finding(
                    vm.node,
                    "unreadable",
                    f"VM {vm.name} of {vm.node} cannot be read; check the account's rights",
                )
            )
            continue
        found += _of_any(vm, group.disks)
        found += _of_holder(vm, group.disks) if vm.node == group.holder else _of_backup(vm, group.disks)
    members = [
        clusters.Member(vm.node, vm.name, vm.ref, vm.host, vm.cluster)
        for vm in vms
        if vm.hardware is not None
    ]
    return found + list(clusters.judge(members, group.fenced))


def _of_any(vm: Seen, disks: Sequence[Disk]) -> Iterable[Finding]:
    if vm.enable_uuid is None:
        text = f"whether disk.EnableUUID is set on VM {vm.name} cannot be read; check the account's rights"
        yield Finding(vm.node, "unreadable", text)
    elif not vm.enable_uuid:
        text = f"disk.EnableUUID is not TRUE on VM {vm.name}: set it and restart the VM"
        yield Finding(vm.node, "enable_uuid", text)
    for name in sorted({datastore_of(disk.path) for disk in disks}):
        there = None if vm.datastores is None else vm.datastores.get(name, None if vm.more else False)
        if there is None:
            yield Finding(
                vm.node,
                "unreadable",
                f"the datastores of {vm.node}'s host cannot be read; check the account's rights",
            )
        elif not there:
            text = f"datastore {name} is not accessible from host {vm.host} of {vm.node}; connect it there"
            yield Finding(vm.node, "datastore", text)


def _of_holder(vm: Seen, disks: Sequence[Disk]) -> Iterable[Finding]:
    listed = {one.uuid: one for one in devices.disks(vm.hardware or ())}
    for disk in disks:
        mine = listed.get(disk.uuid)
        if mine is None or (mine.path != disk.path and vm.snapshot is False):
            text = f"VM {vm.name} does not list {disk.path} with UUID {disk.uuid}; protect anew"
            yield Finding(vm.node, "disk_unlisted", text)
            continue
        if mine.sharing != "sharingNone":
            text = f"{disk.path} is shared ({mine.sharing}), no lock keeps two VMs from writing; unshare it"
            yield Finding(vm.node, "multi_writer", text)
        if discards(mine):
            text = f"{disk.path} is {mine.mode} on VM {vm.name}: a power-off discards what was written; make it persistent"
            yield Finding(vm.node, "discarding_disk", text)
        if not mine.mode.startswith("independent"):
            yield from _of_dependent(vm, disk)


def _of_dependent(vm: Seen, disk: Disk) -> Iterable[Finding]:
    if vm.snapshot is not False:
        text = f"VM {vm.name} has a snapshot, which keeps {disk.path} from being detached; remove it"
        yield Finding(vm.node, "snapshot", text)
    text = f"snapshots of VM {vm.name} include {disk.path}; the mode independent_persistent keeps it out"
    yield Finding(vm.node, "disk_mode", text, HINT)


def _of_backup(vm: Seen, disks: Sequence[Disk]) -> Iterable[Finding]:
    kinds, taken = dict(devices.controllers(vm.hardware or ())), devices.slots(vm.hardware or ())
    for disk in disks:
        kind = kinds.get(disk.bus)
        if kind != disk.controller:
            has = f"a {kind} controller" if kind else "no SCSI controller"
            text = (
                f"VM {vm.name} has {has} on bus {disk.bus}; {disk.path} needs {disk.controller} there, add it"
            )
            yield Finding(vm.node, "controller", text)
        elif (disk.bus, disk.unit) in taken:
            text = f"SCSI {disk.bus}:{disk.unit} of VM {vm.name} is taken; {disk.path} needs it, free it"
            yield Finding(vm.node, "slot_taken", text)


def _spec(login: Login, refs: Iterable[str]) -> Any:
    steps = [step(vim.HostSystem, "datastore"), step(vim.HostSystem, "parent")]
    return filter_spec(
        [login.vm(ref) for ref in refs],
        {
            vim.VirtualMachine: _VM_PATHS,
            vim.HostSystem: ("name", "datastore", "parent"),
            vim.Datastore: ("summary.name", "summary.accessible"),
            vim.ComputeResource: ("name",),
            vim.ClusterComputeResource: clusters.PATHS,
        },
        [step(vim.VirtualMachine, "runtime.host", steps)],
    )


def _seen(
    node: str,
    ref: str,
    answer: Mapping[str, Read],
    known: Mapping[str, clusters.Cluster | None],
    lost: frozenset[tuple[str, str]] = frozenset(),
) -> Seen:
    vm = answer.get(ref)
    if vm is None:
        return Seen(node, node, None, None, None, "", None)
    runs_on = vm.get("runtime.host")
    moid = runs_on._GetMoId() if runs_on is not None else ""
    host = answer.get(moid)
    stores = _datastores(host, answer, lost)
    return Seen(
        node=node,
        name=vm.get("name") or node,
        hardware=vm.get("config.hardware.device"),
        enable_uuid=_enable_uuid(vm),
        snapshot=False if vm.unset("snapshot") else (True if vm.get("snapshot") else None),
        host=(host.get("name") if host else None) or "",
        datastores=stores,
        ref=ref,
        cluster=known.get(moid),
        more=len(stores or ()) < len((host.get("datastore") if host else None) or ()),
    )


def _enable_uuid(vm: Read) -> bool | None:
    if vm.get("config.flags.diskUuidEnabled") is True:
        return True
    options = vm.get("config.extraConfig")
    if options is None:
        return None
    values = {str(one.key).lower(): str(one.value).strip().lower() for one in options}
    return values.get("disk.enableuuid") in ("true", "1", "yes", "on")


def _datastores(
    host: Read | None, answer: Mapping[str, Read], lost: frozenset[tuple[str, str]]
) -> Mapping[str, bool | None] | None:
    """Accessibility by name of the datastores that the host has mounted, as far as they can be read."""
    if host is None or host.get("datastore") is None:
        return None
    get: Callable[[Any], Read | None] = lambda ref: answer.get(ref._GetMoId())  # noqa: E731
    reads = [read for read in map(get, host.get("datastore")) if read is not None]
    return {
        str(one.get("summary.name")): one.get("summary.accessible") and (host.ref, one.ref) not in lost
        for one in reads
        if one.get("summary.name") is not None
    }
