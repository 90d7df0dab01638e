"""
Many resources at one glance: vCenter is read by a few threads at once, every node is asked once for all its resources.

What is seen is judged as in a look of its own (``Engine.look``); only the asking is put together. Without it a hundred
resources would be a hundred jobs, and each silent node would cost its wait a hundred times.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from vmdk_failover.app import App, state_dir
from vmdk_failover.errors import FailoverError
from vmdk_failover.judgement.assess import Snapshot
from vmdk_failover.model import Crowd, HypervisorFacts, NodeFacts, Resource, Signs
from vmdk_failover.ports import Lookout, Record
from vmdk_failover.presence.lookout import FileLookout
from vmdk_failover.witnesses import Witnesses

#: Reads of vCenter at the same time.
READERS = 8
#: Seconds for the one question to all nodes.
ASK = 2.0

#: What is seen and remembered of a resource, or why it cannot be told.
Look = tuple[Snapshot, Record] | FailoverError


def look(
    app: App, names: Sequence[str], read_already: Mapping[str, HypervisorFacts] | None = None
) -> dict[str, Look]:
    """
    Look at several resources without acting; each has its own answer or its own error.

    :param read_already: what :func:`read` has just said of them.
    """
    looks: dict[str, Look] = {}
    resources, records = {}, {}
    for name in names:
        try:
            resources[name] = app.resource(name)
            records[name] = app.journal.state(name)
        except FailoverError as err:
            looks[name] = err
    resources = {name: resources[name] for name in records}
    known = read_already or {}
    seen = {**known, **read(app, {name: r for name, r in resources.items() if name not in known})}
    words = _ask(app, resources, seen)
    lookout = _Remembered(app, seen, words)
    for name, resource in resources.items():
        try:
            witnesses = _witnesses(app, seen[name], words.get(name, {}), lookout)
            now = app.clock.monotonic()
            witnesses.heard_of_kin = {other: (now, said) for other, said in words.items()}
            looks[name] = witnesses.observe(resource, records[name].move), records[name]
        except FailoverError as err:
            looks[name] = err
    return looks


def read(app: App, resources: Mapping[str, Resource]) -> dict[str, HypervisorFacts]:
    """vCenter's word on each; one that never answered is not waited for again by every resource."""
    if not resources:
        return {}
    first, *others = resources
    seen = {first: app.hypervisor.observe(resources[first])}
    if not seen[first].readable:
        return dict.fromkeys(resources, seen[first])
    with ThreadPoolExecutor(READERS) as readers:
        found = readers.map(lambda name: app.hypervisor.observe(resources[name]), others)
    return {**seen, **dict(zip(others, found, strict=True))}


def _ask(
    app: App, resources: Mapping[str, Resource], seen: Mapping[str, HypervisorFacts]
) -> dict[str, dict[str, NodeFacts]]:
    """Every node's word on its resources; nodes that are off are not asked."""
    wanted = {name: [m for m in _nodes(r) if _may_run(seen[name], m)] for name, r in resources.items()}
    running = sorted({minion for minions in wanted.values() for minion in minions})
    if not running:
        return {}
    try:
        words, spoke = app.guest.ask_all(resources, running, ASK)
        for name, minions in wanted.items():
            # its pillar is an older one, or an open move has the resource as it was
            if apart := [m for m in minions if m in spoke and m not in words[name]]:
                words[name].update(app.guest.ask(resources[name], apart))
    except FailoverError as err:  # no job can be published: every node is unheard
        app.warn(err.reason)
        return {}
    return words


def _nodes(resource: Resource) -> list[str]:
    return [node.minion for node in resource.nodes]


def _may_run(seen: HypervisorFacts, minion: str) -> bool:
    vm = seen.vm(minion)
    return not seen.readable or (vm.present is True and not vm.is_off)


@dataclass(frozen=True)
class _Seen:
    """The ``observe`` of the ``Hypervisor`` port: what was read already."""

    facts: HypervisorFacts

    def observe(self, resource: Resource) -> HypervisorFacts:
        """What was read; nothing is asked."""
        return replace(self.facts, vms=tuple(self.facts.vm(n.minion) for n in resource.nodes))

    def _never(self, *_: object) -> None:
        raise AssertionError("a look does nothing")

    power_off = detach = attach = seal = power_on = _never


def _witnesses(
    app: App, seen: HypervisorFacts, words: Mapping[str, NodeFacts], lookout: Lookout
) -> Witnesses:
    """Witnesses that have read and asked already; who gave no answer counts as just asked in vain."""
    found = Witnesses(_Seen(seen), app.guest, app.clock, lookout, app.vicinity)  # type: ignore[arg-type]
    now = app.clock.monotonic()
    found.heard = {m: (now, words.get(m)) for m in _minions(seen, words)}
    return found


def _minions(seen: HypervisorFacts, words: Mapping[str, NodeFacts]) -> Iterable[str]:
    return {*words, *(vm.minion for vm in seen.vms)}


class _Remembered:
    """The ``Lookout`` port for many looks at one moment: the addresses of all silent nodes are tried at once."""

    def __init__(
        self,
        app: App,
        seen: Mapping[str, HypervisorFacts],
        words: Mapping[str, Mapping[str, NodeFacts]],
    ) -> None:
        vms = {vm.minion: vm for facts in seen.values() for vm in facts.vms}
        self._all = HypervisorFacts(True, "", tuple(vms.values()))
        self._heard = {minion for said in words.values() for minion in said}
        self._inner = FileLookout(
            state_dir(app.opts),
            _Seen(self._all),  # type: ignore[arg-type]
            lambda: app.settings.resources,
        )
        self._signs: Mapping[str, Signs] | None = None

    def signs(self, seen: HypervisorFacts, silent: Sequence[str]) -> Mapping[str, Signs]:
        """See the port."""
        if not silent:
            return {}
        if self._signs is None:
            quiet = [vm.minion for vm in self._all.vms if vm.present and not vm.is_off]
            self._signs = self._inner.signs(self._all, [m for m in quiet if m not in self._heard])
        missing = [m for m in silent if m not in self._signs]
        more = self._inner.signs(seen, missing) if missing else {}
        return {m: {**self._signs, **more}[m] for m in silent}

    def crowd(self, resource: Resource, seen: HypervisorFacts) -> Crowd:
        """See the port."""
        return self._inner.crowd(resource, seen)
