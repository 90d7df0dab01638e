"""
What the witnesses say, put together: one :class:`Snapshot` per look.

vCenter's word and each node's own word are joined per node, never mixed: who *holds* a disk and who is *off* is vCenter's to
say, what is mounted and whether the disk works is the node's. Unknown stays unknown.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace

from vmdk_failover.around import NOTHING_AROUND, Ailing, Around, Complaint, Confirmed, Flaws, Life, Tenant
from vmdk_failover.judgement import seat, stake
from vmdk_failover.judgement.disproof import life
from vmdk_failover.kin import Kin
from vmdk_failover.model import (
    DISPUTES,
    FAILED_CONDITIONS,
    Crowd,
    Disk,
    HypervisorFacts,
    MountState,
    NodeFacts,
    Power,
    Resource,
    Signs,
    VmFacts,
)

UNNOTICED, NO_CROWD = Signs(), Crowd()


@dataclass(frozen=True)
class Denied:
    """A word that a host is off, which does not count: who said so, and what speaks against it."""

    said: str
    life: Life


@dataclass(frozen=True)
class NodeSight:
    """
    One node in one look.

    :param facts: its own verified word, ``None`` if it gave none.
    :param listed: disks of the resource that its VM lists.
    :param holds: its VM lists at least one of them; ``None`` if that cannot be known.
    :param complete: its VM lists all of them at their recorded places.
    :param misfit: why vCenter would refuse the disks on this VM, one phrase each.
    :param signs: what the master notices of it without asking; all unknown if nobody looked.
    :param confirmed: ``""``, or who said that its host is off, while that host was not seen again and nothing on it lives.
    :param tenants: other resources of which its VM lists a disk.
    :param impostor: SMBIOS UUID of another VM that answers under its name, ``""`` if there is none; it has no say.
    :param to_restart: a fence powered it off, and it is to be powered on when nothing protected is on it any more.
    :param leaving: it has announced that it shuts down, and has not booted since, as far as it says.
    :param flaws: what a check in the last minutes found in the way of its taking the disks; nothing while it has them.
    :param renamed: the id that its minion has now, by its own word of the last seconds; ``""`` if it is the recorded one.
    :param mute: its address, if that did not answer this master while the node was well; else ``""``.
    :param complaint: its word that it cannot use the disk, which came without a question.
    :param stake: what would be lost if it took the disks from the node that has them.
    :param denied: who said that its host is off, and what shows that this is not so; ``None`` if nobody said so or nothing does.
    """

    minion: str
    vm: VmFacts
    facts: NodeFacts | None
    listed: tuple[Disk, ...]
    holds: bool | None
    complete: bool
    misfit: tuple[str, ...] = ()
    signs: Signs = UNNOTICED
    confirmed: str = ""
    tenants: tuple[Tenant, ...] = ()
    to_restart: bool = False
    impostor: str = ""
    leaving: bool = False
    flaws: tuple[str, ...] = ()
    renamed: str = ""
    denied: Denied | None = None
    stake: tuple[str, ...] = ()
    mute: str = ""
    complaint: Complaint | None = None

    @functools.cached_property
    def off(self) -> bool:
        """Proven off: nothing on this node can write."""
        return self.vm.present is False or self.vm.is_off or bool(self.confirmed)

    @property
    def known(self) -> bool:
        """vCenter's word about this VM is current (VM and host connected, power readable), or needs not be."""
        vm = self.vm
        current = vm.connected is True and vm.power is not Power.UNKNOWN
        return current or vm.present is False or bool(self.confirmed)

    @property
    def host_gone(self) -> bool:
        """The host is not connected to vCenter, as far as can be seen, and nobody has confirmed that it is off."""
        return self.vm.host_gone and not self.confirmed

    @property
    def misplaced(self) -> bool:
        """Its VM lists a disk of the resource at another SCSI bus or unit than recorded."""
        return any(not seat.is_taken(self.vm, disk) for disk in self.listed)

    @property
    def paused_tenants(self) -> tuple[str, ...]:
        """Names of other resources on it that are in maintenance."""
        return tuple(t.name for t in self.tenants if t.paused)

    @property
    def running(self) -> bool:
        """The VM runs, by a current word."""
        return self.vm.present is True and self.vm.power is Power.ON and self.vm.connected is True

    @property
    def mounted(self) -> bool:
        """The node says that all mount points of the resource are mounted as recorded."""
        return self.facts is not None and self.facts.mounted is MountState.MOUNTED

    @property
    def guarded(self) -> bool:
        """Another resource on it forbids to power it off."""
        return any(stake.guards(tenant) for tenant in self.tenants)

    @functools.cached_property
    def at_stake(self) -> str:
        """What would be lost if it were powered off, or its disk went elsewhere; ``""`` if nothing."""
        disks = () if self.off else stake.discarding(self.vm, self.listed)
        return stake.words(self.minion, disks) if disks else ""

    @property
    def startable(self) -> bool:
        """It was fenced to run again, is still off, nothing works on it, and nothing protected is on it any more."""
        idle = self.vm.is_off and self.vm.task == "" and self.holds is False
        return self.to_restart and idle and not self.tenants

    @property
    def failed(self) -> bool:
        """The node says that its disk or file system cannot be used."""
        return self.facts is not None and self.facts.condition in FAILED_CONDITIONS

    @property
    def disputed(self) -> bool:
        """It has the resource mounted as recorded, and its prober says what cannot be then."""
        return self.mounted and self.facts is not None and self.facts.condition in DISPUTES

    @property
    def healthy(self) -> bool:
        """The node holds the disks, has them mounted, and reports no failure."""
        return self.complete and self.running and self.mounted and not self.failed

    def unfit(self) -> tuple[str, ...]:
        """Why this node could not take the resource now; empty if it could."""
        if not self.running:
            return (f"its VM is {_power_words(self.vm)}",)
        if self.vm.question:
            return (f"its VM waits for an answer in vCenter: {self.vm.question}",)
        if self.impostor:
            return (f"another VM (SMBIOS UUID {self.impostor}) answers under its name",)
        if self.leaving:
            return ("it is shutting down",)
        if self.facts is None and self.renamed:
            return (f"its minion has the id {self.renamed} now: give it its old one back, or protect anew",)
        if self.facts is None:
            return ("its minion gave no signed answer",)
        return (*self._stale_memory(self.facts), *self.misfit, *self.facts.unready, *self.flaws, *self.stake)

    def _stale_memory(self, facts: NodeFacts) -> tuple[str, ...]:
        """A guest that has the file system of a disk that is not there any more would write old memory onto it."""
        clean = facts.mounted is MountState.UNMOUNTED and facts.superblock is False
        if self.holds is not False or clean:
            return ()
        if facts.mounted is MountState.FOREIGN and facts.superblock is False:
            return ("something else is mounted at a mount point of the resource: unmount it there",)
        return (
            "its guest still has the file system, or does not say that it has not, and its VM does not list the disk (taken out "
            "by hand, or the VM was reverted): unmount it there, or restart the VM",
        )


