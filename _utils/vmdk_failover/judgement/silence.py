"""
The policy of a holder that runs and gives no answer: its rows, and the questions that they ask. Pure.

Four witnesses: the direct question (it gave no signed answer), the age of its last signed heartbeat, its address, and vCenter's
guest heartbeat. What one of them does not know counts for the more careful reading.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from vmdk_failover.judgement.assess import NodeSight
from vmdk_failover.judgement.doubts import guarded_words, lost_host_words, spared
from vmdk_failover.judgement.nodestate import is_isolated
from vmdk_failover.judgement.situation import Choice, PolicyRow, Situation, holder_name, no_target, of_holder

#: A heartbeat that is no older (seconds) says that the machine and its clock run.
HEARD = 3.0
#: Silence that ends within so many seconds is waited for; a longer one is held, and looked at again and again.
WAIT_AT_MOST = 10.0
#: So many running nodes must be known before their silence says something of the master.
CROWD = 3

Test = Callable[[Situation, NodeSight], bool]


def unanswered(test: Test) -> Callable[[Situation], bool]:
    """A condition on a holder that runs and gave no answer; false if there is no such holder."""
    return lambda s: s.holder is not None and s.holder.facts is None and test(s, s.holder)


def unheard(s: Situation, h: NodeSight) -> bool:
    """Nobody knows how long it has been silent."""
    return h.signs.silent is None


def cut_off(s: Situation, h: NodeSight) -> bool:
    """
    More than half of at least three running nodes are silent: it is the master that hears nobody. Where the holder's address is
    silent, a node of the resource whose address answers does not count: the master reaches it, and its agent alone is silent.
    """
    return is_most(*_out_of_reach(s, h))


def _out_of_reach(s: Situation, h: NodeSight) -> tuple[int, int]:
    """As :func:`count`, without the silence of those that the master reaches although the holder's address is silent."""
    (running, silent), dead = count(s), h.signs.address is False
    reached = (n for n in s.seen.nodes if dead and n.facts is None and n.signs.address is True)
    return running, silent - sum(not n.off and not _is_lost(n) for n in reached)


def is_most(running: int, silent: int) -> bool:
    return running >= CROWD and silent * 2 > running


def count(s: Situation) -> tuple[int, int]:
    """Nodes of all resources that vCenter shows neither stopped nor on a host that is gone, and how many of them are silent."""
    mine = [n for n in s.seen.nodes if not n.off and not _is_lost(n)]
    return len(mine) + s.seen.crowd.running, sum(n.facts is None for n in mine) + s.seen.crowd.silent


def lost_nodes(s: Situation) -> Mapping[str, int]:
    """How many silent nodes, of all resources, are on each host that is gone."""
    found = Counter(dict(s.seen.crowd.lost))
    found.update(n.vm.host for n in s.seen.nodes if _is_lost(n))
    return found


def _is_lost(node: NodeSight) -> bool:
    return node.host_gone and node.facts is None


def deserted(s: Situation, h: NodeSight) -> str:
    """
    Why the holder's host, which is gone, may not be the one that is cut off; ``""`` if nothing says so.

    All nodes of one host count as one: one failure took them, however many they are. If more hosts are gone each node counts.
    """
    running, silent = count(s)
    lost = lost_nodes(s)
    several = len(lost) > 1
    more = sum(lost.values()) if several else 1
    if not is_most(running + more, silent + more):
        return ""
    who = (
        f"{silent + more} of {running + more} nodes are silent, those on {' and '.join(sorted(lost))}, which are gone, among them"
        if several
        else f"{silent} of {running} nodes that are not on {h.vm.host} are silent too"
    )
    return (
        f"host_fence is not called, because {who}: it is rather the master, and vCenter with it, that is cut off; "
        "look at their network"
    )


def left(s: Situation, h: NodeSight) -> float:
    """Seconds until the node counts as silent."""
    return s.resource.node_timeout - (h.signs.silent or 0.0)


def soon(s: Situation, h: NodeSight) -> bool:
    return (h.signs.silent or 0.0) > HEARD and 0 < left(s, h) <= WAIT_AT_MOST


def not_yet(s: Situation, h: NodeSight) -> bool:
    return left(s, h) > 0


def agent_time(s: Situation) -> float:
    """How long (seconds) an agent may be silent on a machine that lives, where it may be fenced for that."""
    return max(s.resource.agent_timeout, s.resource.node_timeout)


