"""
The configuration, from plain dicts to values, with *every* fault told, not only the first.

Pure: files and Salt's options are read elsewhere (``app.py``). A fault names the place in the configuration, what is wrong
there and what would be right; a resource with a fault is left out, the others are not affected by it.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vmdk_failover.model import Disk, Mount, Node, Resource, Timeouts

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
_MINION = re.compile(r"[^\s/*?\[\]]{1,255}\Z")
_PATH = re.compile(r"\[[^\]]+\] \S.*\.vmdk\Z")
CONTROLLERS = ("pvscsi", "lsilogic", "lsisas", "buslogic")

#: Options that stand in ``defaults`` too: name → (lowest, highest) in seconds or counts.
NUMBERS: dict[str, tuple[float, float]] = {
    "node_timeout": (3, 3600),
    "hang_timeout": (0.5, 600),
    "probe_interval": (0.2, 60),
    "max_failovers_per_hour": (1, 100),
    "local_tries": (0, 20),
}
CHOICES: dict[str, tuple[str, ...]] = {"on_error": ("switchover", "halt")}
RESOURCE_KEYS = (
    "nodes",
    "vm_uuids",
    "disks",
    "mounts",
    "services",
    "states",
    "timeouts",
    *NUMBERS,
    *CHOICES,
)
VCENTER_KEYS = ("host", "port", "user", "password", "ca_file", "sha256")
TOP_KEYS = ("vcenter", "defaults", "resources", "resources_dir", "node", "state_dir")


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in the configuration: where it stands, a sentence, and whose it is (``""``: nobody's alone)."""

    where: str
    reason: str
    resource: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


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
class Settings:
    """
    All of the configuration that could be understood.

    :param vcenter: ``None`` if it is missing or wrong (then ``faults`` says so).
    :param resources: by name, only those without a fault.
    :param faults: everything that is wrong.
    """

    vcenter: VCenter | None
    resources: Mapping[str, Resource]
    faults: tuple[Fault, ...] = ()

    def faults_of(self, name: str) -> tuple[Fault, ...]:
        """The faults that keep the resource ``name`` from being used."""
        return tuple(f for f in self.faults if f.resource == name or f.where == f"resources.{name}")


class _Faults:
    """Collects faults under one place of the configuration."""

    def __init__(self, where: str, resource: str = "") -> None:
        self.where = where
        self.resource = resource
        self.found: list[Fault] = []

    def add(self, key: str, reason: str) -> None:
        self.found.append(Fault(f"{self.where}.{key}" if key else self.where, reason, self.resource))

    def unknown(self, raw: Mapping[str, Any], allowed: Iterable[str], at: str = "") -> None:
        names = list(allowed)
        for key in raw:
            if key not in names:
                near = difflib.get_close_matches(str(key), names, 1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(names))}"
                self.add(f"{at}.{key}" if at else str(key), f"there is no such key; {hint}")


def normal_disk_uuid(text: str) -> str:
    """The form in which disk UUIDs are compared: lower case, hex digits only. vSphere writes dashes and upper case."""
    return "".join(c for c in str(text).lower() if c in "0123456789abcdef")


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
    top = _Faults("vmdk")
    top.unknown(raw, TOP_KEYS)
    vcenter = _vcenter(raw.get("vcenter"), top)
    defaults = _mapping(raw.get("defaults") or {}, "defaults", top)
    at_defaults = _Faults("defaults")
    at_defaults.unknown(defaults, (*NUMBERS, *CHOICES, "timeouts"))
    _options(defaults, at_defaults)
    bodies = _mapping(raw.get("resources") or {}, "resources", top)
    faults = [*top.found, *at_defaults.found]
    resources: dict[str, Resource] = {}
    for name, body in bodies.items():
        resource, found = parse_resource(str(name), body, defaults)
        faults += found
        if resource is not None:
            resources[resource.name] = resource
    for name, fault in _collisions(resources):
        faults.append(fault)
        resources.pop(name, None)
    return Settings(vcenter, resources, tuple(faults))


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
    at = _Faults(f"resources.{name}", name)
    if not _NAME.match(name):
        at.add("", "a resource's name has letters, digits, '_', '.' and '-' only, 64 at most")
    if not isinstance(raw, Mapping):
        at.add("", "must be a mapping with nodes, disks and mounts")
        return None, at.found
    at.unknown(raw, RESOURCE_KEYS)
    merged = {**(defaults or {}), **raw}
    nodes = _nodes(raw, at)
    disks = tuple(_each(raw, "disks", _disk, at))
    mounts = tuple(_each(raw, "mounts", _mount, at))
    options = _options(merged, at)
    states = _mapping(raw.get("states", {}), "states", at)
    at.unknown(states, ("start", "stop"), "states")
    services = _names(raw.get("services", []), "services", at)
    start = _names(states.get("start", []), "states.start", at)
    stop = _names(states.get("stop", []), "states.stop", at)
    timeouts = _timeouts(merged.get("timeouts", {}), at)
    _twice(disks, mounts, at)
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
        **options,
    )
    return resource, []


