"""
Acting: one step, once. Whatever goes wrong becomes an outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vmdk_failover.around import Confirmed
from vmdk_failover.company import PATIENT, Company
from vmdk_failover.errors import Busy, FailoverError, OutcomeUnknown, Refused, StepFailed
from vmdk_failover.judgement import assess
from vmdk_failover.judgement.case import FENCES
from vmdk_failover.judgement.rules import Then, Verdict
from vmdk_failover.model import (
    HypervisorFacts,
    Move,
    MoveKind,
    NodeFacts,
    Outcome,
    Resource,
    Result,
    Step,
    StepKind,
    VmFacts,
    to_plain,
)
from vmdk_failover.ports import Guest, Hooks, Hypervisor, Lock, Vicinity

#: Rows by which a move leaves a node that runs, by its own word; these are not done without end.
DAMPED = frozenset({597, 637, 660, 735})

#: What vCenter does to a VM: one at a time per node, across all resources. The fence of a host has a lock of its own.
WRITES = frozenset(
    {
        StepKind.FENCE,
        StepKind.FENCE_HOOK,
        StepKind.POWER_ON,
        StepKind.DETACH,
        StepKind.ATTACH,
        StepKind.SEAL,
    }
)


class NoHooks:
    """The ``Hooks`` port where nobody can call a runner."""

    def call(self, function: str, facts: Mapping[str, str], within: float) -> str:
        """See the port."""
        raise Refused(f"{function} cannot be called from here; use salt-run on the master")


class Hands:
    """Who does the steps of a move."""

    def __init__(
        self,
        hypervisor: Hypervisor,
        guest: Guest,
        lock: Lock,
        hooks: Hooks,
        vicinity: Vicinity,
        company: Company,
    ) -> None:
        self.hypervisor = hypervisor
        self.guest = guest
        self.lock = lock
        self.hooks = hooks
        self.vicinity = vicinity
        self.company = company

    def perform(self, move: Move, seen: assess.Snapshot, step: Step) -> Outcome:
        """Do one step. Whatever goes wrong becomes an outcome; the next look tells the truth."""
        act = self.acts(move, seen)[step.kind]
        try:
            if step.kind not in WRITES:
                return act(step)
            with self.lock.node(step.node, within(move.resource, step.kind)) as at_once:
                if not at_once and step.kind is not StepKind.POWER_ON:  # that one looks for itself
                    raise Busy(
                        f"another move was at work on {step.node} until now; it is looked at again first"
                    )
                outcome = act(step)
            self.remember(move, outcome)
            return outcome
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

        def power_on(step: Step) -> Outcome:
            self.check_free(resource, step)
            return hypervisor.power_on(resource, resource.node(step.node), seen.node(step.node).vm)

        return {
            StepKind.POWER_ON: power_on,
            StepKind.ALONG: lambda step: self.company.along(move, seen, step),
            StepKind.FENCE_HOOK: lambda step: self.hook(move, seen, step, resource.fence),
            StepKind.FENCE_HOST: lambda step: self.fence_host(move, seen, step),
            StepKind.SEAL: seal,
            StepKind.FENCE: fence,
            StepKind.DETACH: detach,
            StepKind.ATTACH: attach,
            StepKind.RELEASE: lambda step: guest.release(move, self.facts(seen, step)),
            StepKind.HALT: lambda step: guest.halt(move, self.facts(seen, step)),
            StepKind.MOUNT: lambda step: guest.mount(move, self.facts(seen, step)),
        }

    def hook(self, move: Move, seen: assess.Snapshot, step: Step, function: str) -> Outcome:
        """Call a hook of the administrator's. What it says of a VM is not believed; vCenter is looked at."""
        vm, node = seen.node(step.node).vm, move.resource.node(step.node)
        facts = {
            "resource": move.resource.name,
            "node": step.node,
            "vm": vm.name,
            "vm_uuid": node.vm_uuid,
            "host": vm.host,
        }
        said = self.hooks.call(function, facts, within(move.resource, step.kind))
        return Outcome(step, Result.DONE, said)

    def fence_host(self, move: Move, seen: assess.Snapshot, step: Step) -> Outcome:
        """
        Get an ESXi host off that vCenter does not reach; the hook has read its power back, nobody else can.

        Once for all nodes on it: who had to wait for another move's call goes by what came of that.
        """
        of, host, function = move.resource, seen.node(step.node).vm.host, move.resource.host_fence
        with self.lock.host(host, 2 * within(of, step.kind)) as at_once:
            shown = self.hypervisor.observe(of) if at_once else facts_of(seen.node(step.node).vm)
            now = assess.look(of, shown, {}, around=self.vicinity.look(of, shown)).node(step.node)
            if now.confirmed and not (at_once and seen.node(step.node).denied):  # else it is that word again
                return Outcome(step, Result.DONE, now.confirmed)
            if not at_once:
                raise StepFailed(f"another move has just called {function} for {host}, in vain")
            if not now.vm.host_gone or now.vm.host != host:
                raise Refused(
                    f"{host} is not lost any more, or {step.node} is not on it; it is left as it is"
                )
            lost = (now.vm, *self.lost_with(of, now.vm))
            outcome = self.hook(move, seen, step, function)
            for vm in lost:
                words = f"{function} has powered the host {host} of {vm.minion} off"
                self.vicinity.confirm(vm.minion, Confirmed(host, vm.boot_time, words))
        return outcome

    def lost_with(self, of: Resource, vm: VmFacts) -> Sequence[VmFacts]:
        """The VMs of all nodes that are lost with the host of this one."""
        nodes = self.vicinity.neighbours(vm)
        if not nodes:
            return ()
        shown = self.hypervisor.observe(replace(of, nodes=tuple(nodes), disks=(), host_fence=""))
        return [one for one in shown.vms if one.host_gone and one.host == vm.host]

    def check_free(self, resource: Resource, step: Step) -> None:
        """Under the node's lock: nobody has given the VM a protected disk since it was looked at."""
        now = self.hypervisor.observe(resource)
        tenants = self.vicinity.look(resource, now).tenants.get(step.node, ())
        vm = now.vm(step.node)
        if not vm.is_off or tenants or any(vm.lists(disk) is not False for disk in resource.disks):
            raise Refused(
                f"{step.node} is not off any more or has a protected disk again; it is left as it is"
            )

    def remember(self, move: Move, outcome: Outcome) -> None:
        """What other moves have to know of a node that was fenced, or started again."""
        kind, node = outcome.step.kind, outcome.step.node
        if kind in FENCES and outcome.result is not Result.FAILED and move.resource.fence_action == "reboot":
            self.vicinity.restart(node, True)
        if kind is StepKind.POWER_ON:
            self.vicinity.restart(node, False)

    def facts(self, seen: assess.Snapshot, step: Step) -> NodeFacts:
        facts = seen.node(step.node).facts
        if facts is None:
            raise FailoverError(
                f"{step.node} gave no signed answer, so it cannot be told to {step.kind.value}", "silent"
            )
        return facts


