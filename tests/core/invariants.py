"""
What must hold for every verdict, told from the facts alone and without a look into the tables.

Each check returns the sentences of what is wrong; an empty list is a pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vmdk_failover.judgement.assess import NodeSight
from vmdk_failover.judgement.rules import Case, Then, Verdict
from vmdk_failover.model import (
    FAILED_CONDITIONS,
    MountState,
    MoveKind,
    Power,
    Resource,
    Result,
    StepKind,
    VmFacts,
)

MOST = {
    StepKind.SEAL: 3,
    StepKind.ATTACH: 3,
    StepKind.DETACH: 5,
    StepKind.FENCE: 3,
    StepKind.FENCE_HOOK: 2,
    StepKind.FENCE_HOST: 2,
    StepKind.MOUNT: 2,
    StepKind.ALONG: 6,  # on each side
}


#: After these a VM has not got the disk any more, or no power.
TAKING = (
    StepKind.RELEASE,
    StepKind.HALT,
    StepKind.FENCE,
    StepKind.FENCE_HOOK,
    StepKind.FENCE_HOST,
    StepKind.DETACH,
)


def listing(vm: VmFacts, of: Resource) -> bool | None:
    """Whether a VM lists any disk of the resource; ``None`` if a disk matches by half or the list is unread."""
    if vm.present is False:
        return False
    if vm.disks is None:
        return None
    pairs = [(d.path == mine.path, d.uuid == mine.uuid) for d in of.disks for mine in vm.disks]
    if any(all(pair) for pair in pairs):
        return True
    return None if any(any(pair) for pair in pairs) else False


def all_in_place(vm: VmFacts, of: Resource) -> bool:
    """Whether a VM lists all disks where they were recorded."""
    there = {(d.path, d.uuid, d.bus, d.unit) for d in vm.disks or ()}
    return vm.present is not False and {(d.path, d.uuid, d.bus, d.unit) for d in of.disks} <= there


def proven_off(vm: VmFacts) -> bool:
    """Off by a current word, or not there at all."""
    return vm.present is False or (vm.power is Power.OFF and vm.connected is True)


def believed(node: NodeSight, nodes: Sequence[NodeSight]) -> bool:
    """Off by a word that is good as long as nobody sees that host or hears of a node on it."""
    lost = node.vm.connected is False and node.vm.host_connected is not True
    there = [n for n in nodes if n.vm.connected is False and n.vm.host == node.vm.host]
    return bool(node.confirmed) and lost and not any(shows_life(n) for n in (node, *there))


def shows_life(node: NodeSight) -> bool:
    """It has answered, its address answers, or its heartbeat is fresh."""
    beats = node.signs.heard is not None and node.signs.heard <= 3.0
    return node.facts is not None or node.signs.address is True or beats


def runs(vm: VmFacts) -> bool:
    """Running by a current word."""
    return vm.present is True and vm.power is Power.ON and vm.connected is True


def may_land(case: Case) -> bool:
    """A reconfigure of this move was sent, its answer was lost, and its work is not to be seen."""
    of = case.move.resource
    for outcome in case.outcomes:
        vm = case.seen.node(outcome.step.node).vm
        if outcome.basis and vm.change_version and outcome.basis != vm.change_version:
            continue  # the VM has changed since: vCenter would refuse the request
        if (
            outcome.result is Result.UNKNOWN
            and outcome.step.kind is StepKind.ATTACH
            and not all_in_place(vm, of)
        ):
            return True
        if outcome.result is Result.UNKNOWN and outcome.step.kind is StepKind.DETACH and listing(vm, of):
            return True
    return False


def wrong(case: Case, verdict: Verdict) -> list[str]:
    """Everything that is wrong with a verdict."""
    found = [] if verdict.reason.strip() else ["no reason is given"]
    if verdict.step is None:
        return [*found, *_wrong_end(case, verdict)]
    kind, node = verdict.step.kind, verdict.step.node
    if kind is StepKind.MOUNT and not case.seen.readable:
        return [*found, *(f"mount of {node}: {words}" for words in _blind(case, node))]
    moment = _wrong_look if kind in (StepKind.SEAL, StepKind.FENCE_HOST) else _wrong_moment
    found += [f"{kind.value} of {node}: {words}" for words in moment(case)]
    sight = case.seen.node(node)
    found += [f"{kind.value} of {node}: {words}" for words in _CHECKS[kind](case, sight)]
    if kind in TAKING and loses(sight, case.seen.nodes, case.move.resource):
        found.append(f"{kind.value} of {node}: what was written is lost")
    if sum(1 for o in case.outcomes if o.step.kind is kind) >= MOST.get(kind, 1):
        found.append(f"{kind.value} is tried again and again")
    return found


def _wrong_end(case: Case, verdict: Verdict) -> Iterator[str]:
    if verdict.then is Then.ABANDON and may_land(case):
        yield "the move is given up while a request of its own may still land"
    if verdict.then is Then.WAIT and any(n.vm.question and n.vm.task for n in case.seen.nodes):
        yield "it waits for what does not pass by itself"
    if verdict.then is Then.DONE and not case.seen.readable:
        facts = case.seen.node(case.move.target).facts
        if facts is None or facts.mounted is not MountState.MOUNTED or facts.condition in FAILED_CONDITIONS:
            yield "done, unseen"
        yield from _blind_moment(case, case.move.target)
    elif verdict.then is Then.DONE:
        if case.paused:
            yield "done, unseen"
        yield from _wrong_home(case)


def _blind_moment(case: Case, node: str) -> Iterator[str]:
    """What must be so for anything at all to be done while vCenter cannot be read."""
    if case.move.kind is not MoveKind.REPAIR or not case.move.is_local or case.move.rule != 515:
        yield "vCenter is unreadable"
    if case.paused or case.epoch != case.move.epoch or node != case.move.target:
        yield "paused, or another epoch is current, or not the target"
    words = {n.minion: n.facts for n in case.seen.nodes if n.facts is not None}
    if any(facts.epoch > case.epoch for facts in words.values()):
        yield "a node has acted under a newer epoch"
    others = (facts for minion, facts in words.items() if minion != node)
    if any(facts.device is not False or facts.mounted is not MountState.UNMOUNTED for facts in others):
        yield "another node may have it"


def _blind(case: Case, node: str) -> Iterator[str]:
    yield from _blind_moment(case, node)
    facts = case.seen.node(node).facts
    if facts is None or not facts.device or facts.superblock is not False:
        yield "it does not see the disk, or has it already"
    elif facts.mounted is not MountState.UNMOUNTED or facts.busy or facts.unready:
        yield "it is not free or not ready"
    if sum(1 for o in case.outcomes if o.step.kind is StepKind.MOUNT) >= 2:
        yield "it is tried again and again"


def _wrong_home(case: Case) -> Iterator[str]:
    target = case.seen.node(case.move.target)
    facts = target.facts
    if not (runs(target.vm) and all_in_place(target.vm, case.move.resource)):
        yield "done, and the target does not list all disks or does not run"
    if facts is None or facts.mounted is not MountState.MOUNTED or facts.condition in FAILED_CONDITIONS:
        yield "done, and the target does not have it mounted in good health"
    if facts is not None and facts.services is False:
        yield "done, and its services do not run"
    if any(_may_write(case, n) for n in case.seen.nodes if n is not target):
        yield "done, and another node may write"


def _may_write(case: Case, node: NodeSight) -> bool:
    return listing(node.vm, case.move.resource) is not False and not (
        proven_off(node.vm) or believed(node, case.seen.nodes)
    )


def _wrong_moment(case: Case) -> Iterator[str]:
    """What forbids any step."""
    yield from _wrong_look(case)
    of, ends = case.move.resource, (case.move.source, case.move.target)
    writers = [n for n in case.seen.nodes if _may_write(case, n)]
    if len(writers) > 1:
        yield "two nodes may write"
    if any(n.minion not in ends for n in writers):
        yield "a node outside the move may write"
    for node in case.seen.nodes:
        for words in _wrong_node(node, of, node.minion in ends, case.seen.nodes):
            yield f"{node.minion} {words}"


def _wrong_node(node: NodeSight, of: Resource, is_end: bool, nodes: Sequence[NodeSight]) -> Iterator[str]:
    held = listing(node.vm, of)
    if held is not None and believed(node, nodes):
        return
    if held is None:
        yield "may hold the disk or not"
    if (held or is_end) and node.impostor:
        yield "is another VM than the one that answers"
    if held and not (node.vm.connected is True and node.vm.power is not Power.UNKNOWN):
        yield "holds the disk and the word about it is not current"
    if (held or is_end) and node.vm.present is not False and node.vm.task != "":
        yield "has a task"


def _wrong_look(case: Case) -> Iterator[str]:
    if case.paused:
        yield "paused"
    if not case.seen.readable:
        yield "vCenter is unreadable"
    if case.epoch != case.move.epoch:
        yield "another epoch is current"
    for node in case.seen.nodes:
        if node.facts is not None and node.facts.epoch > case.epoch:
            yield f"{node.minion} has acted under a newer epoch"


def _fit(case: Case) -> Iterator[str]:
    """The target runs, has answered, and could take the resource."""
    target = case.seen.node(case.move.target)
    at_home = (
        target.facts is not None
        and target.facts.mounted is MountState.MOUNTED
        and all_in_place(target.vm, case.move.resource)
    )
    if not runs(target.vm) or target.facts is None:
        yield "the target does not run or gave no answer"
    elif not at_home and (target.facts.unready or target.misfit or target.flaws):
        yield "the target is not ready"


def _others(case: Case) -> Iterator[str]:
    for node in case.seen.nodes:
        held = listing(node.vm, case.move.resource)
        if (
            node.minion != case.move.target
            and held is not False
            and not (held and believed(node, case.seen.nodes))
        ):
            yield f"{node.minion} lists the disk"


def _attach(case: Case, node: NodeSight) -> Iterator[str]:
    yield from _fit(case)
    yield from _others(case)
    if node.minion != case.move.target or all_in_place(node.vm, case.move.resource):
        yield "not what the target lacks"
    places = {d.path: (d.bus, d.unit) for d in case.move.resource.disks}
    if any(
        places.get(mine.path, (mine.bus, mine.unit)) != (mine.bus, mine.unit) for mine in node.vm.disks or ()
    ):
        yield "a disk is there at another place"
    if case.move.is_local and not listing(node.vm, case.move.resource):
        yield "a local move takes a disk that was taken away"
    for minion in [case.move.source] if case.move.source else case.last:
        lost = minion not in case.missing_ok
        if lost and case.seen.node(minion).vm.present is False:
            yield "the source's VM is not to be seen, so it may still write"
        yield from _old_word(case, case.seen.node(minion))


def _old_word(case: Case, node: NodeSight) -> Iterator[str]:
    """That the node which had the disk has it no more is said by a list of who knows when, and by nothing else."""
    current = node.vm.connected is True and node.vm.power is not Power.UNKNOWN
    if node.vm.present is False or current or listing(node.vm, case.move.resource) is not False:
        return
    done = [o.step.kind for o in case.outcomes if o.step.node == node.minion and o.result is Result.DONE]
    released = StepKind.RELEASE in done and (node.facts is None or node.facts.released == case.move.epoch)
    says_so = node.facts is not None and node.facts.device is False
    person = node.minion in case.missing_ok or believed(node, case.seen.nodes)
    if not (StepKind.DETACH in done or released or says_so or person):
        yield f"{node.minion} had the disk, and that it has it no more is an old word"


def _detach(case: Case, node: NodeSight) -> Iterator[str]:
    released = node.facts is not None and node.facts.released == case.move.epoch
    if node.minion == case.move.target:
        yield "this is the target"
    if listing(node.vm, case.move.resource) is not True:
        yield "it does not list the disk"
    if not proven_off(node.vm) and not (released and node.minion == case.move.source):
        yield "it is not proven off and has not proven its release"
    if node.vm.snapshot is not False:
        yield "a snapshot holds the disk"
    yield from _fit(case)


def _disturbing(node: NodeSight) -> Iterator[str]:
    if any(tenant.paused for tenant in node.tenants):
        yield "a paused resource is on it"
    if any(tenant.discards for tenant in node.tenants):
        yield "another resource on it would lose what was written"


def loses(node: NodeSight, nodes: Sequence[NodeSight], of: Resource) -> bool:
    """Its VM may run, and what was written to a disk of the resource goes with its power, or with the disk."""
    modes = {mine.mode for mine in node.vm.disks or () for d in of.disks if mine.path == d.path}
    return any("nonpersistent" in mode for mode in modes) and not (
        proven_off(node.vm) or believed(node, nodes)
    )


def _fence_host(case: Case, node: NodeSight) -> Iterator[str]:
    yield from _fit(case)
    yield from _disturbing(node)
    others = [n for n in case.seen.nodes if n is not node]
    if any(_may_write(case, n) or (n.vm.task != "" and n.minion == case.move.target) for n in others):
        yield "another node may write or has a task"
    if any(listing(n.vm, case.move.resource) is None for n in case.seen.nodes):
        yield "who holds the disk is not known"
    if (
        case.move.kind is not MoveKind.FAILOVER
        or node.minion != case.move.source
        or not case.move.resource.host_fence
    ):
        yield "nobody wants that"
    if (
        node.vm.host_connected
        or node.vm.connected is not False
        or node.facts is not None
        or believed(node, case.seen.nodes)
    ):
        yield "its host is not gone"
    if case.move.resource.host_fence_others != "stop" and node.vm.beside != ():
        yield "other VMs may run on that host"
    if any(n.facts is not None and n.vm.host_gone and n.vm.host == node.vm.host for n in others):
        yield "another node on that host answers"
    gone, hosts = node.vm.hosts or (2, 2)
    if gone > 1 and 2 * gone > hosts:
        yield "most hosts may be gone, so it is rather the master that is cut off"


def _fence_hook(case: Case, node: NodeSight) -> Iterator[str]:
    yield from _fence(case, node)
    if not case.move.resource.fence or case.tried(StepKind.FENCE) < 3:
        yield "nobody wants that, or vCenter was not asked often enough"


def _power_on(case: Case, node: NodeSight) -> Iterator[str]:
    yield from _wrong_home(case)
    if not node.to_restart or node.minion == case.move.target:
        yield "it was not fenced to run again"
    if not (node.vm.power is Power.OFF and node.vm.connected is True):
        yield "it is not off"
    if node.tenants or listing(node.vm, case.move.resource) is not False:
        yield "a protected disk is on it"
    if node.vm.task != "":
        yield "a task runs on it"


def _stopping(case: Case, node: NodeSight) -> Iterator[str]:
    """What forbids to stop a node from writing, in whatever way."""
    if node.minion != case.move.source or node.minion == case.move.target:
        yield "this is not the source"
    if listing(node.vm, case.move.resource) is not True or proven_off(node.vm):
        yield "it cannot write anyway"
    if node.vm.snapshot is not False:
        yield "a snapshot would keep the disk there"
    yield from _fit(case)


def _fence(case: Case, node: NodeSight) -> Iterator[str]:
    yield from _stopping(case, node)
    yield from _disturbing(node)
    if case.move.kind is not MoveKind.FAILOVER:
        yield "a planned move never fences"
    if node.facts is not None and node.facts.released == case.move.epoch:
        yield "it has proven its release"
    asked = any(o.step.kind in (StepKind.RELEASE, StepKind.HALT) for o in case.outcomes)
    if runs(node.vm) and node.facts is not None and not asked:
        yield "it was not asked before"


def _halt(case: Case, node: NodeSight) -> Iterator[str]:
    yield from _stopping(case, node)
    yield from _disturbing(node)
    if case.move.resource.on_error != "halt" or case.move.kind is not MoveKind.FAILOVER:
        yield "nobody wants it to halt"
    if node.facts is None or node.facts.condition not in FAILED_CONDITIONS or not runs(node.vm):
        yield "it does not fail"


def _release(case: Case, node: NodeSight) -> Iterator[str]:
    yield from _stopping(case, node)
    if not runs(node.vm) or node.facts is None:
        yield "it cannot hear"
    if case.move.kind is MoveKind.SWITCHOVER and any(
        not k.below and node.minion in k.on for k in case.seen.kin
    ):
        yield "the ground is taken from under what depends on it"


def _along(case: Case, node: NodeSight) -> Iterator[str]:
    if node.minion == case.move.source and not case.move.is_local:
        if not any(not k.below and node.minion in k.on for k in case.seen.kin):
            yield "nothing is to leave"
    elif all(k.active == node.minion for k in case.seen.kin if k.below):
        yield "nothing is to come"


def _mount(case: Case, node: NodeSight) -> Iterator[str]:
    yield from _fit(case)
    yield from _others(case)
    if node.minion != case.move.target or not all_in_place(node.vm, case.move.resource):
        yield "the target does not list all disks"
    if node.facts is not None and (
        node.facts.busy or node.facts.mounted in (MountState.FOREIGN, MountState.UNKNOWN)
    ):
        yield "somebody works there"
    if any(k.below and k.active != node.minion for k in case.seen.kin):
        yield "what it depends on is not active there"


def _seal(case: Case, node: NodeSight) -> Iterator[str]:
    """It changes no device, so it may be done whatever else is wrong; but only for a request that may still land."""
    if not may_land(case) or not any(o.step.node == node.minion and o.basis for o in case.outcomes):
        yield "nothing is lost there"
    if not (node.vm.present and node.vm.connected and node.vm.change_version):
        yield "it cannot be changed now"
    if node.vm.task != "":
        yield "has a task"


_CHECKS = {
    StepKind.FENCE_HOOK: _fence_hook,
    StepKind.FENCE_HOST: _fence_host,
    StepKind.POWER_ON: _power_on,
    StepKind.ALONG: _along,
    StepKind.SEAL: _seal,
    StepKind.ATTACH: _attach,
    StepKind.DETACH: _detach,
    StepKind.FENCE: _fence,
    StepKind.HALT: _halt,
    StepKind.RELEASE: _release,
    StepKind.MOUNT: _mount,
}
