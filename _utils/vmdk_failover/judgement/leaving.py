"""
Rows of the step table that get the disk away from where it is: detach, release, halt, fence, and what is left when a fence
does not work or the host is lost. Pure.
"""

from __future__ import annotations

from vmdk_failover.judgement import doubts, stake
from vmdk_failover.judgement.along import LADEN
from vmdk_failover.judgement.assess import NodeSight
from vmdk_failover.judgement.case import (
    DETACH_TRIES,
    FENCE_TRIES,
    HOOK_TRIES,
    Case,
    Row,
    Then,
    may_ask_release,
    may_halt,
    may_land,
    names_of,
    sealable,
    source_name,
    source_outdated,
    source_unseen,
    stale,
    tasks,
    why_fence,
)
from vmdk_failover.judgement.doubts import lost_host_words, outdated_words, spared
from vmdk_failover.model import StepKind


def may_fence_host(case: Case) -> bool:
    """All that is in the way is that the source's host is gone, nobody hears the node, and there is a way to get the host off."""
    source, others = case.source, case.seen.writers
    gone = (
        case.source_holds and source.host_gone and source.facts is None and stale(case) == others == (source,)
    )
    of = case.move.resource
    wanted = case.is_rescue and bool(of.host_fence) and not spared(source, of, case.seen.nodes)
    ready = not case.target.unfit() and case.target.vm.task == ""
    return gone and wanted and ready and case.tried(StepKind.FENCE_HOST) < HOOK_TRIES


def must_give_way(case: Case) -> bool:
    """
    The holder's host is gone and may be fenced, and this move cannot have that done: it is a planned one, or had brought the
    disk there, or its target is lost. Given up, a failover from there takes its place.
    """
    lost = stale(case)
    wanted = bool(case.move.resource.host_fence) and len(lost) == 1
    gone = wanted and lost[0].host_gone and lost[0].facts is None
    return gone and not _fences(case, lost[0]) and not _kept(case, lost[0])


def gives_way(case: Case) -> bool:
    """It must, and nothing that it has asked for may still be carried out."""
    return must_give_way(case) and not may_land(case)


def to_seal(case: Case) -> tuple[str, ...]:
    """Nodes on which a request that may still be carried out can be made impossible now, so that the move can give way."""
    if not must_give_way(case):
        return ()
    nodes = (outcome.step.node for outcome in sealable(case))
    return tuple(node for node in nodes if case.seen.node(node).vm.task == "")


def _fences(case: Case, node: NodeSight) -> bool:
    """It is for this move to have the node's host fenced."""
    return case.is_rescue and node.minion == case.move.source and not case.target.unfit()


def gives_way_words(case: Case) -> str:
    """Whose host is gone, and why this move cannot have it fenced."""
    move, node = case.move, stale(case)[0]
    why = f"a {move.kind.value} fences nothing"
    if node.minion == move.target:
        why = "it had brought the disk there"
    elif case.is_rescue and node.minion == move.source:
        why = f"{move.target} cannot take {move.resource.name}: {'; '.join(case.target.unfit())}"
    elif node.minion != move.source:
        why = f"it knows nothing of {node.minion}"
    return f"the host {node.vm.host} of {node.minion} is gone from vCenter, and this move does not have it fenced: {why}"


def _kept(case: Case, node: NodeSight) -> str:
    """Why the host of a node that gives no answer is not fenced although there is a way; ``""`` if nothing says so."""
    of = case.move.resource
    if not of.host_fence or not node.host_gone or node.facts is not None:
        return ""
    if others := [n.minion for n in (*stale(case), *case.seen.writers) if n is not node]:
        return f"host_fence is not called, because {' and '.join(dict.fromkeys(others))} may write too"
    if _fences(case, node) and case.target.vm.task != "":
        task = case.target.vm.task or "it cannot be read"
        return f"host_fence is not called yet, because a task runs on {case.target.minion} ({task})"
    return spared(node, of, case.seen.nodes)


def _pending(case: Case) -> str:
    """That a request of this move keeps it from giving way; ``""`` if none does."""
    lost = may_land(case) if must_give_way(case) else ()
    return (
        f"host_fence is not called, because it is not known whether the {lost[0].step.kind.value} on {lost[0].step.node} will "
        "still be carried out"
        if lost
        else ""
    )


def may_hook(case: Case) -> bool:
    """vCenter was asked often enough, and there is another way."""
    spent = case.tried(StepKind.FENCE) >= FENCE_TRIES and case.tried(StepKind.FENCE_HOOK) < HOOK_TRIES
    return case.source_holds and spent and bool(case.move.resource.fence)


def stale_words(case: Case) -> str:
    """Whose word is not current, and the ways out."""
    of, nodes, pending = case.move.resource, case.seen.nodes, _pending(case)
    words = (lost_host_words(n, of, nodes, _kept(case, n) or pending) for n in stale(case))
    return "; ".join(words) + _said_of_host(case)


def _said_of_host(case: Case) -> str:
    tried = sum(case.tried(StepKind.FENCE_HOST, n.minion) for n in stale(case))
    return f" (tried {tried} times: {case.said(StepKind.FENCE_HOST)})" if tried else ""