def deaf(s: Situation, h: NodeSight) -> bool:
    """
    Its heartbeats come, so the machine lives, but its agent has answered no question for so long that it may be stopped.

    Who says meanwhile that it cannot use the disk is judged by that (637): a fault that would come along holds.
    """
    silent, unanswered = h.signs.silent, h.signs.unanswered
    lives = (
        silent is not None and 0 <= silent <= HEARD and h.signs.address is not False
    )  # less than 0 is an excuse
    long = unanswered is not None and unanswered >= agent_time(s)
    return s.resource.on_agent_silent == "fence" and lives and long and h.complaint is None


def too_early(s: Situation, h: NodeSight) -> bool:
    return not_yet(s, h) and not deaf(s, h)


def agent_trouble(s: Situation, h: NodeSight) -> bool:
    """Its address answers: the machine lives, and nothing says that it may be stopped already."""
    patient = (h.signs.silent or 0.0) < agent_time(s) and not deaf(s, h)
    return h.signs.address is True and (s.resource.on_agent_silent != "fence" or patient)


def no_address(s: Situation, h: NodeSight) -> bool:
    return h.signs.address is None and not deaf(s, h)


def isolated(s: Situation, h: NodeSight) -> bool:
    """Its address is silent, and vCenter does not say that the guest is dead."""
    return is_isolated(h)


def kept_isolated(s: Situation, h: NodeSight) -> bool:
    return isolated(s, h) and s.resource.on_isolated != "fence"


def lost(s: Situation, h: NodeSight) -> bool:
    """Its host is gone, nothing is heard of it any more, and there is a way to get the host off."""
    silent = h.facts is None and h.signs.address is False and not (unheard(s, h) or not_yet(s, h))
    wanted = h.host_gone and silent and bool(s.resource.host_fence)
    return wanted and not (spared(h, s.resource, s.seen.nodes) or deserted(s, h))


def not_current(s: Situation, h: NodeSight) -> str:
    """What follows from a word that is not current."""
    but = (deserted(s, h) or _unready(s, h)) if s.resource.host_fence and _is_lost(h) else ""
    return lost_host_words(h, s.resource, s.seen.nodes, but)


def _unready(s: Situation, h: NodeSight) -> str:
    """What is still missing for a fence of the holder's host, which is gone."""
    host = h.vm.host or "its host"
    if unheard(s, h):
        why = f"nobody on the master listens for heartbeats, so it is not known how long {h.minion} has been silent"
    elif not_yet(s, h):
        why = (
            f"{h.minion} is given {s.resource.node_timeout:g} s of silence first, more after a boot, a task on its VM, a "
            "restart of the engine, or a break of the stream of vCenter"
        )
    elif h.signs.address is True:
        why = f"the address of {h.minion} answers: {host} is not off"
    elif h.signs.address is None:
        why = f"whether the address of {h.minion} answers could not be found out"
    else:
        why = "" if s.targets() else no_target(s)
    return f"host_fence is not called, because {why}" if why else ""


def has_target(s: Situation, h: NodeSight) -> bool:
    return bool(s.targets())


def any_(s: Situation, h: NodeSight) -> bool:
    return True


def witnesses(s: Situation) -> str:
    """What the witnesses say of a silent holder, as part of a sentence."""
    h = s.holder
    if h is None:
        return "nobody holds the disk"
    if deaf(s, h):
        return (
            f"the agent on {h.minion} has answered no question for more than {agent_time(s):g} s (its heartbeats come, "
            "on_agent_silent: fence)"
        )
    if h.signs.address is True:
        return f"the agent on {h.minion} has been silent for more than {s.resource.agent_timeout:g} s (its address answers)"
    kind = "isolated" if isolated(s, h) else "dead or frozen"
    return (
        f"{h.minion} is {kind}: no answer, no heartbeat for more than {s.resource.node_timeout:g} s, its address is silent, "
        f"its guest heartbeat is {h.vm.heartbeat or 'not known'}"
    )


