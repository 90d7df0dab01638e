"""
``drain``: everything that a node holds is switched over to its best ready backup, or nothing is.

Each move is the request that ``switchover`` makes, judged by the same rules. Nothing is remembered of it: the node stays a
backup.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

from vmdk_failover.app import App
from vmdk_failover.commands import operate, panorama
from vmdk_failover.company import PATIENT
from vmdk_failover.errors import FailoverError, Refused
from vmdk_failover.model import MoveKind, Resource

#: So many switchovers at the same time: most of each is a wait for services, while a VM is changed by one at a time.
AT_ONCE = 4
#: A request that is refused is made so often, so many seconds apart: a node that takes several may be slow to answer.
TRIES, PAUSE = 3, 2.0

#: The product once more, for a thread of its own.
Another = Callable[[], AbstractContextManager[App]]


@dataclass(frozen=True)
class Way:
    """
    How one resource leaves the node, or why it does not.

    :param ok: it can leave, or has left and is active there.
    :param target: where to; empty if it does not leave.
    :param rule, reason: by which row of the tables, and its words.
    """

    ok: bool
    target: str
    rule: int
    reason: str


#: Of what was not begun when a person had enough.
INTERRUPTED = Way(False, "", 0, "it was not tried, because the drain was interrupted")


def drain(app: App, node: str, another: Another, test: bool = False) -> dict[str, Any]:
    """
    Switch everything over that ``node`` holds. If one of them cannot leave, none is moved.

    :param node: minion id. :param another: what moves are made by. :param test: only say what would be done.
    :return: the keys that docs/answers.md describes.
    :raises Refused: it is no node, or this master only watches.
    """
    resources = app.settings.resources
    mine = sorted(name for name, one in resources.items() if node in {n.minion for n in one.nodes})
    if not mine:
        raise Refused(f"{node} is not a node of any resource")
    if app.bystander:
        raise Refused(app.bystander, "bystander")
    began = app.clock.monotonic()
    ways = _ways(app, node, mine)
    ready = all(way.ok for way in ways.values())
    if ready and not test:
        ways = _leave(app, node, ways, another)
    left = [name for name in _in_order(resources, ways) if ready and ways[name].ok]
    return {
        "node": node,
        "ok": all(way.ok for way in ways.values()),
        "moved": left,
        "stays": [name for name in ways if name not in left],
        "resources": {name: asdict(way) for name, way in ways.items()},
        "took": app.clock.monotonic() - began,
        **operate.only(test),
    }


# -- before anything is moved ---------------------------------------------------------------------------------------


def _ways(app: App, node: str, names: Sequence[str]) -> dict[str, Way]:
    """What of these the node holds, or may hold, and how each would leave it."""
    looks = panorama.look(app, names)
    found = {name: _way(app, node, name, looks[name]) for name in names}
    return {name: way for name, way in found.items() if way is not None}


def _way(app: App, node: str, name: str, look: panorama.Look) -> Way | None:
    """``None`` if the node has nothing to do with it."""
    if isinstance(look, FailoverError):
        return Way(False, "", 0, look.reason)
    seen, record = look
    move, holds = record.move, seen.node(node).holds
    if holds is False and (move is None or node not in (move.source, move.target)):
        return None
    who = [n.minion for n in seen.writers if n.minion != node]
    if move is None and holds and len(seen.writers) == 1 and who:
        words = f"{who[0]} has it, and the VM of {node} lists its disk too; 'salt-run vmdk.recover {name}' looks at it"
        return Way(False, "", 0, words)
    said = operate.plan_of(app, seen, record, "", MoveKind.SWITCHOVER)
    if move is not None:
        words = f"{said['reason']}; 'salt-run vmdk.status {name}' tells when it has ended, ask again then"
        return Way(False, "", said["rule"], words)
    if not said["ok"]:
        return Way(False, "", said["rule"], said["end"] or said["reason"])
    return Way(True, said["target"], said["rule"], said["end"])


def _in_order(resources: Mapping[str, Resource], names: Iterable[str]) -> list[str]:
    """What others depend on comes first: it takes them along."""

    def depth(name: str) -> int:
        return 1 + max((depth(one) for one in _below(resources, name)), default=0)

    return sorted(names, key=lambda name: (depth(name), name))


def _below(resources: Mapping[str, Resource], name: str) -> list[str]:
    return [one for one in resources[name].depends_on if one in resources] if name in resources else []


def _groups(resources: Mapping[str, Resource], names: Iterable[str]) -> list[list[str]]:
    """Those that depend on each other, also by way of others, belong together; groups have nothing to do with each other."""
    groups: list[set[str]] = []
    for name in resources:
        near = {name, *_below(resources, name)}
        joined = [group for group in groups if group & near]
        groups = [group for group in groups if group not in joined]
        groups.append(near.union(*joined))
    wanted = set(names)
    return [_in_order(resources, group & wanted) for group in groups if group & wanted]


# -- moving -----------------------------------------------------------------------------------------------------------


def _leave(app: App, node: str, ways: Mapping[str, Way], another: Another) -> dict[str, Way]:
    """Move all of them; what has become of each is read from the world."""
    groups = _groups(app.settings.resources, ways)

    def move(group: Sequence[str]) -> dict[str, Way]:
        with another() as own:
            return _one_by_one(own, node, {name: ways[name].target for name in group})

    told = _at_once(move, groups)
    now = operate.status_of_all(app, list(ways))
    return {name: _became(node, now[name], told.get(name)) for name in ways}


def _at_once(
    move: Callable[[Sequence[str]], dict[str, Way]], groups: Sequence[Sequence[str]]
) -> dict[str, Way]:
    """After a Ctrl-C what is under way ends, and nothing more is begun."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        # Salt keeps its options in the context
        work = [pool.submit(contextvars.copy_context().run, move, group) for group in groups]
        try:
            wait(work)
        except (KeyboardInterrupt, SystemExit):  # Salt makes the one of the other
            for one in reversed(work):
                one.cancel()
    told: dict[str, Way] = {}
    for group, one in zip(groups, work, strict=True):
        told.update(dict.fromkeys(group, INTERRUPTED) if one.cancelled() else one.result())
    return told


