"""
The table run on paper: which steps a move would take if every one of them ended well. For ``plan`` and ``test=True``.

Pure. The same table decides as in earnest; only the world is imagined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from vmdk_failover.around import Around, Confirmed, Flaws
from vmdk_failover.judgement import assess, rules
from vmdk_failover.judgement.assess import NodeSight, Snapshot
from vmdk_failover.judgement.case import FENCES
from vmdk_failover.judgement.hierarchy import above, below
from vmdk_failover.kin import Kin
from vmdk_failover.model import (
    Condition,
    DiskFacts,
    HypervisorFacts,
    MountState,
    Move,
    NodeFacts,
    Outcome,
    Power,
    Result,
    Step,
    StepKind,
    VmFacts,
)

#: A move of n disks needs far fewer steps; more means that the table runs in a circle.
MOST_STEPS = 20
#: Steps that nodes have to do themselves, and may fail to: what would follow then is told too.
IN_DOUBT = frozenset({StepKind.RELEASE, StepKind.HALT, StepKind.ALONG})


@dataclass(frozen=True)
class Plan:
    """
    The steps of a move in order, each with the row and the sentence for it, and what it would end in.

    :param otherwise: by the number of a step in :data:`IN_DOUBT`, what would follow if it were not done.
    """

    steps: tuple[rules.Verdict, ...]
    ends: rules.Verdict
    otherwise: Mapping[int, rules.Verdict]


def plan(
    move: Move,
    seen: Snapshot,
    outcomes: tuple[Outcome, ...] = (),
    missing_ok: Sequence[str] = (),
    last: Mapping[str, str] | None = None,
) -> Plan:
    """
    Say what would be done.

    :param move: the move, open or imagined.
    :param seen: the world as it is.
    :param outcomes: what was tried already. :param missing_ok: nodes that a person said were deleted.
    :param last: the nodes that had the disk last, as far as is known, with how they come to be in question.
    """
    judge = partial(rules.Case, move, epoch=move.epoch, missing_ok=missing_ok, last=last or {})
    steps: list[rules.Verdict] = []
    otherwise: dict[int, rules.Verdict] = {}
    for number in range(MOST_STEPS):
        verdict = rules.next_verdict(judge(seen, outcomes))
        if verdict.step is None:
            return Plan(tuple(steps), verdict, otherwise)
        if verdict.step.kind in IN_DOUBT:
            undone = (*outcomes, Outcome(verdict.step, Result.FAILED, "not done in time"))
            otherwise[number] = rules.next_verdict(judge(seen, undone))
        steps.append(verdict)
        outcomes = (*outcomes, Outcome(verdict.step, Result.DONE))
        seen = _after(seen, move, verdict.step)
    raise AssertionError(f"the table does not come to an end for {move.resource.name}")


def _after(seen: Snapshot, move: Move, step: Step) -> Snapshot:
    """The world after ``step`` has ended well."""
    sight = seen.node(step.node)
    vm, facts = _EFFECTS[step.kind](sight, move)
    vms = tuple(vm if n.minion == step.node else n.vm for n in seen.nodes)
    answers: Mapping[str, NodeFacts | None] = {n.minion: n.facts for n in seen.nodes} | {step.node: facts}
    spoken = {minion: said for minion, said in answers.items() if said is not None}
    around = _around(seen, move, step)
    kin = _along(seen, move, step) if step.kind is StepKind.ALONG else seen.kin
    return assess.look(seen.resource, HypervisorFacts(True, "", vms), spoken, around=around, kin=kin)


def _along(seen: Snapshot, move: Move, step: Step) -> tuple[Kin, ...]:
    """What depends on the resource has left the source, or what it depends on has come to the target."""
    leaves = step.node == move.source
    gone = (
        {k.name: replace(k, on=tuple(m for m in k.on if m != step.node)) for k in above(seen)}
        if leaves
        else {}
    )
    come = {} if leaves else {k.name: replace(k, active=step.node, on=(step.node,)) for k in below(seen)}
    return tuple((gone | come).get(k.name, k) for k in seen.kin)


def _around(seen: Snapshot, move: Move, step: Step) -> Around:
    """What is remembered after ``step``."""
    words = {n.minion: Confirmed(n.vm.host, n.vm.boot_time, n.confirmed) for n in seen.nodes if n.confirmed}
    if step.kind is StepKind.FENCE_HOST:
        vm = seen.node(step.node).vm
        words[step.node] = Confirmed(vm.host, vm.boot_time, f"the host {vm.host} of {step.node} is off")
    again = {n.minion for n in seen.nodes if n.to_restart} - {
        step.node if step.kind is StepKind.POWER_ON else ""
    }
    if step.kind in FENCES and move.resource.fence_action == "reboot":
        again.add(step.node)
    leaving = {n.minion: n.facts.boot_id for n in seen.nodes if n.leaving and n.facts}
    flaws = {n.minion: Flaws(n.vm.host, n.flaws) for n in seen.nodes if n.flaws}
    tenants = {n.minion: n.tenants for n in seen.nodes}
    renamed = {n.minion: n.renamed for n in seen.nodes if n.renamed}
    return Around(tenants, seen.ailing, words, frozenset(again), leaving, flaws, renamed)


_Effect = Callable[[NodeSight, Move], "tuple[VmFacts, NodeFacts | None]"]


def _released(sight: NodeSight, move: Move) -> tuple[VmFacts, NodeFacts | None]:
    facts = sight.facts
    gone = facts and replace(facts, released=move.epoch, mounted=MountState.UNMOUNTED, superblock=False)
    return sight.vm, gone


def _off(sight: NodeSight, move: Move) -> tuple[VmFacts, NodeFacts | None]:
    return replace(sight.vm, power=Power.OFF, connected=True), None


def _on(sight: NodeSight, move: Move) -> tuple[VmFacts, NodeFacts | None]:
    return replace(sight.vm, power=Power.ON), None


def _detached(sight: NodeSight, move: Move) -> tuple[VmFacts, NodeFacts | None]:
    kept = tuple(d for d in sight.vm.disks or () if d.path not in {x.path for x in move.resource.disks})
    gone = {(d.bus, d.unit) for d in move.resource.disks}
    return replace(sight.vm, disks=kept, slots=(sight.vm.slots or frozenset()) - gone), sight.facts


def _attached(sight: NodeSight, move: Move) -> tuple[VmFacts, NodeFacts | None]:
    fresh = tuple(DiskFacts(d.path, d.uuid, d.bus, d.unit, -1, d.mode) for d in move.resource.disks)
    kept = tuple(d for d in sight.vm.disks or () if d.path not in {x.path for x in fresh})
    return replace(sight.vm, disks=(*kept, *fresh)), sight.facts


def _mounted(sight: NodeSight, move: Move) -> tuple[VmFacts, NodeFacts | None]:
    facts = sight.facts
    up = facts and replace(facts, mounted=MountState.MOUNTED, condition=Condition.OK, services=None)
    return sight.vm, up


def _sealed(sight: NodeSight, move: Move) -> tuple[VmFacts, NodeFacts | None]:
    return replace(sight.vm, change_version=f"{sight.vm.change_version} sealed"), sight.facts


_EFFECTS: Mapping[StepKind, _Effect] = {
    StepKind.RELEASE: _released,
    StepKind.HALT: _off,
    StepKind.FENCE: _off,
    StepKind.FENCE_HOOK: _off,
    StepKind.FENCE_HOST: lambda sight, move: (sight.vm, None),
    StepKind.POWER_ON: _on,
    StepKind.ALONG: lambda sight, move: (sight.vm, sight.facts),
    StepKind.DETACH: _detached,
    StepKind.ATTACH: _attached,
    StepKind.MOUNT: _mounted,
    StepKind.SEAL: _sealed,
}
