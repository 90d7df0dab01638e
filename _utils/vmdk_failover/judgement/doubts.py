"""
Why it is not clear whether a node holds the disk, one cause at a time, and what to do about it. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from vmdk_failover.judgement import stake
from vmdk_failover.judgement.assess import NodeSight, Snapshot
from vmdk_failover.model import Disk, DiskFacts, MountState, Resource


def unclear_words(seen: Snapshot) -> str:
    """What keeps it from being clear, node by node, as a sentence."""
    return "; ".join(_cause(seen, node) for node in seen.unclear)


def _cause(seen: Snapshot, node: NodeSight) -> str:
    who, vm = node.minion, node.vm
    if vm.copies > 1:
        return (
            f"vCenter shows {vm.copies} VMs with the instance UUID of {who}, so it is not known which of them is {who}: "
            "remove the copy, or give it an instance UUID of its own"
        )
    if vm.present is not True or vm.disks is None:
        return (
            f"the VM of {who} or its devices cannot be read in vCenter, so it is not known whether it holds the disk: "
            "see whether its host is well and what the account may read"
        )
    halves = [half for half in (_half(node, disk) for disk in seen.resource.disks) if half is not None]
    return _half_words(seen, node, *halves[0]) if halves else f"it is not known whether {who} holds the disk"


def _half(node: NodeSight, disk: Disk) -> tuple[Disk, DiskFacts] | None:
    """The disk of the VM that matches ``disk`` by path or by UUID alone."""
    for mine in node.vm.disks or ():
        if (mine.path == disk.path) != (mine.uuid == disk.uuid):
            return disk, mine
    return None


def _half_words(seen: Snapshot, node: NodeSight, disk: Disk, mine: DiskFacts) -> str:
    who, name = node.minion, seen.resource.name
    if mine.path == disk.path:
        return (
            f"{disk.path} on {who} has another UUID than recorded: the file was restored or replaced. If it is the right one, "
            f"protect {name} anew"
        )
    if node.vm.snapshot is not False:
        return (
            f"the VM of {who} has a snapshot that holds the disk (it writes to {mine.path}), so nothing can be detached from "
            "it: delete the snapshot"
        )
    beside = any((one.path, one.uuid) == (disk.path, disk.uuid) for one in _disks(node))
    if beside or any(disk in other.listed for other in seen.nodes if other is not node):
        return (
            f"the VM of {who} lists {mine.path}, which has the UUID of {disk.path} but is another file, a copy of it: "
            f"remove it from {who}"
        )
    return (
        f"the disk with the UUID of {disk.path} is {mine.path} on {who} now: it was moved by Storage vMotion or by hand, or "
        f"it is a copy. If it was moved, 'salt-run vmdk.adopt {name}' takes the new path"
    )


#: So many VMs are named.
NAMED = 5


def spared(node: NodeSight, resource: Resource, nodes: Sequence[NodeSight] = ()) -> str:
    """
    Why the host of a node is not fenced although there is a way: it lives, it is not the only one that is gone, or something
    else would stop there; ``""`` if it may be.

    :param nodes: all of the resource.
    """
    host, beside = node.vm.host or "its host", node.vm.beside
    if not resource.host_fence:
        return ""
    alive = [n.minion for n in nodes if n.facts is not None and n.vm.host_gone and n.vm.host == node.vm.host]
    if alive:
        return f"host_fence is not called, because {' and '.join(alive)} on {host} answers: {host} is not off"
    if node.vm.hosts is None:
        return f"host_fence is not called, because how many hosts of the cluster of {host} are gone cannot be read"
    gone, hosts = node.vm.hosts
    if gone > 1 and gone * 2 > hosts:
        return (
            f"host_fence is not called, because {gone} of the {hosts} hosts in the cluster of {host} are gone: it is rather "
            "vCenter and the master that are cut off; look at their network"
        )
    if node.paused_tenants:
        return (
            f"host_fence is not called, because {' and '.join(node.paused_tenants)} may be on {host} too and is paused: "
            f"end that with 'salt-run vmdk.resume {node.paused_tenants[0]}'"
        )
    if words := stake.guard_words(node.tenants, node.minion):
        return f"host_fence is not called, because {words}"
    if resource.host_fence_others == "stop" or beside == ():
        return ""
    if beside is None:
        return (
            f"host_fence is not called, because what else runs on {host} cannot be read (host_fence_others: stop would stop "
            "whatever it is)"
        )
    more = f" and {len(beside) - NAMED} more" if len(beside) > NAMED else ""
    names = ", ".join(name for name, _ in beside[:NAMED])
    return (
        f"host_fence is not called, because it would also stop what ran on {host} when vCenter last saw it: {names}{more} "
        "(host_fence_others: stop allows that)"
    )


def lost_host_words(
    node: NodeSight, resource: Resource, nodes: Sequence[NodeSight] = (), but: str = ""
) -> str:
    """
    What follows for the holder of the disk from a word about it that is not current, and the ways out.

    :param nodes: all of the resource. :param but: what keeps its host from being fenced, if nothing nearer does.
    """
    who, host = node.minion, node.vm.host or "its host"
    if node.vm.host_connected is True and node.vm.connected is False:
        return (
            f"what vCenter says of {who} is not current: its VM is out of reach on {host}, which is connected, and may still "
            "write there: see to the VM in vCenter (it is orphaned, inaccessible or invalid)"
        )
    if not node.host_gone:
        return (
            f"what vCenter says of {who} is not current (its power state or connection cannot be read), so it is not known "
            "whether it may write: see whether its host is well and what the account may read"
        )
    if node.facts is not None:
        return (
            f"{who} answers, but what vCenter says of it is not current ({host} or the VM on it is not connected), so nothing "
            f"could be taken from it: reconnect {host} in vCenter"
            + (f" ({denied_words(node)})" if node.denied else "")
        )
    fence = "" if resource.host_fence else ", or set host_fence"
    kept = spared(node, resource, nodes) or but
    said = f"; {denied_words(node)}" if node.denied else ""
    return (
        f"what vCenter says of {who} is not current: {host} is not connected, and {who} may still write there{said}. It goes on "
        f"when (1) vSphere HA has restarted the VM elsewhere, (2) {host} is connected again, or (3) {_ways_to_say(node)}{fence}"
        + (f"; {kept}" if kept else "")
    )


def unseen_words(minion: str, name: str, had: str) -> str:
    """
    What follows for a disk when the VM of a node that had it is not to be seen, and the ways out, as part of a sentence.

    :param had: when that was, as the predicate of a sentence.
    """
    return (
        f"{minion} {had}, and its VM is not to be seen in vCenter: it may still run and write. Give the account the right to see "
        f"it; if it was deleted, 'salt-run vmdk.clear {name}'"
    )


def outdated(node: NodeSight) -> bool:
    """
    vCenter's word about it is not current (a cached list, from before a restored backup perhaps) and shows no disk, and its own
    word does not say that it has none.
    """
    says_none = node.facts is not None and node.facts.device is False
    return not node.known and node.holds is False and not says_none


def outdated_words(node: NodeSight, name: str, had: str) -> str:
    """
    What follows for a disk from an old word about a node that had it, and the ways out, as part of a sentence.

    :param had: when that was, as the predicate of a sentence.
    """
    who, host = node.minion, node.vm.host or "its host"
    if node.vm.host_connected is True and node.vm.connected is False:
        why = f"its VM is out of reach on {host}, which is connected"
        way = "see to the VM in vCenter (it is orphaned, inaccessible or invalid)"
    elif not node.host_gone:
        why = "its power state or connection cannot be read"
        way = "see whether its host is well and what the account may read"
    else:
        why, way = f"its host {host} is not connected", f"reconnect {host} in vCenter"
        said = f" ({denied_words(node)})" if node.denied else ""
        way += said if node.facts is not None else f"{said}; or {_ways_to_say(node)}"
    return (
        f"{who} {had}, and what vCenter says of {who} is not current ({why}): it may have the disk and write. "
        f"To go on, {way}; or, if you have made sure that {who} does not have it, 'salt-run vmdk.clear {name}'"
    )


def denied_words(node: NodeSight) -> str:
    """Who said that the host of a node is off, and why that does not count; ``""`` if nothing is against it."""
    if node.denied is None:
        return ""
    void = (
        "that word is void for every node of that host"
        if node.denied.life.void
        else "that word does not count now"
    )
    return f"{node.denied.said}, but {node.denied.life.words}: {void}"


def _ways_to_say(node: NodeSight) -> str:
    """How a person's word gets the resource on."""
    who, host = node.minion, node.vm.host or "its host"
    say = f"'salt-run vmdk.confirm_off {who}'"
    if node.denied is None:
        return f"you have made sure that {host} is off and say so: {say}"
    if node.denied.life.void:
        return f"you have made sure that {host} is off now and say so again: {say}"
    return (
        "nothing is heard from there any more: the word counts again then. If "
        f"{host} is off although an address answers, another machine has taken it: take it away from that one"
    )