def _mapping(raw: Any, key: str, at: _Faults) -> Mapping[str, Any]:
    if isinstance(raw, Mapping):
        return raw
    at.add(key, "must be a mapping")
    return {}


def _vcenter(raw: Any, at: _Faults) -> VCenter | None:
    here = _Faults("vcenter")
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


def _nodes(raw: Mapping[str, Any], at: _Faults) -> tuple[Node, ...]:
    names = _names(raw.get("nodes"), "nodes", at)
    uuids = _mapping(raw.get("vm_uuids", {}), "vm_uuids", at)
    if len(names) < 2:
        at.add("nodes", "needs at least two minion ids, in order of preference")
    found = []
    for name in names:
        if not _MINION.match(name):
            at.add("nodes", f"{name!r} is not a minion id")
        uuid = str(uuids.get(name, "")).lower()
        if not _UUID.match(uuid):
            at.add(
                f"vm_uuids.{name}",
                "is missing or not a UUID; 'salt-run vmdk.protect' records the VM's instance UUID",
            )
        found.append(Node(name, uuid))
    for name in uuids:
        if name not in names:
            at.add(f"vm_uuids.{name}", f"{name} is not among this resource's nodes")
    if len({n.vm_uuid for n in found}) < len(found) and not at.found:
        at.add("vm_uuids", "two nodes have one VM; each needs its own")
    return tuple(found)


def _each(
    raw: Mapping[str, Any], key: str, read: Callable[[Any, str, _Faults], Any], at: _Faults
) -> list[Any]:
    items = raw.get(key)
    if not isinstance(items, (list, tuple)) or not items:
        at.add(key, "must be a list with at least one entry; 'salt-run vmdk.protect' writes it")
        return []
    return [one for one in (read(item, f"{key}.{i}", at) for i, item in enumerate(items)) if one is not None]


def _disk(raw: Any, where: str, at: _Faults) -> Disk | None:
    body = _mapping(raw, where, at)
    before = len(at.found)
    at.unknown(body, ("path", "uuid", "bus", "unit", "controller", "mode", "sharing"), where)
    path, uuid = str(body.get("path", "")), normal_disk_uuid(body.get("uuid", ""))
    if not _PATH.match(path):
        at.add(f"{where}.path", f"must look like '[datastore] folder/file.vmdk', not {path!r}")
    if len(uuid) != 32:
        at.add(f"{where}.uuid", "must be the VMDK's UUID, 32 hex digits (dashes allowed)")
    bus, unit = body.get("bus"), body.get("unit")
    if not _whole(bus, 0, 3):
        at.add(f"{where}.bus", f"must be a SCSI bus number from 0 to 3, not {bus!r}")
    controller = str(body.get("controller", "pvscsi"))
    if controller not in CONTROLLERS:
        at.add(f"{where}.controller", f"must be one of {', '.join(CONTROLLERS)}, not {controller!r}")
    highest = 63 if controller == "pvscsi" else 15
    if not _whole(unit, 0, highest) or unit == 7:
        at.add(
            f"{where}.unit",
            f"must be a unit number from 0 to {highest} without 7 (the controller's own), not {unit!r}",
        )
    sharing = str(body.get("sharing", "sharingNone"))
    if sharing != "sharingNone":
        at.add(f"{where}.sharing", "a multi-writer disk cannot be protected; take the sharing off the disk")
    if len(at.found) > before or not isinstance(bus, int) or not isinstance(unit, int):
        return None
    return Disk(path, uuid, bus, unit, controller, str(body.get("mode", "persistent")), sharing)


