"""What a vSphere administrator does to the cluster of the lab's vCenter: HA, DRS, rules, exceptions."""

from __future__ import annotations

from typing import Any

from pyVmomi import vim

from lab.hypervisor import Vcenter
from vmdk_failover.vsphere.properties import filter_spec, retrieve, step
from vmdk_failover.vsphere.session import Login, Session


def _cluster(login: Login, vm: str) -> Any:
    paths = {vim.VirtualMachine: ("name",), vim.HostSystem: ("parent",)}
    answer = retrieve(login, filter_spec([login.vm(vm)], paths, [step(vim.VirtualMachine, "runtime.host")]))
    (host,) = [read for read in answer.values() if read.kind == "HostSystem"]
    return host.get("parent")


def change(session: Session, vcenter: Vcenter, spec: Any) -> None:
    """Reconfigure the cluster that db1-vm runs in, and wait for it."""

    def ask(login: Login) -> None:
        task = _cluster(login, vcenter.vm("db1-vm")["ref"]).ReconfigureComputeResource_Task(spec, True)
        for _ in range(200):
            state = retrieve(login, filter_spec([task], {vim.Task: ("info",)}))[task._GetMoId()].get("info")
            if state.state in ("success", "error"):
                assert state.state == "success", state.error
                return
        raise AssertionError("the cluster was not reconfigured")

    session.read(ask)


def vm(vcenter: Vcenter, name: str) -> Any:
    """A reference to a VM by its name."""
    return vim.VirtualMachine(vcenter.vm(name)["ref"])


def switch(session: Session, vcenter: Vcenter, ha: bool = True, drs: bool = False) -> None:
    """Switch vSphere HA and DRS on or off."""
    das, does = vim.cluster.DasConfigInfo(enabled=ha), vim.cluster.DrsConfigInfo(enabled=drs)
    change(session, vcenter, vim.cluster.ConfigSpecEx(dasConfig=das, drsConfig=does))


def rule(
    session: Session, vcenter: Vcenter, name: str, apart: bool, *names: str, enabled: bool = True
) -> None:
    """Make a DRS rule for VMs."""
    kind = vim.cluster.AntiAffinityRuleSpec if apart else vim.cluster.AffinityRuleSpec
    body = kind(name=name, enabled=enabled, vm=[vm(vcenter, one) for one in names])
    change(
        session,
        vcenter,
        vim.cluster.ConfigSpecEx(rulesSpec=[vim.cluster.RuleSpec(operation="add", info=body)]),
    )


def restart(session: Session, vcenter: Vcenter, name: str, priority: str) -> None:
    """Give a VM a restart priority of its own in vSphere HA."""
    body = vim.cluster.DasVmConfigInfo(
        key=vm(vcenter, name), dasSettings=vim.cluster.DasVmSettings(restartPriority=priority)
    )
    spec = vim.cluster.DasVmConfigSpec(operation="add", info=body)
    change(session, vcenter, vim.cluster.ConfigSpecEx(dasVmConfigSpec=[spec]))
