"""
Looking: vCenter first, then the nodes whose word matters; what was heard is kept for a moment and no longer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from vmdk_failover.around import NOTHING_AROUND, Around, Confirmed, Life
from vmdk_failover.errors import Busy
from vmdk_failover.judgement import assess
from vmdk_failover.judgement.blind import REMOUNT
from vmdk_failover.judgement.disproof import life
from vmdk_failover.judgement.hierarchy import kin_of
from vmdk_failover.kin import Kin, Neighbour
from vmdk_failover.model import (
    FAILED_CONDITIONS,
    Crowd,
    HypervisorFacts,
    MountState,
    Move,
    Node,
    NodeFacts,
    Outcome,
    Resource,
    Signs,
    StepKind,
    VmFacts,
)
from vmdk_failover.ports import Clock, Guest, Hypervisor, Lookout, Vicinity

#: A node's word is asked for again when it is older than this (seconds).
FACTS_AGE = 3.0
#: A node that gave no answer is not asked again for this long (seconds).
SILENT_AGE = 10.0


class NoLookout:
    """The ``Lookout`` port where nobody listens: nothing is known."""

    def signs(self, seen: HypervisorFacts, silent: Sequence[str]) -> Mapping[str, Signs]:
        """See the port."""
        return {}

    def crowd(self, resource: Resource, seen: HypervisorFacts) -> Crowd:
        """See the port."""
        return Crowd()


class NoVicinity:
    """The ``Vicinity`` port where nothing is remembered."""

    def look(self, resource: Resource, seen: HypervisorFacts) -> Around:
        """See the port."""
        return NOTHING_AROUND

    def kin(self, resource: Resource) -> Sequence[Neighbour]:
        """See the port."""
        return ()

    def ailing(self, resource: Resource, seen: VmFacts | None, condition: str) -> None:
        """See the port."""

    def neighbours(self, vm: VmFacts) -> Sequence[Node]:
        """See the port."""
        return ()

    def confirm(self, minion: str, word: Confirmed) -> None:
        """See the port."""

    def refute(self, host: str, words: str) -> None:
        """See the port."""

    def restart(self, minion: str, wanted: bool) -> None:
        """See the port."""


class Witnesses:
    """What one run has heard of the nodes so far."""

    def __init__(
        self,
        hypervisor: Hypervisor,
        guest: Guest,
        clock: Clock,
        lookout: Lookout,
        vicinity: Vicinity | None = None,
    ) -> None:
        self.hypervisor = hypervisor
        self.guest = guest
        self.clock = clock
        self.lookout = lookout
        self.vicinity: Vicinity = vicinity or NoVicinity()
        self.heard: dict[str, tuple[float, NodeFacts | None]] = {}
        self.booted: dict[str, str] = {}
        self.heard_of_kin: dict[str, tuple[float, Mapping[str, NodeFacts]]] = {}
        self.noticed: dict[str, tuple[float, Signs]] = {}

    def observe(self, resource: Resource, move: Move | None = None) -> assess.Snapshot:
        """Look at vCenter, then ask the nodes whose word matters and is not fresh."""
        seen = self.hypervisor.observe(resource)
        self.forget_booted(seen)
        wanted = self.worth_asking(resource, seen, move)
        if wanted:
            began = self.clock.monotonic()
            answers = self.guest.ask(resource, wanted)
            now = self.clock.monotonic()
            for minion in wanted:
                self.heard[minion] = (now, answers.get(minion))
            if now - began > FACTS_AGE:  # answers were kept back: what vCenter showed is from long before
                seen = self.hypervisor.observe(resource)
                self.forget_booted(seen)
        answers = self.answers(seen)
        kin = self.kin(resource, seen, move)
        if not seen.readable:
            return assess.look(resource, seen, answers, kin=kin)
        if move is None:
            self.note_ailing(
                resource, seen, answers
            )  # first: of two that fail at once, one at least sees the other
        around = self.vicinity.look(resource, seen)
        silent = [vm.minion for vm in seen.vms if vm.present and not vm.is_off and vm.minion not in answers]
        if move is None:
            signs = self.lookout.signs(seen, silent)
            counts = resource.host_fence or not all(seen.vm(minion).host_gone for minion in silent)
            crowd = self.lookout.crowd(resource, seen) if silent and counts else Crowd()
        else:  # nothing rests on them then but a word that a host is off
            lost = [m for m in silent if seen.vm(m).host_gone]
            signs, crowd = self.notice(seen, lost) if around.confirmed else {}, Crowd()
        around = replace(around, alive=self.alive(resource, seen, around)) if around.beside else around
        found = assess.look(resource, seen, answers, signs, crowd, around, kin)
        self.refute(found, around)
        return found

    def notice(self, seen: HypervisorFacts, minions: Sequence[str]) -> Mapping[str, Signs]:
        """Signs of life of some nodes, kept for a moment: to try an address takes a second, and a move looks often."""
        now = self.clock.monotonic()
        old = [m for m in minions if m not in self.noticed or now - self.noticed[m][0] >= FACTS_AGE]
        if old:
            signs, now = self.lookout.signs(seen, old), self.clock.monotonic()
            self.noticed.update({m: (now, signs.get(m, Signs())) for m in old})
        return {m: self.noticed[m][1] for m in minions}

    def alive(self, resource: Resource, seen: HypervisorFacts, around: Around) -> Mapping[str, Life]:
        """By host that was said to be off, what shows that a node of another resource lives there."""
        found = {}
        for host, nodes in around.beside.items():
            signs = self.notice(seen, [n.minion for n in nodes])
            words = [word for word in around.confirmed.values() if word.host == host]
            proofs = {n: life(n.minion, False, signs[n.minion], word) for n in nodes for word in words}
            there = self._still_there(resource, host, [n for n, proof in proofs.items() if proof])
            lives = [(proof, there[n.minion]) for n, proof in proofs.items() if proof and n.minion in there]
            if lives:
                proof, sure = max(lives, key=lambda one: one[1] and one[0].void)
                found[host] = proof if sure else replace(proof, void=False)
        return found

    def _still_there(self, of: Resource, host: str, nodes: Sequence[Node]) -> Mapping[str, bool]:
        """Which of these nodes are on a lost host yet: vSphere HA may have restarted them elsewhere. ``False``: not known."""
        if not nodes:
            return {}
        shown = self.hypervisor.observe(replace(of, nodes=tuple(nodes), disks=(), host_fence=""))
        if not shown.readable:
            return {n.minion: False for n in nodes}
        vms = (shown.vm(n.minion) for n in nodes)
        return {vm.minion: True for vm in vms if vm.host_gone and vm.host == host}

    def refute(self, found: assess.Snapshot, around: Around) -> None:
        """Write down that a word was wrong, so that it does not count again when the node that showed it is silent."""
        for node in found.nodes:
            if node.denied and node.denied.life.void and not around.confirmed[node.minion].against:
                self.vicinity.refute(node.vm.host, node.denied.life.words)

    def kin(self, resource: Resource, seen: HypervisorFacts, move: Move | None) -> tuple[Kin, ...]:
        """What is seen of the other resources of the hierarchy; they live on the same VMs."""
        return tuple(self._kin(one, seen, move) for one in self.vicinity.kin(resource))

    def _kin(self, one: Neighbour, seen: HypervisorFacts, move: Move | None) -> Kin:
        if one.resource is None:
            return Kin(one.name, one.below, paused=one.paused, move=one.move)
        ends = (move.source, move.target) if move else tuple(n.minion for n in one.resource.nodes)
        known = [n.minion for n in one.resource.nodes if n.minion in ends]
        asked = [m for m in known if not seen.vm(m).is_off and self.heard.get(m, (0.0, None))[1] is not None]
        when, answers = self.heard_of_kin.get(one.name, (0.0, {}))
        now = self.clock.monotonic()
        if now - when >= FACTS_AGE or not set(asked) <= set(answers):
            answers = self.guest.ask(one.resource, asked) if asked else {}
            self.heard_of_kin[one.name] = now, answers
        said = {m: facts for m, facts in answers.items() if not seen.vm(m).is_off}
        return kin_of(one, assess.look(one.resource, seen, said, around=Around(flaws=one.flaws)))

    def forget_booted(self, seen: HypervisorFacts) -> None:
        """What a node said before a boot that vCenter shows is true no more, however fresh it is."""
        for vm in seen.vms:
            if vm.boot_time and self.booted.setdefault(vm.minion, vm.boot_time) != vm.boot_time:
                self.booted[vm.minion] = vm.boot_time
                self.heard.pop(vm.minion, None)

    def note_ailing(
        self, resource: Resource, seen: HypervisorFacts, answers: Mapping[str, NodeFacts]
    ) -> None:
        """Let other resources of the datastore know that the disk fails here, or does not any more."""
        for vm in seen.vms:
            facts = answers.get(vm.minion)
            if facts is None or not any(vm.lists(disk) for disk in resource.disks):
                continue
            if facts.condition in FAILED_CONDITIONS:
                self.vicinity.ailing(resource, vm, facts.condition.value)
            elif facts.mounted is MountState.MOUNTED:
                self.vicinity.ailing(resource, None, "")

    def worth_asking(self, resource: Resource, seen: HypervisorFacts, move: Move | None) -> list[str]:
        """Minions to ask now: both ends of a move, else all; never one that is off, nor one just found silent."""
        if not seen.readable:
            blind = move is None or move.rule == REMOUNT
            return [n.minion for n in resource.nodes if blind and not self.is_fresh(n.minion)]
        running = [
            vm.minion
            for vm in seen.vms
            if vm.present and not vm.is_off and (not move or vm.minion in (move.source, move.target))
        ]
        if all(self.is_fresh(m) for m in running):
            return []
        # while one is asked in vain, the word of another must not grow old
        return [m for m in running if not self.is_fresh(m, resource.timeouts.ask)]

    def is_fresh(self, minion: str, ahead: float = 0.0) -> bool:
        """Whether the last answer, or that there was none, still counts; a word also ``ahead`` seconds from now."""
        if minion not in self.heard:
            return False
        when, facts = self.heard[minion]
        age = self.clock.monotonic() - when
        return age < SILENT_AGE if facts is None else age + ahead < FACTS_AGE

    def answers(self, seen: HypervisorFacts) -> dict[str, NodeFacts]:
        """Answers that still count: a node that is off now has no say, whatever it said before."""
        off = {vm.minion for vm in seen.vms if vm.is_off}
        return {
            minion: facts
            for minion, (_, facts) in self.heard.items()
            if facts is not None and minion not in off and self.is_fresh(minion)
        }

    def hear(self, outcome: Outcome) -> None:
        """Keep a node's word that came with a step; forget what it said before if none came."""
        step = outcome.step
        if step.kind is not StepKind.RELEASE:
            self.heard_of_kin.clear()
        if step.kind is StepKind.FENCE_HOST:
            self.noticed.clear()
        if outcome.facts is not None:
            self.heard[step.node] = (self.clock.monotonic(), outcome.facts)
        elif step.kind not in (StepKind.ATTACH, StepKind.DETACH, StepKind.SEAL, StepKind.ALONG):
            self.heard.pop(step.node, None)
        elif outcome.code == Busy.code and self.heard.get(step.node, (0.0, None))[1] is not None:
            self.heard.pop(step.node)  # another move was at work there; what it said may be so no longer
