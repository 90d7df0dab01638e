"""
Reading properties of many objects in one call.

vCenter reports what could not be read (an expired login among it) only in ``missingSet``; code that does not
look there takes "unreadable" for "unset". Here an expired login is raised, and everything else is named in
:attr:`Read.missing`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim, vmodl

from vmdk_failover.vsphere.session import Login

_QUERY = vmodl.query.PropertyCollector


@dataclass(frozen=True)
class Read:
    """
    What one answer says of one object.

    :param ref: its managed object id.
    :param kind: its type, e.g. ``VirtualMachine``.
    :param values: properties that are set.
    :param missing: properties that could not be read; a property in neither is unset.
    """

    ref: str
    kind: str
    values: Mapping[str, Any]
    missing: frozenset[str]

    def get(self, path: str) -> Any:
        """The value, or ``None`` if it is unset or unreadable; ask :meth:`unset` to tell them apart."""
        return self.values.get(path)

    def unset(self, path: str) -> bool:
        """Whether vCenter could read the property and it has no value."""
        return path not in self.values and path not in self.missing


def filter_spec(refs: Iterable[Any], paths: Mapping[Any, Sequence[str]], steps: Sequence[Any] = ()) -> Any:
    """
    Build a filter.

    :param refs: objects to begin with.
    :param paths: property paths by pyVmomi class.
    :param steps: traversals from there, as :func:`step` makes them.
    """
    return _QUERY.FilterSpec(
        objectSet=[_QUERY.ObjectSpec(obj=ref, selectSet=list(steps)) for ref in refs],
        propSet=[_QUERY.PropertySpec(type=kind, pathSet=list(names)) for kind, names in paths.items()],
        reportMissingObjectsInResults=True,
    )


def step(kind: Any, path: str, then: Sequence[Any] = ()) -> Any:
    """A traversal from objects of class ``kind`` along ``path``, further along ``then``."""
    return _QUERY.TraversalSpec(type=kind, path=path, selectSet=list(then))


def retrieve(login: Login, spec: Any) -> dict[str, Read]:
    """
    Read in one call (more only if vCenter pages its answer).

    :return: by managed object id; objects that do not exist are left out.
    :raises vim.fault.NotAuthenticated: the login has expired.
    """
    collector = login.content.propertyCollector
    found: dict[str, Read] = {}
    page = collector.RetrievePropertiesEx([spec], _QUERY.RetrieveOptions())
    while page is not None:
        found.update((seen.ref, seen) for seen in map(_read, page.objects))
        page = collector.ContinueRetrievePropertiesEx(page.token) if page.token else None
    return found


def _read(content: Any) -> Read:
    missing = content.missingSet or ()
    for one in missing:
        if isinstance(one.fault, vim.fault.NotAuthenticated):
            raise one.fault
    return Read(
        ref=content.obj._GetMoId(),
        kind=type(content.obj).__name__.rsplit(".", 1)[-1],
        values={prop.name: prop.val for prop in content.propSet or ()},
        missing=frozenset(one.path for one in missing),
    )