def _mount(raw: Any, where: str, at: _Faults) -> Mount | None:
    body = _mapping(raw, where, at)
    before = len(at.found)
    at.unknown(body, ("mountpoint", "fs_uuid", "fstype", "options"), where)
    point = str(body.get("mountpoint", ""))
    if not re.fullmatch(r"(/[^/\0\n]+)+", point) or any(p in (".", "..") for p in point.split("/")):
        at.add(f"{where}.mountpoint", f"must be an absolute path below / without '.' or '..', not {point!r}")
    if not re.fullmatch(r"[0-9a-fA-F-]{8,36}", str(body.get("fs_uuid", ""))):
        at.add(f"{where}.fs_uuid", "must be the file system's UUID, as blkid shows it")
    if not re.fullmatch(r"[a-z0-9]{2,16}", str(body.get("fstype", ""))):
        at.add(f"{where}.fstype", "must be the file system's type, for example ext4 or xfs")
    options = str(body.get("options", "defaults"))
    if "nouuid" in options.split(","):
        at.add(f"{where}.options", "nouuid is not allowed: it would let one file system be mounted twice")
    if len(at.found) > before:
        return None
    return Mount(point, str(body["fs_uuid"]).lower(), str(body["fstype"]), options)


def _whole(value: Any, lowest: int, highest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest


def _names(raw: Any, key: str, at: _Faults) -> tuple[str, ...]:
    if not isinstance(raw, (list, tuple)) or not all(isinstance(item, str) and item for item in raw):
        at.add(key, "must be a list of texts")
        return ()
    if len(set(raw)) < len(raw):
        at.add(key, "names one thing twice")
    return tuple(raw)


def _options(raw: Mapping[str, Any], at: _Faults) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, (lowest, highest) in NUMBERS.items():
        value = raw.get(key)
        if value is None:
            continue
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not lowest <= value <= highest:
            at.add(key, f"must be a number from {lowest:g} to {highest:g}, not {value!r}")
        found[key] = value
    for key, allowed in CHOICES.items():
        value = raw.get(key)
        if value is not None and value not in allowed:
            at.add(key, f"must be {' or '.join(allowed)}, not {value!r}")
        if value is not None:
            found[key] = value
    return found


def _timeouts(raw: Any, at: _Faults) -> Timeouts | None:
    body = _mapping(raw, "timeouts", at)
    names = [f.name for f in dataclasses.fields(Timeouts)]
    at.unknown(body, names, "timeouts")
    for key, value in body.items():
        if key in names and (
            not isinstance(value, (int, float)) or isinstance(value, bool) or not 0.1 <= value <= 86400
        ):
            at.add(f"timeouts.{key}", f"must be seconds from 0.1 to 86400, not {value!r}")
    return None if at.found else Timeouts(**{str(k): float(v) for k, v in body.items()})


def _twice(disks: tuple[Disk, ...], mounts: tuple[Mount, ...], at: _Faults) -> None:
    for key, values in (
        ("disks", [d.uuid for d in disks]),
        ("disks", [d.path for d in disks]),
        ("disks", [f"SCSI {d.bus}:{d.unit}" for d in disks]),
        ("mounts", [m.mountpoint for m in mounts]),
        ("mounts", [m.fs_uuid for m in mounts]),
    ):
        for value in sorted({v for v in values if values.count(v) > 1}):
            at.add(key, f"{value} is there twice")


def _collisions(resources: Mapping[str, Resource]) -> list[tuple[str, Fault]]:
    """Two resources that claim one disk, or one SCSI slot or mount point of one node: both are left out."""
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
    found: list[tuple[str, Fault]] = []
    for (what, value), names in owners.items():
        for name in names if len(names) > 1 else ():
            others = ", ".join(n for n in names if n != name)
            where = f"resources.{name}.{'mounts' if what.startswith('mount') else 'disks'}"
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
    return found


def to_body(resource: Resource) -> dict[str, Any]:
    """The dict that :func:`parse_resource` reads as this resource."""
    plain = dataclasses.asdict(resource)
    body: dict[str, Any] = {key: plain[key] for key in (*NUMBERS, *CHOICES, "timeouts")}
    body["nodes"] = [n.minion for n in resource.nodes]
    body["vm_uuids"] = {n.minion: n.vm_uuid for n in resource.nodes}
    body["disks"] = [dataclasses.asdict(d) for d in resource.disks]
    body["mounts"] = [dataclasses.asdict(m) for m in resource.mounts]
    body["services"] = list(resource.services)
    body["states"] = {"start": list(resource.start_states), "stop": list(resource.stop_states)}
    return body
