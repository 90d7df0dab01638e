"""A resource's services and SLS on this node, for ``doctor`` and ``protect``: known here, and not started by a boot."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from vmdk_failover.guest import children, goodbye
from vmdk_failover.guest.available import ASK_S, ask
from vmdk_failover.model import Resource

#: The unit that announces a shutdown.
ANNOUNCER = "vmdk-shutdown"

#: Severity, what, and what to do.
Said = tuple[str, str, str]


def findings(services: Sequence[str], salt: Mapping[str, Any]) -> Iterator[Said]:
    """
    Look at services.

    :param salt: Salt's execution functions by name; what the init system does not answer in time is not spoken of.
    """
    for name in services:
        if ask(salt, "service.available", name) is False:
            what = f"the service {name} is not known on this node"
            yield "error", what, f"Install it here, or mend its name; 'systemctl status {name}' tells."
        elif ask(salt, "service.enabled", name) is True:
            what = f"the service {name} is started by a boot, also where the disk is not"
            yield "warning", what, f"Run 'systemctl disable {name}': a failover starts it after the mount."


def of_resource(resource: Resource, there: Collection[str], salt: Mapping[str, Any]) -> Iterator[Said]:
    """What a resource needs of this node beside its disks; see :func:`findings` and :func:`unknown_states`."""
    yield from findings(resource.services, salt)
    yield from unknown_states(states_of(resource), there)


def states_of(*resources: Resource) -> tuple[str, ...]:
    """Names of all SLS that are applied with resources."""
    return tuple(name for one in resources for name in (*one.start_states, *one.stop_states))


def listed_states(names: Collection[str], opts: Mapping[str, Any], salt: Mapping[str, Any]) -> frozenset[str]:
    """
    All SLS of the file roots, which the master is asked for; empty if that is not known, or none is asked about.

    :param names: that are to be looked for.
    :param opts: the minion's. With ``--local`` nobody is asked, for the file roots of the node itself are another thing.
    """
    if not names or opts.get("file_client") == "local":
        return frozenset()
    try:
        return frozenset(salt["cp.list_states"]())
    except Exception:  # whatever Salt raises: what is not known is not spoken of
        return frozenset()


def unknown_states(names: Collection[str], there: Collection[str]) -> Iterator[Said]:
    """SLS that are nowhere in the file roots: without them a mount fails on this node. :param there: all that are."""
    for name in names:
        if there and name.replace("/", ".").removesuffix(".init") not in there:
            what = f"the SLS {name} is not in the file roots that this node sees, so bringing the resource into service fails"
            do = (
                "Put it there, or mend its name in states; 'salt-call cp.list_states' here tells which are there. If it has just "
                "been put there, 'salt-run fileserver.clear_file_list_cache' has the master look anew."
            )
            yield "error", what, do


def farewell(names: Sequence[str], services: Sequence[str], salt: Mapping[str, Any]) -> Iterator[Said]:
    """
    Look whether this node announces its shutdown, and while its services still run.

    :param names: of the resources that are to leave it then. :param services: of all resources that it may hold.
    """
    there = ask(salt, "service.available", ANNOUNCER) if names or services else None
    if names and there is False:
        what = f"{', '.join(names)} is to leave this node when it shuts down (on_shutdown), and nothing announces a shutdown here"
        yield (
            "warning",
            what,
            "Bring the unit of 'salt-call vmdk.shutdown_unit' here; docs/hierarchy.md has the SLS.",
        )
    shown = (
        children.call(lambda: list(salt["service.show"](ANNOUNCER)["After"]), ASK_S).value if there else None
    )
    early = [one for one in goodbye.unit_names(services) if shown is not None and one not in shown]
    if early:
        what = f"a shutdown may stop {', '.join(early)} before {ANNOUNCER} announces it: it is an older unit"
        yield (
            "warning",
            what,
            "Bring the unit of 'salt-call vmdk.shutdown_unit' here anew, and run 'systemctl daemon-reload'.",
        )
