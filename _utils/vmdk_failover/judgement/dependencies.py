"""
What ``depends_on`` may say: known resources with the same nodes, and nothing that depends on itself in the end. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from vmdk_failover.judgement.entries import Fault
from vmdk_failover.model import Resource


def faults_of(resources: Mapping[str, Resource], names: Collection[str]) -> list[tuple[str, Fault]]:
    """
    Everything that is wrong with the dependencies, each with the resource that is left out for it.

    :param resources: all that are sound by themselves.
    :param names: all that are configured, sound or not: one with a fault is known, and goes on with its last good version.
    """
    found = []
    for name, resource in resources.items():
        reason = next(_wrong(resource, resources, names), "")
        if reason:
            found.append((name, Fault(f"resources.{name}.depends_on", reason, name)))
    return found


def _wrong(resource: Resource, resources: Mapping[str, Resource], names: Collection[str]) -> Iterator[str]:
    for other in resource.depends_on:
        if other == resource.name:
            yield f"{other} cannot depend on itself; take it out"
        if other not in names:
            known = ", ".join(sorted(set(names) - {resource.name})) or "none"
            yield f"there is no resource called {other}; known are: {known}"
        if other in resources and resources[other].nodes != resource.nodes:
            yield (
                f"{other} has other nodes, or has them in another order ({_nodes(resources[other])}); resources that depend on "
                f"each other need the same list of nodes ({_nodes(resource)})"
            )
    yield from _nested(resource, resources)
    circle = _circle(resource.name, resources)
    if circle:
        yield f"{' depends on '.join(circle)}: that is a circle; take one of them out"


def _nested(resource: Resource, resources: Mapping[str, Resource]) -> Iterator[str]:
    """A mount point inside of another resource's is not there while that is elsewhere, so no node would be ready."""
    for other in (resources[name] for name in resource.depends_on if name in resources):
        for mine in resource.mounts:
            for its in other.mounts:
                if mine.mountpoint.startswith(f"{its.mountpoint}/"):
                    yield (
                        f"{mine.mountpoint} is inside of {its.mountpoint}, which is mounted by {other.name}; take a place "
                        "outside, or put both into one resource"
                    )


def _nodes(resource: Resource) -> str:
    return ", ".join(n.minion for n in resource.nodes)


def _circle(name: str, resources: Mapping[str, Resource]) -> list[str]:
    """The way from a resource back to itself; empty if there is none."""
    paths, seen = [[name]], {name}
    while paths:
        path = paths.pop()
        for other in resources[path[-1]].depends_on if path[-1] in resources else ():
            if other == name:
                return [*path, other]
            if other not in seen:
                seen.add(other)
                paths.append([*path, other])
    return []
