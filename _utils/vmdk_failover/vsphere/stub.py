"""
pyVmomi's calls over our own connections.

pyVmomi takes any well-formed document for an answer: one without the expected element, such as a proxy's page, becomes ``None``,
which reads as "no such VM". Here an answer that is not the one asked for is a broken connection.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any
from xml.parsers.expat import ExpatError

from pyVmomi import SoapStubAdapter
from pyVmomi.SoapAdapter import NS_SEP, SoapResponseDeserializer
from pyVmomi.VmomiSupport import GetServiceVersions, versionIdMap

from vmdk_failover.errors import CannotObserve
from vmdk_failover.vsphere.wire import Wire

#: Idle connections are closed by vCenter and firewalls; a write must not meet a dead one.
IDLE_SECONDS = 20


class Garbled(ConnectionError):
    """Something came back that is no answer to what was asked."""


class Stub(SoapStubAdapter):  # type: ignore[misc]
    """
    Sends calls over a wire.

    :param version: API version as :func:`version_of` finds it.
    """

    def __init__(self, wire: Wire, version: str) -> None:
        super().__init__(host=wire.host, port=wire.port, version=version, connectionPoolTimeout=IDLE_SECONDS)
        self.cookie: str = ""
        self.scheme = wire.connection
        self._came_to = wire.came_to

    def InvokeMethod(  # noqa: N802 - pyVmomi's name, and it gives itself a third argument that we have no use for
        self, mo: Any, info: Any, args: Any, _outer: Any = None
    ) -> Any:
        """
        Make one call.

        :raises vmodl.MethodFault: vCenter's own refusal.
        :raises OSError, http.client.HTTPException: no answer, or none that can be read.
        """
        came_to = "silent"
        try:
            answer = self._invoke(mo, info, args)
            fault = isinstance(answer, Exception)
            came_to = type(answer).__name__.rpartition(".")[2] if fault else "ok"
        finally:
            self._came_to(info.wsdlName, came_to)
        if fault:
            raise answer
        return answer

    def _invoke(self, mo: Any, info: Any, args: Any) -> Any:
        """The answer, or the fault that came as one."""
        status, reason, body = self._exchange(self.SerializeRequest(mo, info, args))
        if status not in (200, 500):
            raise Garbled(f"{status} {reason}")
        answer = _parsed(self, body, info)
        if not isinstance(answer, Exception) and status != 200:
            raise Garbled(f"{status} {reason}, without a fault")
        return answer

    def _exchange(self, request: Any) -> tuple[int, str, bytes]:
        """Send a request and read the whole answer; a connection that failed is not used again, nor its idle siblings."""
        headers = {
            "Cookie": self.cookie,
            "SOAPAction": self.versionId,
            "Content-Type": "text/xml; charset=UTF-8",
        }
        connection = self.GetConnection()
        try:
            connection.request("POST", self.path, request, headers)
            answer = connection.getresponse()
            body = answer.read()
        except BaseException:
            connection.close()
            self.DropConnections()
            raise
        self.cookie = answer.getheader("Set-Cookie") or self.cookie
        self.ReturnConnection(connection)
        return answer.status, answer.reason, body


class _Answer(SoapResponseDeserializer):  # type: ignore[misc]
    """Parses an answer and remembers whether it was one."""

    def __init__(self, stub: Stub, wanted: str) -> None:
        super().__init__(stub)
        self._wanted = wanted
        self.came = False

    def StartElementHandler(self, tag: str, attr: Any) -> None:  # noqa: N802 - expat's name
        if tag == self.soapFaultTag or tag.rpartition(NS_SEP)[2] == self._wanted:
            self.came = True
        super().StartElementHandler(tag, attr)


def _parsed(stub: Stub, body: bytes, info: Any) -> Any:
    answer = _Answer(stub, f"{info.wsdlName}Response")
    try:
        result = answer.Deserialize(body, info.result)
    except (ExpatError, AttributeError, TypeError, KeyError, ValueError) as err:
        raise Garbled(f"it sent what pyVmomi cannot read ({type(err).__name__}: {err})") from err
    if not answer.came:
        raise Garbled(f"it sent something that is no answer to {info.wsdlName}")
    return result


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
