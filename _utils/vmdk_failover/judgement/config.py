"""
The configuration, from plain dicts to values, with *every* fault told, not only the first.

Pure: files and Salt's options are read elsewhere (``app.py``). A fault names the place in the configuration, what is wrong
there and what would be right; a resource with a fault is left out, the others are not affected by it.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vmdk_failover.judgement import dependencies
from vmdk_failover.judgement.entries import (
    CHOICES,
    FUNCTIONS,
    NUMBERS,
    SWITCHES,
    Fault,
    Faults,
    check_twice,
    is_whole,
    normal_disk_uuid,
    read_disk,
    read_each,
    read_mapping,
    read_mount,
    read_names,
    read_nodes,
    read_options,
    read_timeouts,
    read_vgs,
)
from vmdk_failover.model import Resource

__all__ = [
    "CHOICES",
    "NUMBERS",
    "Fault",
    "Metrics",
    "Settings",
    "VCenter",
    "normal_disk_uuid",
    "parse",
    "parse_resource",
    "to_body",
]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
RESOURCE_KEYS = (
    "nodes",
    "vm_uuids",
    "disks",
    "lvm",
    "mounts",
    "services",
    "states",
    "depends_on",
    "timeouts",
    *NUMBERS,
    *CHOICES,
    *FUNCTIONS,
    *SWITCHES,
)
VCENTER_KEYS = ("host", "port", "user", "password", "ca_file", "sha256")
TOP_KEYS = (
    "vcenter",
    "defaults",
    "resources",
    "resources_dir",
    "node",
    "state_dir",
    "active_master",
    "claims",
    "metrics",
)


@dataclass(frozen=True)
class VCenter:
    """How to reach vCenter. The password is left out of every text form."""

    host: str
    user: str
    password: str = dataclasses.field(repr=False)
    port: int = 443
    ca_file: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Metrics:
    """Where the master's engine serves metrics. ``address`` is one of this machine's."""

    address: str = "127.0.0.1"
    port: int = 9475


@dataclass(frozen=True)
class Settings:
    """
    All of the configuration that could be understood.

    :param vcenter: ``None`` if it is missing or wrong (then ``faults`` says so).
    :param resources: by name, only those without a fault.
    :param faults: everything that is wrong.
    :param kept: resources that are broken now and go on with their last good version.
    :param active_master: id of the only master that acts; ``""`` if every one does.
    :param claims: where several masters see each other's claims: ``vcenter``, or a directory; ``""`` if nowhere.
    :param metrics: where the engine serves metrics; ``None`` if nowhere.
    """

    vcenter: VCenter | None
    resources: Mapping[str, Resource]
    faults: tuple[Fault, ...] = ()
    kept: tuple[str, ...] = ()
    active_master: str = ""
    claims: str = ""
    metrics: Metrics | None = None

    def faults_of(self, name: str) -> tuple[Fault, ...]:
        """The faults that keep the resource ``name`` from being used."""
        return tuple(f for f in self.faults if f.resource == name or f.where == f"resources.{name}")


def parse(raw: Any) -> Settings:
    """
    Read the ``vmdk`` section of the master's configuration (files of ``resources_dir`` already merged in).

    :param raw: the section, a dict.
    :return: everything that could be understood and every fault.
    """
    if not isinstance(raw, Mapping):
        return Settings(
            None, {}, (Fault("vmdk", "must be a mapping with vcenter and resources (docs/configuration.md)"),)
        )
    top = Faults("vmdk")
    top.unknown(raw, TOP_KEYS)
    vcenter = _vcenter(raw.get("vcenter"), top)
    defaults = read_mapping(raw.get("defaults") or {}, "defaults", top)
    at_defaults = Faults("defaults")
    at_defaults.unknown(defaults, (*NUMBERS, *CHOICES, *FUNCTIONS, *SWITCHES, "timeouts"))
    read_options(defaults, at_defaults)
    bodies = read_mapping(raw.get("resources") or {}, "resources", top)
    faults = [*top.found, *at_defaults.found]
    resources: dict[str, Resource] = {}
    for name, body in bodies.items():
        resource, found = parse_resource(str(name), body, defaults)
        faults += found
        if resource is not None:
            resources[resource.name] = resource
    for name, fault in [*collisions(resources), *dependencies.faults_of(resources, {str(n) for n in bodies})]:
        faults.append(fault)
        resources.pop(name, None)
    active, claims = _masters(raw, faults)
    metrics = _metrics(raw.get("metrics"), faults)
    return Settings(vcenter, resources, tuple(faults), (), active, claims, metrics)


def _masters(raw: Mapping[str, Any], faults: list[Fault]) -> tuple[str, str]:
    """How several masters go together."""
    active, claims = raw.get("active_master") or "", raw.get("claims") or ""
    if not isinstance(active, str):
        faults.append(Fault("vmdk.active_master", "must be the id of a master, a text"))
        active = "?"  # nobody's id: a rule that cannot be read lets nobody act
    if not isinstance(claims, str) or (claims and claims != "vcenter" and not claims.startswith("/")):
        faults.append(
            Fault("vmdk.claims", "must be vcenter, or the path of a directory that all masters mount")
        )
        active = "?"
        claims = ""
    return active, claims


def _metrics(raw: Any, faults: list[Fault]) -> Metrics | None:
    if raw is None or raw is False:
        return None
    here = Faults("metrics")
    body = read_mapping({} if raw is True else raw, "", here)
    here.unknown(body, ("address", "port"))
    address, port = body.get("address", Metrics.address), body.get("port", Metrics.port)
    if not is_whole(port, 1, 65535):
        here.add("port", f"must be a number from 1 to 65535, not {port!r}")
    try:
        ipaddress.ip_address(address)
    except ValueError:
        here.add("address", f"must be an IP address of this machine, for example 127.0.0.1, not {address!r}")
    faults += here.found
    return None if here.found else Metrics(address, port)


def parse_resource(
    name: str, raw: Any, defaults: Mapping[str, Any] | None = None
) -> tuple[Resource | None, list[Fault]]:
    """
    Read one resource.

    :param name: its name: letters, digits, ``_ . -``.
    :param raw: its body, a dict as in docs/configuration.md.
    :param defaults: the ``defaults`` section.
    :return: the resource, or ``None`` and the faults.
    """
    at = Faults(f"resources.{name}", name)
    if not _NAME.match(name):
        at.add("", "a resource's name has letters, digits, '_', '.' and '-' only, 64 at most")
    if not isinstance(raw, Mapping):
        at.add("", "must be a mapping with nodes, disks and mounts")
        return None, at.found
    at.unknown(raw, RESOURCE_KEYS)
    merged = {**(defaults or {}), **raw}
    nodes = read_nodes(raw, at)
    disks = tuple(read_each(raw, "disks", read_disk, at))
    mounts = tuple(read_each(raw, "mounts", read_mount, at))
    options = read_options(merged, at)
    states = read_mapping(raw.get("states", {}), "states", at)
    at.unknown(states, ("start", "stop"), "states")
    services = read_names(raw.get("services", []), "services", at)
    start = read_names(states.get("start", []), "states.start", at)
    stop = read_names(states.get("stop", []), "states.stop", at)
    timeouts = read_timeouts(merged.get("timeouts", {}), at)
    vgs = read_vgs(raw, at)
    depends_on = read_names(raw.get("depends_on", []), "depends_on", at)
    check_twice(disks, mounts, at)
    if at.found or timeouts is None:
        return None, at.found
    resource = Resource(
        name,
        nodes,
        disks,
        mounts,
        services=services,
        start_states=start,
        stop_states=stop,
        timeouts=timeouts,
        vgs=vgs,
        depends_on=depends_on,
        **options,
    )
    return resource, []


def _vcenter(raw: Any, at: Faults) -> VCenter | None:
    here = Faults("vcenter")
    if not isinstance(raw, Mapping):
        at.found.append(Fault("vcenter", "is missing; give host, user and password (docs/configuration.md)"))
        return None
    here.unknown(raw, VCENTER_KEYS)
    for key in ("host", "user", "password"):
        if not isinstance(raw.get(key), str) or not raw.get(key):
            here.add(key, "is missing; it must be a text")
    port = raw.get("port", 443)
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
        here.add("port", f"must be a number from 1 to 65535, not {port!r}")
    pin = raw.get("sha256")
    if pin is not None and not re.fullmatch(r"(?:[0-9A-Fa-f]{2}:?){32}", str(pin)):
        here.add("sha256", "must be the certificate's SHA-256 fingerprint: 64 hex digits, colons allowed")
    at.found.extend(here.found)
    if here.found:
        return None
    return VCenter(raw["host"], raw["user"], raw["password"], port, raw.get("ca_file"), pin)


def collisions(resources: Mapping[str, Resource]) -> list[tuple[str, Fault]]:
    """
    Two resources that claim one disk, or one SCSI slot or mount point of one node, or know one VM under two names: both are
    left out.
    """
    owners: dict[tuple[str, str], list[str]] = {}
    for name, resource in resources.items():
        for disk in resource.disks:
            owners.setdefault(("disk", disk.path), []).append(name)
            owners.setdefault(("disk UUID", disk.uuid), []).append(name)
            for node in resource.nodes:
                slot = f"{disk.bus}:{disk.unit}"
                owners.setdefault((f"SCSI slot on {node.minion}", slot), []).append(name)
        for mount in resource.mounts:
            for node in resource.nodes:
                owners.setdefault((f"mount point on {node.minion}", mount.mountpoint), []).append(name)
        for group in resource.vgs:
            for node in resource.nodes:
                owners.setdefault((f"volume group on {node.minion}", group.name), []).append(name)
    found: list[tuple[str, Fault]] = []
    for (what, value), names in owners.items():
        for name in names if len(names) > 1 else ():
            others = ", ".join(n for n in names if n != name)
            key = {"mount": "mounts", "volume": "lvm"}.get(what.split()[0], "disks")
            where = f"resources.{name}.{key}"
            found.append(
                (
                    name,
                    Fault(
                        where,
                        f"the {what} {value} is also claimed by {others}; one resource only may have it",
                        name,
                    ),
                )
            )
    return found + _aliases(resources)


def _aliases(resources: Mapping[str, Resource]) -> list[tuple[str, Fault]]:
    """What is done to one VM is done one thing at a time, and the VM is told by its minion id."""
    known: dict[str, dict[str, str]] = {}
    for name, resource in resources.items():
        for node in resource.nodes:
            known.setdefault(node.vm_uuid, {})[name] = node.minion
    found: list[tuple[str, Fault]] = []
    for vm, ids in known.items():
        words = " and ".join(f"{minion} in {name}" for name, minion in ids.items())
        reason = f"the VM {vm} is {words}: one VM has one minion id, 'salt-run vmdk.protect' finds which"
        if len(set(ids.values())) > 1:
            found += [(name, Fault(f"resources.{name}.vm_uuids.{ids[name]}", reason, name)) for name in ids]
    return found


def to_body(resource: Resource) -> dict[str, Any]:
    """The dict that :func:`parse_resource` reads as this resource."""
    plain = dataclasses.asdict(resource)
    body: dict[str, Any] = {
        key: plain[key] for key in (*NUMBERS, *CHOICES, *FUNCTIONS, *SWITCHES, "timeouts")
    }
    body["nodes"] = [n.minion for n in resource.nodes]
    body["vm_uuids"] = {n.minion: n.vm_uuid for n in resource.nodes}
    body["disks"] = [dataclasses.asdict(d) for d in resource.disks]
    body["mounts"] = [dataclasses.asdict(m) for m in resource.mounts]
    body["lvm"] = [{"vg": g.name, "uuid": g.uuid} for g in resource.vgs]
    body["services"] = list(resource.services)
    body["depends_on"] = list(resource.depends_on)
    body["states"] = {"start": list(resource.start_states), "stop": list(resource.stop_states)}
    return body
