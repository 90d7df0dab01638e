"""pyVmomi's transport over our own connections."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any
from xml.parsers.expat import ExpatError

from pyVmomi import SoapStubAdapter
from pyVmomi.VmomiSupport import GetServiceVersions, versionIdMap

from vmdk_failover.errors import CannotObserve
from vmdk_failover.vsphere.wire import Wire

#: Idle connections are closed by vCenter and firewalls; a write must not meet a dead one.
IDLE_SECONDS = 20


class Stub(SoapStubAdapter):  # type: ignore[misc]
    """
    Sends calls over a wire; an answer that pyVmomi cannot parse counts as a broken connection.

    :param version: API version as :func:`version_of` finds it.
    """

    def __init__(self, wire: Wire, version: str) -> None:
        super().__init__(host=wire.host, port=wire.port, version=version, connectionPoolTimeout=IDLE_SECONDS)
        self.scheme = wire.connection

    def InvokeMethod(self, *args: Any, **kwargs: Any) -> Any:  # noqa: N802 - pyVmomi's name
        try:
            return super().InvokeMethod(*args, **kwargs)
        except (ExpatError, AttributeError, TypeError, KeyError, ValueError) as err:
            raise _Garbled(f"it sent what pyVmomi cannot read ({type(err).__name__}: {err})") from err


class _Garbled(ConnectionError):
    """The answer came but could not be read."""


def version_of(wire: Wire) -> str:
    """The newest API version that both sides know."""
    offered: set[str | None] = set()
    try:
        for namespace in ET.fromstring(wire.get("/sdk/vimServiceVersions.xml")).iter("namespace"):
            if namespace.findtext("name") == "urn:vim25":
                offered.add(namespace.findtext("version"))
                offered.update(version.text for version in namespace.iter("version"))
    except ET.ParseError as err:
        raise CannotObserve(f"{wire.where} is no vCenter: its list of API versions cannot be read") from err
    for version in GetServiceVersions("vim25"):
        if versionIdMap[version] in offered:
            return str(version)
    raise CannotObserve(
        f"vCenter {wire.where} and the installed pyVmomi have no API version in common; update pyVmomi"
    )