def not_off_words(case: Case) -> str:
    """What was tried to get the source off, and the ways out."""
    source, fence = case.move.source, case.move.resource.fence
    said = f"; {case.said(StepKind.FENCE_HOOK)}" if case.tried(StepKind.FENCE_HOOK) else ""
    hook = f"{said}, and vCenter still does not show it off" if fence else ""
    return (
        f"{source} is not off after {FENCE_TRIES} power-offs ({case.said(StepKind.FENCE)}{hook}); power its VM off by hand, or "
        f"if vCenter cannot: cut the power of its host {case.source.vm.host} and, when vCenter shows it as not responding, "
        f"'salt-run vmdk.confirm_off {source}'"
    )


def guarded_words(case: Case) -> str:
    names = " and ".join(case.source.paused_tenants)
    if not names:
        words = stake.guard_words(case.source.tenants, case.move.source)
        return f"{case.move.source} would have to be powered off, but {words}"
    return (
        f"{case.move.source} would have to be powered off, but {names} is there too and is paused, and maintenance is not "
        f"disturbed: end it with 'salt-run vmdk.resume {case.source.paused_tenants[0]}', or get the disk off {case.move.source} "
        "by hand"
    )


def task_words(case: Case) -> str:
    """On whom a task is waited for; where it may last, and a failover waits for its target alone, how another node is taken."""
    waited, node = tasks(case), tasks(case)[0]
    words = f"a task still runs on {names_of(waited)} ({node.vm.task or 'it cannot be read'})"
    ends = (case.move.source, case.move.target)
    free = [n.minion for n in case.seen.nodes if n.minion not in ends and n.running and n.vm.task == ""]
    alone = case.is_rescue and waited == (case.target,) and case.target.holds is False and not may_land(case)
    if not alone or not free:
        return words
    return (
        f"{words}; if that takes long, 'salt-run vmdk.clear {case.move.resource.name}' ends this move, and another node "
        f"({' or '.join(free)}) is taken if it is ready"
    )


def unseen_words(case: Case) -> str:
    """Why the disk may still be where it came from although that VM is not shown, and the ways out."""
    node = source_unseen(case)
    return (
        doubts.unseen_words(node.minion, case.move.resource.name, case.origins[node.minion]) if node else ""
    )


def source_outdated_words(case: Case) -> str:
    """Why the disk may still be where it came from although no list shows it there, and the ways out."""
    node = source_outdated(case)
    return outdated_words(node, case.move.resource.name, case.origins[node.minion]) if node else ""


LOST_HOST: tuple[Row, ...] = (
    Row(
        43,
        "the holder's host is gone and may be fenced, which is for a failover from there to do",
        gives_way,
        Then.ABANDON,
        gives_way_words,
    ),
    Row(
        44,
        "the source's host is gone, and there is a way to get it off",
        may_fence_host,
        StepKind.FENCE_HOST,
        lambda c: (
            f"the host {c.source.vm.host} of {c.move.source} is gone from vCenter and {c.move.source} may still write there"
        ),
        source_name,
    ),
    Row(
        45,
        "the word about a holder is not current",
        lambda c: bool(stale(c)),
        Then.HOLD,
        stale_words,
    ),
)


LEAVING: tuple[Row, ...] = (
    Row(
        105,
        "the disk cannot be detached",
        lambda c: c.tried(StepKind.DETACH) >= DETACH_TRIES and bool(c.dead_holders or c.source_holds),
        Then.HOLD,
        lambda c: (
            f"the disk could not be detached in {DETACH_TRIES} tries: {c.said(StepKind.DETACH)}; see to that and "
            f"'salt-run vmdk.clear {c.move.resource.name}', or take the disk out of the VM by hand"
        ),
    ),
    Row(
        110,
        "a dead node lists the disk",
        lambda c: bool(c.dead_holders),
        StepKind.DETACH,
        lambda c: f"{c.dead_holders[0].minion} is off and cannot write; its VM must let go of the disk",
        lambda c: c.dead_holders[0].minion,
    ),
    Row(
        120,
        "the source has proven its release",
        lambda c: c.source_holds and c.released,
        StepKind.DETACH,
        lambda c: f"{c.move.source} has proven that it released the disk",
        source_name,
    ),
    Row(
        130,
        "the source is to halt itself",
        may_halt,
        StepKind.HALT,
        lambda c: f"{c.move.source} cannot use the disk and is to halt itself (on_error: halt)",
        source_name,
    ),
    *LADEN,
    Row(
        140,
        "the source may still write and answers",
        may_ask_release,
        StepKind.RELEASE,
        lambda c: f"{c.move.source} must stop using the disk",
        source_name,
    ),
    Row(
        150,
        "a planned move cannot be clean",
        lambda c: c.source_holds and not c.is_rescue,
        Then.ABANDON,
        lambda c: f"{c.move.source} did not release the disk cleanly: {c.said(StepKind.RELEASE)}",
    ),
    Row(
        155,
        "another resource on the node that would be fenced is paused, or would lose what was written",
        lambda c: c.source_holds and c.source.guarded,
        Then.HOLD,
        guarded_words,
    ),
    Row(
        158,
        "vCenter cannot power it off, and there is another way",
        may_hook,
        StepKind.FENCE_HOOK,
        lambda c: f"vCenter did not get {c.move.source} off ({c.said(StepKind.FENCE)})",
        source_name,
    ),
    Row(
        160,
        "fencing does not work",
        lambda c: c.source_holds and c.tried(StepKind.FENCE) >= FENCE_TRIES,
        Then.HOLD,
        not_off_words,
    ),
    Row(
        170,
        "the source may still write",
        lambda c: c.source_holds,
        StepKind.FENCE,
        lambda c: f"{c.move.source} may still write: {why_fence(c)}",
        source_name,
    ),
)
