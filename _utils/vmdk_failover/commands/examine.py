"""
``doctor`` on the master: everything that would make a failover fail, each with the command or the setting that mends it.

Only looks. The nodes are asked for their own doctor's findings; their word is shown and nothing follows from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vmdk_failover import versions
from vmdk_failover.app import App, state_dir
from vmdk_failover.commands import checkup, on_master, operate, panorama
from vmdk_failover.errors import FailoverError
from vmdk_failover.finding import ERROR, HINT, NOTHING_YET, WARNING, Found, worst_first
from vmdk_failover.model import HypervisorFacts, Resource, to_plain
from vmdk_failover.presence import reachable

#: How it is told that vCenter cannot be read, before its own words; once, and not of each resource again.
_UNREAD = "vCenter cannot be read, so nothing can be moved: "
#: Seconds that nodes have for their own findings.
ASK = 10.0


def doctor(app: App, name: str = "", salt: str = "") -> dict[str, Any]:
    """
    Look at the master, at vCenter and at the nodes of all resources, or of one.

    :param salt: version of the master's Salt.
    :return: ``ok`` (no errors), ``looked_at`` (one phrase) and ``findings``, each with ``severity``, ``what``, ``do``,
        ``resource``, ``node`` and ``code``.
    :raises ConfigError: there is no such resource.
    """
    resources = {name: app.resource(name)} if name else dict(app.settings.resources)
    minions = sorted({node.minion for one in resources.values() for node in one.nodes})
    seen = panorama.read(app, resources)
    found = [*on_master.findings(app)]
    answers = _ask(app, minions, _off(seen), found)
    found += _nodes(answers, salt)
    found += _vsphere(app, resources, seen)
    stands = operate.status_of_all(app, list(resources), seen)
    found += _configuration(app, name)  # last: the nodes' answers tell of other masters
    found += _mute(app, minions, stands)
    found += _kernels(resources, answers, stands)
    found += _not_protected(stands, found)
    where = app.settings.vcenter.host if app.settings.vcenter else "no vCenter"
    looked_at = f"this master, {_count(resources, 'resource')}, {_count(minions, 'node')}, {where}"
    plain: list[dict[str, Any]] = to_plain(worst_first(found))
    return {"ok": all(one["severity"] != ERROR for one in plain), "looked_at": looked_at, "findings": plain}


def _count(some: Any, noun: str) -> str:
    return f"{len(some)} {noun}{'' if len(some) == 1 else 's'}"


# -- the configuration ----------------------------------------------------------------------------------------------


def _configuration(app: App, name: str) -> Iterator[Found]:
    for fault in app.faults():
        if name and fault.resource not in ("", name):
            continue
        mend = f"Mend {fault.where.removeprefix('vmdk.')} (docs/configuration.md), then run 'salt-run vmdk.doctor' again."
        yield Found(ERROR, f"{fault}.", mend, resource=fault.resource, code="config")


# -- nodes --------------------------------------------------------------------------------------------------------


def _off(seen: Mapping[str, HypervisorFacts]) -> dict[str, str]:
    """Nodes whose VM vCenter shows as off, with the VM: nobody answers there, and nobody is asked."""
    return {vm.minion: vm.name for facts in seen.values() for vm in facts.vms if vm.is_off}


def _ask(
    app: App, minions: Sequence[str], off: Mapping[str, str], found: list[Found]
) -> dict[str, Mapping[str, Any]]:
    """The nodes' own findings, by node; that a node or the bus is silent is a finding too."""
    if not minions:
        words = "'salt-run vmdk.protect' makes a resource (docs/quickstart.md)."
        found.append(Found(HINT, NOTHING_YET, words))
        return {}
    asked = [minion for minion in minions if minion not in off]
    try:
        said = app.call.ask(asked, "vmdk.doctor", {"fail": False}, ASK, _is_plain) if asked else {}
    except FailoverError as err:
        found.append(Found(ERROR, f"{err.reason}.", "Run 'systemctl status salt-master'.", code="silent"))
        return {}
    answers = {minion: said[minion] for minion in minions if isinstance(said.get(minion), Mapping)}
    found += [_silent(minion, off.get(minion, "")) for minion in minions if minion not in answers]
    return answers


def _silent(minion: str, off: str) -> Found:
    """Off: the VM of a node that is off; who looked for its key and its minion would lose time."""
    if off:
        words = f"vCenter shows the VM of {minion} ({off}) off, so it can take nothing."
        do = "Power it on in vCenter, if it is to be a backup again; nothing else is needed (docs/runbooks.md)."
        return Found(ERROR, words, do, node=minion, code="vm_off")
    return Found(
        ERROR,
        f"{minion} did not answer within {ASK:.0f} s.",
        f"Run 'salt-key -l all' (is its key accepted?), 'salt {minion} test.ping' and 'salt {minion} saltutil.sync_all'; "
        f"on {minion} 'systemctl status salt-minion'.",
        node=minion,
        code="silent",
    )


