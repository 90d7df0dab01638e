"""
One answer of vCenter as facts on the VMs of a resource. Pure.

Facts never fill a gap: a property that could not be read is ``None``, "unknown", or ``""``; only what vCenter
itself says to be unset counts as unset.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pyVmomi import vim

from vmdk_failover.model import Disk, Power, VmFacts
from vmdk_failover.vsphere import devices
from vmdk_failover.vsphere.properties import Read, filter_spec, step

VM_PATHS = (
    "name",
    "config.instanceUuid",
    "config.uuid",
    "config.changeVersion",
    "config.hardware.device",
    "runtime.powerState",
    "runtime.connectionState",
    "runtime.host",
    "runtime.bootTime",
    "runtime.question",
    "guestHeartbeatStatus",
    "snapshot",
    "layoutEx.snapshot",
    "recentTask",
)
HOST_PATHS = ("name", "runtime.connectionState")
NEIGHBOUR_PATHS = ("name", "config.instanceUuid", "runtime.powerState")
TASK_PATHS = ("info.state", "info.descriptionId")

#: Part of the keys of vSphere's messages on a full datastore (``msg.hbacommon.outofspace``).
_NO_SPACE = "outofspace"
_POWER = {"poweredOn": Power.ON, "poweredOff": Power.OFF, "suspended": Power.SUSPENDED}


def spec_for(vms: Iterable[Any]) -> Any:
    """The filter that reads the VMs, their hosts and their recent tasks in one call."""
    steps = [step(vim.VirtualMachine, "runtime.host"), step(vim.VirtualMachine, "recentTask")]
    paths = {vim.VirtualMachine: VM_PATHS, vim.HostSystem: HOST_PATHS, vim.Task: TASK_PATHS}
    return filter_spec(vms, paths, steps)


def spec_for_host(host: Any) -> Any:
    """The filter that reads who is on a host, and how the hosts of its cluster are, in one call."""
    paths = {
        vim.HostSystem: ("vm", "parent", "runtime.connectionState"),
        vim.VirtualMachine: NEIGHBOUR_PATHS,
        vim.ComputeResource: ("host",),
    }
    cluster = step(vim.HostSystem, "parent", [step(vim.ComputeResource, "host")])
    return filter_spec([host], paths, [step(vim.HostSystem, "vm"), cluster])


def hosts_gone(host: str, answer: Mapping[str, Read]) -> tuple[int, int] | None:
    """How many hosts of the cluster of ``host`` are not connected, and how many there are; ``None`` if that cannot be read."""
    there = answer.get(_id_of(answer[host].get("parent"))) if host in answer else None
    words = [_is_connected(answer.get(_id_of(one))) for one in (there.get("host") if there else None) or ()]
    return None if None in words or not words else (words.count(False), len(words))


def neighbours(ref: str, host: str, answer: Mapping[str, Read]) -> tuple[tuple[str, str], ...] | None:
    """
    Name and instance UUID of the VMs besides ``ref`` that ran on ``host`` when vCenter last saw it; ``None`` if that cannot be
    read. A VM whose power cannot be read counts as running.
    """
    if host not in answer or "vm" in answer[host].missing:
        return None
    there = [answer.get(_id_of(one)) for one in answer[host].get("vm") or () if _id_of(one) != ref]
    running = [one for one in there if one is None or str(one.get("runtime.powerState")) != "poweredOff"]
    if None in running:
        return None
    return tuple(
        sorted(
            (str(one.get("name") or one.ref), str(one.get("config.instanceUuid") or "").lower())
            for one in running
            if one
        )
    )


def facts_of(minion: str, ref: str, answer: Mapping[str, Read], wanted: Sequence[Disk]) -> VmFacts:
    """
    Facts on one VM.

    :param ref: its managed object id; it must be in ``answer``.
    :param wanted: the resource's disks, for the question whether a snapshot keeps one of them.
    """
    vm = answer[ref]
    hardware, question = vm.get("config.hardware.device"), vm.get("runtime.question")
    host = answer.get(_id_of(vm.get("runtime.host")))
    return VmFacts(
        minion=minion,
        ref=ref,
        name=vm.get("name") or "",
        present=True,
        power=_POWER.get(str(vm.get("runtime.powerState")), Power.UNKNOWN),
        connected=_connected(vm, host),
        change_version=vm.get("config.changeVersion") or "",
        disks=None if hardware is None else devices.disks(hardware),
        slots=None if hardware is None else devices.slots(hardware),
        controllers=None if hardware is None else devices.controllers(hardware),
        snapshot=_snapshot(vm, hardware, wanted),
        task=_task(vm, answer),
        heartbeat=str(vm.get("guestHeartbeatStatus") or ""),
        host=(host.get("name") if host else None) or _id_of(vm.get("runtime.host")),
        boot_time=vm.get("runtime.bootTime").isoformat() if vm.get("runtime.bootTime") else "",
        host_connected=_is_connected(host),
        question=" ".join(question.text.split()) if question else "",
        full=_is_full(question),
        smbios=str(vm.get("config.uuid") or "").lower(),
    )


def _is_full(question: Any) -> bool:
    """Whether the VM waits because its datastore has no space left, told by the message's key."""
    messages = getattr(question, "message", None) or ()
    return any(_NO_SPACE in str(one.id) for one in messages) or _NO_SPACE in str(getattr(question, "id", ""))


def _is_connected(one: Read | None) -> bool | None:
    word = one.get("runtime.connectionState") if one else None
    return None if word is None else str(word) == "connected"


def _connected(vm: Read, host: Read | None) -> bool | None:
    """Both must say so; one that says no is enough for a no; silence of either is unknown."""
    words = (_is_connected(vm), _is_connected(host))
    if False in words:
        return False
    return None if None in words else True


def _snapshot(vm: Read, hardware: Sequence[Any] | None, wanted: Sequence[Disk]) -> bool | None:
    """
    Whether a snapshot keeps one of the resource's disks from being detached.

    Independent disks are outside snapshots, and disks that came after a snapshot can leave freely.
    """
    if vm.unset("snapshot"):
        return False
    if vm.get("snapshot") is None or hardware is None:
        return None
    uuids = {disk.uuid for disk in wanted}
    ours = {one.key for one in devices.disks(hardware) if one.uuid in uuids}
    layouts = vm.get("layoutEx.snapshot") or ()
    kept = devices.on_older_files(hardware) | {disk.key for layout in layouts for disk in layout.disk or ()}
    return bool(ours & (kept - devices.independent(hardware)))


def _task(vm: Read, answer: Mapping[str, Read]) -> str | None:
    """
    Description of a task that is not over. A task that is listed but gone has ended; one we may not read is
    unknown.
    """
    if "recentTask" in vm.missing:
        return None
    unknown = False
    for ref in vm.get("recentTask") or ():
        task = answer.get(_id_of(ref))
        if task is None:
            continue
        state = task.get("info.state")
        unknown = unknown or state is None
        if state in ("queued", "running"):
            return _described(task, vm)
    return None if unknown else ""


def _described(task: Read, vm: Read) -> str:
    question = vm.get("runtime.question")
    asks = f"; the VM waits for an answer to: {' '.join(question.text.split())}" if question else ""
    return (task.get("info.descriptionId") or "a task") + asks


def _id_of(ref: Any) -> str:
    return "" if ref is None else str(ref._GetMoId())
