"""
Why a failover of a resource that runs well would not work now. Pure.

Told before it is needed: ``status`` says NOT PROTECTED with these reasons.
"""

from __future__ import annotations

from collections.abc import Iterator

from vmdk_failover.judgement import stake
from vmdk_failover.judgement.assess import NodeSight
from vmdk_failover.judgement.depending import unbased
from vmdk_failover.judgement.doubts import question_words
from vmdk_failover.judgement.failing import just_come
from vmdk_failover.judgement.hierarchy import cannot_follow
from vmdk_failover.judgement.policy import Choice, Situation, decide
from vmdk_failover.judgement.situation import no_target
from vmdk_failover.model import UNWATCHED


def gaps(situation: Situation) -> tuple[str, ...]:
    """What would keep the resource from being moved if its holder failed now, one sentence each; empty if it is protected."""
    return tuple(_gaps(situation))


def _gaps(s: Situation) -> Iterator[str]:
    decision = decide(s)
    if decision.choice is not Choice.NOTHING:
        yield decision.reason
        return
    if s.holder is not None:
        yield from _of_holder(s, s.holder)
    if not s.targets():
        yield no_target(s)
    elif s.seen.kin:
        target = s.targets()[0].minion
        yield from (f"{target}: {words}" for words in cannot_follow(s.seen, target))
    if words := unbased(s):
        yield words
    rescues, most = s.rescues(), s.resource.max_failovers_per_hour
    if rescues >= most:
        yield f"{rescues} failovers within the hour are enough (max_failovers_per_hour); 'salt-run vmdk.clear {s.resource.name}'"


def mute_words(minion: str, address: str) -> str:
    """What follows from an address that does not answer while the node is well, and what to do."""
    return (
        f"the address {address} of {minion} does not answer this master although {minion} is well, so if {minion} falls silent "
        "while its VM is on, that is held (645): let ICMP echoes or TCP port 22 from the master through"
    )


def _of_holder(s: Situation, h: NodeSight) -> Iterator[str]:
    if h.vm.snapshot is not False:
        yield (
            f"the VM of {h.minion} has a snapshot that holds the disk, or its snapshots cannot be read, so nothing can be "
            "detached from it: delete the snapshot"
        )
    if h.vm.question:
        yield question_words(h)
    if h.facts is not None and h.facts.condition in UNWATCHED and not just_come(s, h):
        yield (
            f"nobody watches the disk on {h.minion} ({h.facts.evidence or 'the prober says nothing'}), so that a fault of it "
            f"would not be seen: restart salt-minion there; 'salt-call vmdk.doctor' on {h.minion} says more"
        )
    yield from h.facts.bound if h.facts is not None else ()
    if h.mute and h.facts is not None:
        yield mute_words(h.minion, h.mute)
    if h.paused_tenants:
        names = " and ".join(h.paused_tenants)
        ends = f"end that with 'salt-run vmdk.resume {h.paused_tenants[0]}'"
        yield f"{names} is on {h.minion} too and is paused, so {h.minion} is not fenced: {ends}"
    if words := stake.guard_words(h.tenants, h.minion):
        yield f"{h.minion} is not fenced: {words}"
    paths = {disk.path for disk in h.listed}
    yield from (
        f"{mine.path} is shared ({mine.sharing}) on the VM of {h.minion}, so no lock keeps two VMs from writing: take the "
        "sharing off, which needs the VM to be off"
        for mine in h.vm.disks or ()
        if mine.path in paths and mine.sharing != "sharingNone"
    )