def _nodes(answers: Mapping[str, Mapping[str, Any]], salt: str) -> Iterator[Found]:
    for minion, answer in answers.items():
        yield from _of_node(minion, answer, salt)


def _kernels(
    resources: Mapping[str, Resource],
    answers: Mapping[str, Mapping[str, Any]],
    stands: Mapping[str, Mapping[str, Any]],
) -> Iterator[Found]:
    """Backups with an older kernel than the node on which a resource is active now."""
    for name, one in stands.items():
        holder = str(one["active"])
        for node in resources[name].nodes if holder in answers else ():
            kernel = answers.get(node.minion, {}).get("kernel")
            other = versions.of_kernel(node.minion, kernel, holder, answers[holder].get("kernel"))
            if other is not None:
                yield Found(WARNING, *other, node=node.minion, code="kernel")


def _is_plain(_: str, answer: object) -> bool:
    return isinstance(answer, Mapping)


def _of_node(minion: str, answer: Mapping[str, Any], salt: str) -> Iterator[Found]:
    other = versions.difference(minion, answer.get("version"))
    if other is not None:
        yield Found(ERROR, *other, node=minion, code="version")
    if (other := versions.of_salt(minion, answer.get("salt"), salt)) is not None:
        yield Found(WARNING, *other, node=minion, code="version")
    for one in answer.get("findings") or ():
        if isinstance(one, Mapping) and one.get("severity") in (ERROR, WARNING, HINT):
            severity, what, do = (str(one.get(key, "")) for key in ("severity", "what", "do"))
            yield Found(severity, what, do, node=minion, code="node")


def _mute(app: App, minions: Sequence[str], stands: Mapping[str, Mapping[str, Any]]) -> Iterator[Found]:
    """Nodes whose silence would say nothing: an error of what is active there now, and else something for later."""
    active = {str(one["active"]): name for name, one in stands.items()}
    for minion, address in reachable.mute(state_dir(app.opts)).items():
        if minion in minions:
            yield Found(
                ERROR if minion in active else WARNING,
                f"The address {address} of {minion} does not answer this master although {minion} is well: if it falls silent "
                "while its VM is on, that is held (645), and nothing fails over.",
                f"Let ICMP echoes or TCP port 22 from the master to {address} through, or set vmdk.address of {minion} to one "
                "that answers.",
                active.get(minion, ""),
                minion,
                code="address",
            )


# -- vSphere ------------------------------------------------------------------------------------------------------


def _vsphere(app: App, resources: Mapping[str, Resource], seen: Mapping[str, HypervisorFacts]) -> list[Found]:
    unread = _unread(app) if not seen else next((f.reason for f in seen.values() if not f.readable), "")
    if unread:
        words = f"{_UNREAD}{unread}."
        return [
            Found(
                ERROR,
                words,
                "See that it is up and that this master reaches it; and vcenter in the configuration (docs/configuration.md).",
                code="unreadable",
            )
        ]
    patients = [checkup.patient(resources[name], facts) for name, facts in seen.items()]
    lost = [one for p in patients for one in _lost(p.resource, [m for m in p.names if m not in p.refs])]
    return [*lost, *checkup.look(app, patients)]


def _unread(app: App) -> str:
    """Why vCenter cannot be read while nothing is protected yet; a fault of its section is told by the configuration."""
    if app.settings.vcenter is None:
        return ""
    try:
        app.session.read(lambda login: login.content.sessionManager.currentSession)
    except FailoverError as err:
        return err.reason
    return ""


def _lost(resource: Resource, minions: Sequence[str]) -> Iterator[Found]:
    for minion in minions:
        yield Found(
            ERROR,
            f"vCenter does not show the VM of {minion} (instance UUID {resource.node(minion).vm_uuid}).",
            f"Give the account the right to see it; if it was deleted, take {minion} out with 'salt-run vmdk.edit'.",
            resource.name,
            minion,
            "vm_gone",
        )


# -- and what status says of it -------------------------------------------------------------------------------------


def _not_protected(stands: Mapping[str, Mapping[str, Any]], found: Sequence[Found]) -> Iterator[Found]:
    """What keeps a resource from being protected, where no finding that names the resource, or all of them, has said why."""
    told = {one.resource for one in found if one.severity == ERROR}
    blind = [one.what.removeprefix(_UNREAD) for one in found if one.code == "unreadable"]
    words = [one.what.removesuffix(".") for one in found if one.code == "node" and one.severity == ERROR]
    for name, one in stands.items():
        for reason in one["not_protected_because"] if name not in told else ():
            do = f"See 'salt-run vmdk.status {name}'."
            by_a_node = any(f"{name}: {reason}".startswith(f"{what}: ") for what in words if name in what)
            if not by_a_node and not any(why.removesuffix(".") in reason for why in blind):
                yield Found(ERROR, f"Not protected: {reason}.", do, name, code=one["state"])
