"""
A person's word that an ESXi host is off (``vmdk.confirm_off``): checked against everything that can be seen, then believed for
the VMs of that host until vCenter shows it connected again, or a node on it is heard.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from vmdk_failover.app import App
from vmdk_failover.around import Confirmed
from vmdk_failover.errors import CannotObserve, JournalError, Refused
from vmdk_failover.judgement.assess import NodeSight, Snapshot
from vmdk_failover.judgement.disproof import FRESH
from vmdk_failover.model import HypervisorFacts, Resource


def confirm_off(app: App, node: str, who: str = "", test: bool = False) -> dict[str, Any]:
    """
    Take a person's word that the host of ``node`` is off.

    :param node: minion id. :param who: who says so. :param test: only check it, and say for whom it would count.
    :return: ``host``, the nodes that it is ``confirmed`` for, and their ``resources``.
    :raises Refused: something shows that the host, or a node on it, lives; nothing is written down then.
    """
    mine = [r for r in app.settings.resources.values() if node in {n.minion for n in r.nodes}]
    if not mine:
        raise Refused(f"{node} is not a node of any resource; give the minion id of a node whose host is off")
    sight = _look(app, mine[0]).node(node)
    _check_gone(sight)
    found = dict(_on_host(app, sight.vm.host))
    for others in found.values():
        for other in others:
            _check_gone(other)
    host, nodes = sight.vm.host, {other.minion: other for others in found.values() for other in others}
    if not test:
        _write_down(app, host, who, list(nodes.values()), list(found))
    mark = {"test": True} if test else {}
    return {"host": host, "confirmed": sorted(nodes), "resources": sorted(found), **mark}


def _write_down(app: App, host: str, who: str, nodes: Sequence[NodeSight], names: Sequence[str]) -> None:
    """Remember a person's word for these nodes, and write it into the history of their resources."""
    moment = datetime.datetime.fromtimestamp(app.clock.wall(), datetime.timezone.utc)
    words = f"{who or 'somebody'} said on {moment.isoformat(' ', 'seconds')} that the host {host} is off"
    for one in nodes:
        app.vicinity.confirm(one.minion, Confirmed(one.vm.host, one.vm.boot_time, words))
    told = {"host": host, "nodes": sorted(one.minion for one in nodes), "words": words}
    for name in names:
        app.journal.note(name, {"confirmed_off": told})


def _look(app: App, resource: Resource) -> Snapshot:
    """Look at a resource, with the addresses of its silent nodes."""
    try:
        seen, record = app.engine.look(resource)
        moving = record.move is not None
    except JournalError:  # it is lost, and this word may be what its adoption waits for
        seen, moving = app.engine.afresh(resource), False
    if not seen.readable:
        raise CannotObserve(f"vCenter cannot be read, so it is not known which host is meant: {seen.reason}")
    if not moving:
        return seen
    silent = [n.minion for n in seen.nodes if n.facts is None]
    facts = HypervisorFacts(True, "", tuple(n.vm for n in seen.nodes))
    signs = app.engine.lookout.signs(facts, silent)
    return replace(seen, nodes=tuple(replace(n, signs=signs.get(n.minion, n.signs)) for n in seen.nodes))


def _on_host(app: App, host: str) -> Iterator[tuple[str, list[NodeSight]]]:
    """Resources with nodes on a host, and those nodes."""
    for name, resource in app.settings.resources.items():
        seen: HypervisorFacts = app.hypervisor.observe(resource)
        minions = {vm.minion for vm in seen.vms if vm.host == host}
        if minions:
            yield name, [n for n in _look(app, resource).nodes if n.minion in minions]


def _check_gone(sight: NodeSight) -> None:
    """Whoever lives is not off, whatever somebody says."""
    node, vm = sight.minion, sight.vm
    if vm.present is not True or not vm.host:
        raise Refused(
            f"vCenter does not show the VM of {node} or its host, so there is nothing that could be confirmed"
        )
    if vm.connected is not False or vm.host_connected is True:
        raise Refused(
            f"vCenter shows the host {vm.host} of {node} connected: power {node} off there; no word of a person is needed"
        )
    if sight.facts is not None:
        raise Refused(f"{node} answers, so its host {vm.host} is not off")
    if sight.signs.heard is not None and sight.signs.heard <= FRESH:
        raise Refused(f"{node} sent a signed heartbeat a moment ago, so its host {vm.host} is not off")
    if sight.signs.address is True:
        raise Refused(f"the address of {node} answers, so its host {vm.host} is not off")
