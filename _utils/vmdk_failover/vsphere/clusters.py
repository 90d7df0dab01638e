"""
What the clusters of a resource's VMs are set to: vSphere HA, which takes a VM off a lost host, and DRS, which must not bring all
nodes to one host. Advice only: neither is needed while hosts live.

When a host is lost, nobody but vSphere HA (or a host fence, or a person) can tell that a VM on it writes no more. So HA is wanted
on, and no node excepted from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from vmdk_failover.finding import HINT, WARNING
from vmdk_failover.vsphere.findings import Finding
from vmdk_failover.vsphere.properties import Read

PATHS = ("name", "configurationEx", "host")
_NO_RESTART = "disabled"
#: A VM's own setting that says "as the cluster has it".
_AS_CLUSTER = ("", "clusterRestartPriority")


@dataclass(frozen=True)
class Rule:
    """A DRS rule that is switched on. apart: its VMs are kept on different hosts; otherwise on one."""

    name: str
    apart: bool
    vms: frozenset[str]


@dataclass(frozen=True)
class Cluster:
    """
    What is known of a cluster.

    :param ha: vSphere HA is on. :param drs: DRS is on. :param several: it has more than one host.
    :param restarts: HA's restart priority by VM, as in effect; of ``default`` for all others.
    """

    ref: str
    name: str
    ha: bool
    drs: bool
    several: bool
    default: str
    restarts: Mapping[str, str]
    rules: Sequence[Rule]

    def restarts_vm(self, ref: str) -> bool:
        """Whether HA would start this VM elsewhere when its host is lost."""
        return self.restarts.get(ref, self.default) != _NO_RESTART


@dataclass(frozen=True)
class Member:
    """A node's VM: its managed object id, where it runs, and its cluster; ``None``: it cannot be read."""

    node: str
    name: str
    ref: str
    host: str
    cluster: Cluster | None


def cluster_of(host: Read | None, answer: Mapping[str, Read]) -> Cluster | None:
    """The cluster of a host; a host of its own is one without HA and DRS. ``None``: it cannot be read."""
    parent = host.get("parent") if host else None
    read = answer.get(parent._GetMoId()) if parent is not None else None
    if read is None or parent is None:
        return None
    name = str(read.get("name") or parent._GetMoId())
    if not isinstance(parent, vim.ClusterComputeResource):
        return Cluster(parent._GetMoId(), name, False, False, False, "", {}, ())
    told = read.get("configurationEx")
    if told is None:
        return None
    das, drs = told.dasConfig, told.drsConfig
    settings = getattr(das, "defaultVmSettings", None)
    return Cluster(
        parent._GetMoId(),
        name,
        bool(das and das.enabled),
        bool(drs and drs.enabled),
        len(read.get("host") or ()) > 1,
        str(getattr(settings, "restartPriority", None) or ""),
        dict(_restarts(told.dasVmConfig or ())),
        tuple(_rules(told.rule or ())),
    )


def _restarts(overrides: Iterable[Any]) -> Iterator[tuple[str, str]]:
    for one in overrides:
        settings = one.dasSettings
        word = str((settings.restartPriority if settings else None) or one.restartPriority or "")
        if word not in _AS_CLUSTER:
            yield one.key._GetMoId(), word


def _rules(rules: Iterable[Any]) -> Iterator[Rule]:
    kinds = {vim.cluster.AntiAffinityRuleSpec: True, vim.cluster.AffinityRuleSpec: False}
    for one in rules:
        apart = kinds.get(type(one))
        if one.enabled and apart is not None:
            yield Rule(str(one.name), apart, frozenset(vm._GetMoId() for vm in one.vm or ()))


def judge(members: Sequence[Member], fenced: bool) -> Iterator[Finding]:
    """
    Advice on where the nodes run. Pure.

    :param fenced: a host fence is set, so that a lost host needs no vSphere HA.
    """
    if any(one.cluster is None for one in members):
        text = (
            "the settings of the hosts' cluster cannot be read, so vSphere HA and DRS were not looked at; give the account "
            "ReadOnly there"
        )
        yield Finding("", "cluster_unread", text, HINT)
    known = [one for one in members if one.cluster is not None]
    yield from () if fenced else _ha(known)
    yield from _together(members)


def _ha(members: Sequence[Member]) -> Iterator[Finding]:
    for one in members:
        cluster = one.cluster
        if cluster is None:
            continue
        if not cluster.ha:
            text = (
                f"vSphere HA is off in {cluster.name}: after the loss of a host its resources wait for a person or a host "
                "fence"
            )
            yield Finding("", "ha_off", text, WARNING, cluster.name)
        elif not cluster.restarts_vm(one.ref):
            text = (
                f"vSphere HA in {cluster.name} does not restart VM {one.name}: after the loss of its host the resource waits for "
                "a person or a host fence"
            )
            yield Finding(one.node, "ha_restart", text, WARNING, cluster.name)


def _together(members: Sequence[Member]) -> Iterator[Finding]:
    if len(members) < 2:
        return
    hosts = [one.host for one in members if one.host]
    if len(hosts) == len(members) and len(set(hosts)) == 1:
        text = f"all nodes run on host {hosts[0]}, one failure ends them all; keep them apart by a DRS rule"
        yield Finding("", "same_host", text, WARNING, _name(members[0]))
        return
    first, refs = members[0].cluster, frozenset(one.ref for one in members)
    if first is None or any(one.cluster is None or one.cluster.ref != first.ref for one in members):
        return
    for rule in first.rules:
        if not rule.apart and len(rule.vms & refs) > 1:
            text = (
                f"the DRS rule {rule.name} of {first.name} brings nodes to one host, one failure ends them all; take them "
                "out of it"
            )
            yield Finding("", "drs_together", text, WARNING, rule.name)
    if first.drs and first.several and not any(rule.apart and refs <= rule.vms for rule in first.rules):
        text = (
            f"no DRS rule of {first.name} keeps the nodes apart, so DRS may bring them to one host; make one"
        )
        yield Finding("", "drs_apart", text, HINT, first.name)


def _name(one: Member) -> str:
    return one.cluster.name if one.cluster else ""