LOST_HOST: tuple[PolicyRow, ...] = (
    PolicyRow(
        543,
        "the holder's host is gone, the holder is silent, there is a way to get the host off, and another node is ready",
        of_holder(lambda s, h: lost(s, h) and bool(s.targets())),
        Choice.MOVE,
        lambda s: (
            f"the host {s.holder.vm.host if s.holder else ''} of {holder_name(s)} is gone from vCenter, and {holder_name(s)} has "
            f"been silent for more than {s.resource.node_timeout:g} s"
        ),
    ),
    PolicyRow(
        545,
        "the word about the holder is not current",
        of_holder(lambda s, h: not h.known),
        Choice.HOLD,
        lambda s: not_current(s, s.holder) if s.holder else "",
    ),
)


SILENT: tuple[PolicyRow, ...] = (
    PolicyRow(
        638,
        "the holder gives no answer, and another resource on it is paused, or would lose what was written",
        unanswered(lambda s, h: h.guarded),
        Choice.HOLD,
        lambda s: guarded_words(s.holder) if s.holder else "",
    ),
    PolicyRow(
        639,
        "the minion of the holder has another id now",
        unanswered(lambda s, h: bool(h.renamed)),
        Choice.HOLD,
        lambda s: (
            f"the minion of {holder_name(s)} has the id {s.holder.renamed if s.holder else ''} now, by its own signed word: the "
            "machine lives, and nobody reaches it or watches its disk under that id. Give it its old one back, or move the "
            f"resource with 'salt-run vmdk.failover {s.resource.name}' and protect anew"
        ),
    ),
    PolicyRow(
        640,
        "the holder gives no answer, and nobody knows for how long",
        unanswered(unheard),
        Choice.HOLD,
        lambda s: (
            f"{holder_name(s)} holds the disk and runs, but gives no signed answer, and no engine on the master listens for "
            "heartbeats, or it cannot write down what it hears; see that 'engines: [{vmdk: {}}]' stands in its configuration and "
            "that state_dir has room, and look at the node"
        ),
    ),
    PolicyRow(
        641,
        "most nodes are silent: the master is cut off",
        unanswered(cut_off),
        Choice.HOLD,
        lambda s: (
            f"{count(s)[1]} of {count(s)[0]} running nodes are silent, {holder_name(s)} among them: the master is the one "
            f"that is cut off; look at its network ('salt-run vmdk.failover {s.resource.name}' moves it all the same)"
        ),
    ),
    PolicyRow(
        642,
        "the holder has fallen silent just now",
        unanswered(soon),
        Choice.WAIT,
        lambda s: f"{holder_name(s)} has fallen silent; it is given {s.resource.node_timeout:g} s",
    ),
    PolicyRow(
        643,
        "the holder is silent, and that is excused or not long enough",
        unanswered(too_early),
        Choice.HOLD,
        lambda s: (
            f"{holder_name(s)} gives no signed answer, and its silence is not long enough; it is given "
            f"{s.resource.node_timeout:g} s of silence, more after a boot, a task on its VM, a restart of the engine, or a break "
            "of the stream of vCenter; if its heartbeats go on, look at salt-minion there"
        ),
    ),
    PolicyRow(
        644,
        "only the holder's agent is silent: its address answers",
        unanswered(agent_trouble),
        Choice.HOLD,
        lambda s: (
            f"the agent on {holder_name(s)} is silent, but its address answers, so the machine lives: look at salt-minion "
            f"there (on_agent_silent: {s.resource.on_agent_silent}), and see that its id is still {holder_name(s)}"
        ),
    ),
    PolicyRow(
        645,
        "the holder is silent, and whether its address answers is not known",
        unanswered(no_address),
        Choice.HOLD,
        lambda s: (
            f"{holder_name(s)} is silent, and whether its address answers could not be found out, so it is not known "
            "whether it lives; look at it, and power its VM off if it is dead"
        ),
    ),
    PolicyRow(
        646,
        "the holder is isolated and may not be fenced for that",
        unanswered(kept_isolated),
        Choice.HOLD,
        lambda s: f"{witnesses(s)}; it is left alone (on_isolated: hold)",
    ),
    PolicyRow(
        647,
        "the holder is dead, frozen or isolated, or its agent has been silent for too long, and another node is ready",
        unanswered(has_target),
        Choice.MOVE,
        witnesses,
    ),
    PolicyRow(
        648,
        "the holder is dead, frozen or isolated, or its agent has been silent for too long, and no node is ready",
        unanswered(any_),
        Choice.HOLD,
        lambda s: f"{witnesses(s)}, and {no_target(s)}",
    ),
)