@dataclass(frozen=True)
class Snapshot:
    """
    All nodes of a resource in one look, in the resource's order of preference.

    :param readable: vCenter answered; ``reason`` says why not.
    :param crowd: nodes of other resources; looked at only when a node is silent.
    :param ailing: other resources on the same datastores that cannot use their disk now.
    :param kin: what the resource depends on, and what depends on it.
    """

    resource: Resource
    readable: bool
    reason: str
    nodes: tuple[NodeSight, ...]
    crowd: Crowd = NO_CROWD
    ailing: tuple[Ailing, ...] = ()
    kin: tuple[Kin, ...] = ()

    def node(self, minion: str) -> NodeSight:
        """The sight of ``minion``; an empty, unknown one if it is not a node of the resource."""
        for sight in self.nodes:
            if sight.minion == minion:
                return sight
        nothing = VmFacts(minion=minion, present=False, disks=())
        return NodeSight(minion, nothing, None, (), False, False)

    @functools.cached_property
    def holders(self) -> tuple[NodeSight, ...]:
        """Nodes whose VM lists a disk of the resource."""
        return tuple(n for n in self.nodes if n.holds)

    @functools.cached_property
    def writers(self) -> tuple[NodeSight, ...]:
        """Holders that are not proven off."""
        return tuple(n for n in self.holders if not n.off)

    @functools.cached_property
    def unclear(self) -> tuple[NodeSight, ...]:
        """Nodes of which vCenter does not say whether they hold a disk."""
        return tuple(n for n in self.nodes if n.holds is None)

    def candidates(self, without: str) -> tuple[NodeSight, ...]:
        """Nodes that could take the resource now, best first."""
        return tuple(n for n in self.nodes if n.minion != without and not n.unfit())


def look(
    resource: Resource,
    hypervisor: HypervisorFacts,
    answers: Mapping[str, NodeFacts],
    signs: Mapping[str, Signs] | None = None,
    crowd: Crowd = NO_CROWD,
    around: Around = NOTHING_AROUND,
    kin: tuple[Kin, ...] = (),
) -> Snapshot:
    """
    Join what was seen.

    :param resource: the resource as the move or the configuration has it.
    :param hypervisor: vCenter's word.
    :param answers: verified answers of nodes, by minion id; a silent node is absent.
    :param signs: what the master notices of silent nodes, by minion id.
    :param around: what is known of neighbours and hosts.
    :param kin: what is seen of other resources of the hierarchy.
    """
    noticed = signs or {}
    sights = tuple(
        _sight(
            resource, hypervisor.vm(n.minion), answers.get(n.minion), noticed.get(n.minion, UNNOTICED), around
        )
        for n in resource.nodes
    )
    sights = _kept(_last_resort(_heeded(sights, around)))
    return Snapshot(resource, hypervisor.readable, hypervisor.reason, sights, crowd, around.ailing, kin)


