"""
Whether the VMs of this master and of vCenter lie on a datastore with protected disks: what such a datastore's failure stops must
not be what is to answer it.

They are found by addresses and by the master's SMBIOS UUID, as far as the account sees them; a master or a vCenter that is no VM
of this vCenter, or that the account does not see, is not spoken of.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyVmomi import vim

from vmdk_failover.around import datastore_of
from vmdk_failover.errors import Refused
from vmdk_failover.finding import WARNING
from vmdk_failover.model import Disk
from vmdk_failover.vsphere.findings import Finding
from vmdk_failover.vsphere.inventory import smbios_forms
from vmdk_failover.vsphere.properties import Read, filter_spec, retrieve, step
from vmdk_failover.vsphere.session import Login, Session

PRODUCT_UUID = Path("/sys/class/dmi/id/product_uuid")


@dataclass(frozen=True)
class Marks:
    """How a machine's VM can be found: who it is (for sentences), names, addresses, SMBIOS UUIDs."""

    who: str
    names: Sequence[str] = ()
    addresses: Sequence[str] = ()
    smbios: Sequence[str] = ()


@dataclass(frozen=True)
class Keeper:
    """A VM that must outlive the protected datastores: who it is, its name, its datastores' managed object ids."""

    who: str
    name: str
    datastores: frozenset[str]


def marks(host: str, port: int, product_uuid: Path = PRODUCT_UUID) -> list[Marks]:
    """How vCenter (at ``host``) and this master can be found. Asks the resolver; sends nothing."""
    addresses = _addresses(host, port)
    try:
        smbios = smbios_forms(product_uuid.read_text(encoding="ascii"))
    except (OSError, ValueError, Refused):  # no VM, or not root
        smbios = ()
    own = [one for one in dict.fromkeys(_own(address, port) for address in addresses) if one]
    return [
        Marks("vCenter", () if host in addresses else (host,), addresses),
        Marks("this master", (), [one for one in own if one not in addresses], smbios),
    ]


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def _own(address: str, port: int) -> str:
    """The address that this machine would speak to ``address`` from."""
    family = (
        socket.AF_INET6 if ipaddress.ip_address(address.partition("%")[0]).version == 6 else socket.AF_INET
    )
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as line:
            line.connect((address, port))
            return str(line.getsockname()[0])
    except OSError:
        return ""


def find(session: Session, wanted: Sequence[Marks]) -> list[Keeper]:
    """
    Find the VMs.

    :raises CannotObserve: vCenter cannot be read.
    """

    def ask(login: Login) -> list[Keeper]:
        who: dict[str, list[str]] = {}
        for one in wanted:
            for ref in _search(login, one):
                who.setdefault(ref, []).append(one.who)
        if not who:
            return []
        spec = filter_spec([login.vm(ref) for ref in who], {vim.VirtualMachine: ("name", "datastore")})
        return [_keeper(" and ".join(who[ref]), read) for ref, read in retrieve(login, spec).items()]

    return session.read(ask)


def _search(login: Login, one: Marks) -> list[str]:
    index = login.content.searchIndex
    found = [vm for name in one.names for vm in index.FindAllByDnsName(None, name, True) or ()]
    found += [vm for address in one.addresses for vm in index.FindAllByIp(None, address, True) or ()]
    found += [vm for form in one.smbios for vm in index.FindAllByUuid(None, form, True, False) or ()]
    return list(dict.fromkeys(vm._GetMoId() for vm in found if isinstance(vm, vim.VirtualMachine)))


def _keeper(who: str, read: Read) -> Keeper:
    stores = frozenset(ref._GetMoId() for ref in read.get("datastore") or ())
    return Keeper(who, str(read.get("name") or read.ref), stores)


# -- the protected datastores -----------------------------------------------------------------------------------------


def stores(session: Session, refs: Iterable[str]) -> dict[str, dict[str, str]]:
    """
    The datastores that the hosts of VMs reach.

    :param refs: managed object ids of VMs.
    :return: managed object id by the datastore's name, for each VM whose host can be read.
    :raises CannotObserve: vCenter cannot be read.
    """
    wanted = sorted(set(refs))

    def ask(login: Login) -> dict[str, Read]:
        paths: Mapping[Any, Sequence[str]] = {
            vim.VirtualMachine: ("runtime.host",),
            vim.HostSystem: ("datastore",),
            vim.Datastore: ("summary.name",),
        }
        steps = [step(vim.VirtualMachine, "runtime.host", [step(vim.HostSystem, "datastore")])]
        return retrieve(login, filter_spec(map(login.vm, wanted), paths, steps))

    answer = session.read(ask) if wanted else {}
    return {ref: dict(_reached(answer[ref], answer)) for ref in wanted if ref in answer}


def _reached(vm: Read, answer: Mapping[str, Read]) -> Iterator[tuple[str, str]]:
    runs_on = vm.get("runtime.host")
    host = answer.get(runs_on._GetMoId()) if runs_on is not None else None
    for ref in (host.get("datastore") if host else None) or ():
        store = answer.get(ref._GetMoId())
        if store is not None and store.get("summary.name"):
            yield str(store.get("summary.name")), ref._GetMoId()


def judge(keepers: Iterable[Keeper], known: Mapping[str, str], disks: Sequence[Disk]) -> list[Finding]:
    """
    Findings about keepers that share a datastore with these disks. Pure.

    :param known: managed object ids of datastores by name, as :func:`stores` has them for the VM that holds the disks.
    """
    found = []
    for name in sorted({datastore_of(disk.path) for disk in disks} & set(known)):
        for one in keepers:
            if known[name] in one.datastores:
                text = (
                    f"the VM {one.name} of {one.who} lies on the protected datastore {name}: when that fails, nobody is left "
                    "to move anything; move it to another one"
                )
                found.append(Finding("", "keeper", text, WARNING, one.name))
    return found
