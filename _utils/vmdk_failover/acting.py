"""
Acting: one step, once. Whatever goes wrong becomes an outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vmdk_failover import assess
from vmdk_failover.errors import FailoverError, OutcomeUnknown
from vmdk_failover.model import Move, NodeFacts, Outcome, Result, Step, StepKind, to_plain
from vmdk_failover.ports import Guest, Hypervisor, Lock

#: What vCenter does to a VM: one at a time per node, across all resources.
WRITES = frozenset({StepKind.FENCE, StepKind.DETACH, StepKind.ATTACH, StepKind.SEAL})


class Hands:
    """Who does the steps of a move."""

    def __init__(self, hypervisor: Hypervisor, guest: Guest, lock: Lock) -> None:
        self.hypervisor = hypervisor
        self.guest = guest
        self.lock = lock

    def perform(self, move: Move, seen: assess.Snapshot, step: Step) -> Outcome:
        """Do one step. Whatever goes wrong becomes an outcome; the next look tells the truth."""
        act = self.acts(move, seen)[step.kind]
        try:
            if step.kind not in WRITES:
                return act(step)
            with self.lock.node(step.node, getattr(move.resource.timeouts, step.kind.value)):
                return act(step)
        except OutcomeUnknown as err:
            return Outcome(step, Result.UNKNOWN, err.reason, err.code)
        except FailoverError as err:
            return Outcome(step, Result.FAILED, err.reason, err.code)

    def acts(self, move: Move, seen: assess.Snapshot) -> Mapping[StepKind, Callable[[Step], Outcome]]:
        hypervisor, guest, resource = self.hypervisor, self.guest, move.resource

        def fence(step: Step) -> Outcome:
            return hypervisor.power_off(resource, resource.node(step.node), seen.node(step.node).vm)

        def detach(step: Step) -> Outcome:
            sight = seen.node(step.node)
            return hypervisor.detach(resource, resource.node(step.node), sight.vm, sight.listed)

        def attach(step: Step) -> Outcome:
            sight = seen.node(step.node)
            missing = [disk for disk in resource.disks if disk not in sight.listed]
            return hypervisor.attach(resource, resource.node(step.node), sight.vm, missing)

        def seal(step: Step) -> Outcome:
            return hypervisor.seal(resource, resource.node(step.node), seen.node(step.node).vm, move.epoch)

        return {
            StepKind.SEAL: seal,
            StepKind.FENCE: fence,
            StepKind.DETACH: detach,
            StepKind.ATTACH: attach,
            StepKind.RELEASE: lambda step: guest.release(move, self.facts(seen, step)),
            StepKind.HALT: lambda step: guest.halt(move, self.facts(seen, step)),
            StepKind.MOUNT: lambda step: guest.mount(move, self.facts(seen, step)),
        }

    def facts(self, seen: assess.Snapshot, step: Step) -> NodeFacts:
        facts = seen.node(step.node).facts
        if facts is None:
            raise FailoverError(
                f"{step.node} gave no signed answer, so it cannot be told to {step.kind.value}", "silent"
            )
        return facts


def basis(seen: assess.Snapshot, step: Step) -> str:
    """The ``changeVersion`` that a step's request carries."""
    writes = step.kind in (StepKind.ATTACH, StepKind.DETACH)
    return seen.node(step.node).vm.change_version if writes else ""


def in_advance(seen: assess.Snapshot, step: Step) -> Mapping[str, Any]:
    """What a step has come to if nobody is left to write its outcome down."""
    words = "the engine ended while it was under way"
    plain: Mapping[str, Any] = to_plain(
        Outcome(step, Result.UNKNOWN, words, "interrupted", basis=basis(seen, step))
    )
    return plain