def ending(
    move: Move, verdict: Verdict, steps: Sequence[Mapping[str, Any]], took: float, now: float
) -> dict[str, Any]:
    """
    What is written down of a finished move: all that the policy needs to remember of it.

    :param steps: what was done, as it was told. :param took: seconds. :param now: wall seconds.
    """
    done = verdict.then is Then.DONE
    return {
        "kind": move.kind.value,
        "source": move.source,
        "target": move.target,
        "epoch": move.epoch,
        "ok": done,
        "rule": verdict.rule,
        "reason": verdict.reason,
        "code": steps[-1]["code"] if steps and not done else "",
        "because": move.reason,
        "by": move.rule,
        "condition": move.condition,
        "damped": move.kind is MoveKind.FAILOVER and move.rule in DAMPED and done,
        "fenced": any(step["step"] == StepKind.FENCE.value for step in steps),
        "took": took,
        "ended": now,
    }


def facts_of(vm: VmFacts) -> HypervisorFacts:
    """What was seen of one VM, as an answer of vCenter."""
    return HypervisorFacts(True, "", (vm,))


def within(resource: Resource, kind: StepKind) -> float:
    """Seconds that a step may take."""
    limits = resource.timeouts
    if kind is StepKind.ALONG:  # besides, their own steps tell how long they take
        return PATIENT + limits.ask
    if kind in (StepKind.FENCE_HOOK, StepKind.FENCE_HOST):
        return limits.fence
    return float(getattr(limits, kind.value)) + (limits.service if kind is StepKind.MOUNT else 0.0)


def basis(seen: assess.Snapshot, step: Step) -> str:
    """The ``changeVersion`` that a step's request carries."""
    writes = step.kind in (StepKind.ATTACH, StepKind.DETACH)
    return seen.node(step.node).vm.change_version if writes else ""


def in_advance(seen: assess.Snapshot, step: Step) -> Mapping[str, Any]:
    """What a step has come to if nobody is left to write its outcome down."""
    words = "the process that carried it out ended while it was under way"
    plain: Mapping[str, Any] = to_plain(
        Outcome(step, Result.UNKNOWN, words, "interrupted", basis=basis(seen, step))
    )
    return plain