def _one_by_one(app: App, node: str, targets: Mapping[str, str]) -> dict[str, Way]:
    """
    Ask for each in turn, but not for what has gone along with one before: it is where it should be. Where one stays, those that
    depend on it are left where they are.
    """
    told: dict[str, Way] = {}
    stuck = ""
    for name, target in targets.items():
        if stuck:
            told[name] = Way(False, "", 0, f"it was not tried, because {stuck} has not left")
        elif not _has_left(app, node, name):
            told[name] = _ask(app, name, target)
            stuck = "" if told[name].ok or _has_left(app, node, name) else name
    return told


def _ask(app: App, name: str, target: str) -> Way:
    """
    To a node that is named: without one, what somebody else has moved meanwhile would be moved back. A refusal before anything
    was done stops no service, so it is asked for again; a move that was given up is not.
    """
    for number in range(TRIES):
        app.clock.sleep(PAUSE if number else 0.0)
        try:
            said = operate.switchover(app, name, target)
        except FailoverError as err:
            return Way(False, "", 0, err.reason)
        if said["ok"] or said["steps"]:
            break
    return Way(said["ok"], target if said["ok"] else "", said["rule"], said["reason"])


def _has_left(app: App, node: str, name: str) -> bool:
    """Whether the node has nothing to do with it any more; a move that takes it along is waited for."""
    try:
        seen, record = app.engine.look(app.resource(name))
        if record.move is not None:
            app.run(name, wait=PATIENT)
            seen, record = app.engine.look(app.resource(name))
    except FailoverError:
        return False
    return record.move is None and seen.node(node).holds is False


def _became(node: str, now: Mapping[str, Any], told: Way | None) -> Way:
    """What its own move has come to; of what went along, or was moved by somebody else, how it stands."""
    if told is not None and told.ok:
        return told
    if now["nodes"].get(node, {}).get("holds") is False and now["active"] not in ("", node):
        return Way(True, now["active"], now["rule"], f"active on {now['active']}")
    return told or Way(False, "", now["rule"], now["reason"])