def _heeded(sights: tuple[NodeSight, ...], around: Around) -> tuple[NodeSight, ...]:
    """One sign of life on a host is enough against a word that it is off, for every node of that host."""
    found = {n.minion: _life(n, sights, around) for n in sights if n.confirmed}
    return tuple(
        replace(n, confirmed="", denied=Denied(n.confirmed, proof)) if (proof := found.get(n.minion)) else n
        for n in sights
    )


def _life(node: NodeSight, sights: tuple[NodeSight, ...], around: Around) -> Life | None:
    """What shows that the host of a node lives which was said to be off."""
    word, host = around.confirmed[node.minion], node.vm.host
    if word.against:
        return Life(word.against, True)
    there = (n for n in sights if n.vm.host_gone and n.vm.host == host)
    signs = [life(n.minion, n.facts is not None, n.signs, word) for n in there]
    proofs = [one for one in (*signs, around.alive.get(host)) if one is not None]
    return max(proofs, key=lambda one: one.void, default=None)


def _last_resort(sights: tuple[NodeSight, ...]) -> tuple[NodeSight, ...]:
    """
    While nothing has to be stopped for a try, a node that a check found wanting is better than none: the check may be outdated
    or wrong, and vCenter refuses what it cannot do.
    """
    flawed = any(n.flaws for n in sights)
    if not flawed or any((n.holds and not n.off) or not n.unfit() for n in sights):
        return sights
    return tuple(replace(n, flaws=()) for n in sights)


def _kept(sights: tuple[NodeSight, ...]) -> tuple[NodeSight, ...]:
    """Nobody takes a disk from a node where it would lose what was written."""
    found = {n.minion: n.at_stake for n in sights if n.at_stake}
    if not found:
        return sights
    return tuple(replace(n, stake=tuple(w for m, w in found.items() if m != n.minion)) for n in sights)


def _sight(
    resource: Resource, vm: VmFacts, facts: NodeFacts | None, signs: Signs, around: Around
) -> NodeSight:
    impostor = facts.smbios if facts is not None and not _same_machine(vm.smbios, facts.smbios) else ""
    facts = None if impostor else facts
    words = [vm.lists(disk) for disk in resource.disks]
    listed = tuple(disk for disk, word in zip(resource.disks, words, strict=True) if word)
    holds: bool | None = True if listed else None if None in words else False
    complete = len(listed) == len(resource.disks) and all(seat.is_taken(vm, disk) for disk in listed)
    return NodeSight(
        vm.minion,
        vm,
        facts,
        listed,
        holds,
        complete,
        seat.misfit(resource, vm, listed),
        signs,
        _confirmed(vm, around.confirmed.get(vm.minion)),
        around.tenants.get(vm.minion, ()),
        vm.minion in around.to_restart,
        impostor,
        _leaving(facts, around.leaving.get(vm.minion, "")),
        _flaws(vm, around.flaws.get(vm.minion)) if holds is False else (),
        around.renamed.get(vm.minion, ""),
        mute=around.mute.get(vm.minion, ""),
        complaint=around.failing.get(vm.minion),
    )


def _same_machine(one: str, other: str) -> bool:
    """Whether two SMBIOS UUIDs may be of one machine, in either byte order of the first three fields."""
    if not one or not other or one == other:
        return True
    here, there = ("".join(c for c in text.lower() if c not in "- ") for text in (one, other))
    swapped = "".join(here[i : i + 2] for i in (6, 4, 2, 0, 10, 8, 14, 12)) + here[16:]
    return there in (here, swapped)


def _confirmed(vm: VmFacts, word: Confirmed | None) -> str:
    """A confirmation is meant for this VM on this host as it was then, until the host is connected again."""
    if word is None or not vm.host_gone:
        return ""
    meant = bool(vm.host) and (vm.host, vm.boot_time) == (word.host, word.boot_time)
    return word.words if meant else ""


def _leaving(facts: NodeFacts | None, boot_id: str) -> bool:
    """The word ends with the boot that it was said in."""
    return bool(boot_id) and (facts is None or facts.boot_id == boot_id)


def _flaws(vm: VmFacts, found: Flaws | None) -> tuple[str, ...]:
    """They are of the host that the VM was on."""
    return found.words if found is not None and found.host == vm.host else ()


def _power_words(vm: VmFacts) -> str:
    if vm.present is False:
        return "gone from vCenter"
    if vm.present is None or vm.connected is None:
        return "not readable in vCenter"
    if vm.connected is False:
        return "on a host that is not connected to vCenter"
    return {Power.ON: "on", Power.OFF: "off", Power.SUSPENDED: "suspended"}.get(
        vm.power, "in an unknown power state"
    )