def question_words(node: NodeSight) -> str:
    """What a VM waits with, and what to do."""
    vm = node.vm
    if vm.full:
        return (
            f"the datastore under the VM of {node.minion} has no space left, so the VM stands still; no other node could write "
            f"there either. Make space, then answer in vCenter: {vm.question}"
        )
    return f"the VM of {node.minion} stands still until somebody answers in vCenter: {vm.question}"


def misplaced_words(node: NodeSight) -> str:
    """Where a disk hangs and where it should, and what to do."""
    disk = next(
        d
        for d in node.listed
        if not any(m.path == d.path and (m.bus, m.unit) == (d.bus, d.unit) for m in _disks(node))
    )
    mine = next(m for m in _disks(node) if m.path == disk.path)
    where = f"SCSI {mine.bus}:{mine.unit}" if mine.bus >= 0 else "no SCSI controller"
    return (
        f"{node.minion} lists {disk.path} at {where}, recorded is {disk.bus}:{disk.unit}: move it there in the settings of its "
        "VM (unmounted and paused), or protect anew"
    )


def _disks(node: NodeSight) -> tuple[DiskFacts, ...]:
    return node.vm.disks or ()


def contradiction(seen: Snapshot) -> str:
    """What nodes say against vCenter's word that no VM of the resource lists the disk; ``""`` if nothing."""
    for node in seen.nodes:
        if node.impostor:
            return f"no node lists the disk, but {impostor_words(node)}"
        facts = None if node.off else node.facts
        if facts is not None and facts.device is True and facts.mounted is not MountState.UNMOUNTED:
            return (
                f"no node lists the disk, but {node.minion} says that it sees it and that its mount point is not free "
                f"({facts.mounted.value}), so it runs in another VM or vCenter's list is wrong: see on {node.minion} what is "
                f"mounted there, and in vCenter which VM that is"
            )
    return ""


def guarded_words(h: NodeSight) -> str:
    """For whom a silent node is not fenced."""
    names = " and ".join(h.paused_tenants)
    if not names:
        return (
            f"{h.minion} gives no signed answer and is not fenced: {stake.guard_words(h.tenants, h.minion)}"
        )
    return (
        f"{h.minion} gives no signed answer; {names} is on it and paused, and maintenance is not disturbed by a fence; "
        f"end that with 'salt-run vmdk.resume {h.paused_tenants[0]}', or look at the node"
    )


def impostor_words(node: NodeSight) -> str:
    """What follows from another VM that answers under a node's name, and what to do."""
    return (
        f"a VM with the SMBIOS UUID {node.impostor} answers as {node.minion}, whose VM has {node.vm.smbios}: a clone, or a "
        "minion id that was given to another VM. Stop salt-minion there, or give it an id and keys of its own"
    )
