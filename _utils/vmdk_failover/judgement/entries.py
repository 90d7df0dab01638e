"""
Single entries of the configuration: each reader returns a value and adds a fault for everything that is wrong. Pure.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vmdk_failover.model import Disk, Mount, Node, Timeouts, VolumeGroup
from vmdk_failover.words import KEEPING_MODES

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
_MINION = re.compile(r"[^\s/*?\[\]]{1,255}\Z")
_PATH = re.compile(r"\[[^\]]+\] \S.*\.vmdk\Z")
_VG = re.compile(r"[A-Za-z0-9+_.][A-Za-z0-9+_.-]{0,126}\Z")
_VG_UUID = re.compile(r"[A-Za-z0-9]{6}(-[A-Za-z0-9]{4}){5}-[A-Za-z0-9]{6}\Z")
CONTROLLERS = ("pvscsi", "lsilogic", "lsisas", "buslogic")
#: Options that stand in ``defaults`` too: name → (lowest, highest) in seconds or counts.
NUMBERS: dict[str, tuple[float, float]] = {
    "node_timeout": (3, 3600),
    "agent_timeout": (10, 86400),
    "hang_timeout": (0.5, 600),
    "probe_interval": (0.2, 60),
    "max_failovers_per_hour": (1, 100),
    "local_tries": (0, 20),
    "slow_ms": (1, 600000),
    "full_percent": (1, 100),
    "renotify": (1, 3600),
}
CHOICES: dict[str, tuple[str, ...]] = {
    "on_error": ("switchover", "halt"),
    "on_agent_silent": ("hold", "fence"),
    "on_isolated": ("fence", "hold"),
    "fence_action": ("off", "reboot"),
    "on_service_failure": ("hold", "next"),
    "host_fence_others": ("hold", "stop"),
    "on_shutdown": ("stay", "switchover"),
}
#: Options that name a Salt runner function of the administrator's.
FUNCTIONS = ("fence", "host_fence")
_FUNCTION = re.compile(r"(?!vmdk\.)[A-Za-z_]\w*\.[A-Za-z_]\w*\Z")
SWITCHES = ("write_probe",)
#: All that a person chooses of a resource, at ``protect`` and ``edit``.
OPTIONS = (*NUMBERS, *CHOICES, *FUNCTIONS, *SWITCHES, "services", "states", "depends_on", "timeouts")


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in the configuration: where it stands, a sentence, and whose it is (``""``: nobody's alone)."""

    where: str
    reason: str
    resource: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


class Faults:
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


def read_mapping(raw: Any, key: str, at: Faults) -> Mapping[str, Any]:
    if isinstance(raw, Mapping):
        return raw
    at.add(key, "must be a mapping")
    return {}


def read_nodes(raw: Mapping[str, Any], at: Faults) -> tuple[Node, ...]:
    names = read_names(raw.get("nodes"), "nodes", at)
    uuids = read_mapping(raw.get("vm_uuids", {}), "vm_uuids", at)
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


def read_each(
    raw: Mapping[str, Any], key: str, read: Callable[[Any, str, Faults], Any], at: Faults
) -> list[Any]:
    items = raw.get(key)
    if not isinstance(items, (list, tuple)) or not items:
        at.add(key, "must be a list with at least one entry; 'salt-run vmdk.protect' writes it")
        return []
    return [one for one in (read(item, f"{key}.{i}", at) for i, item in enumerate(items)) if one is not None]


def read_disk(raw: Any, where: str, at: Faults) -> Disk | None:
    body = read_mapping(raw, where, at)
    before = len(at.found)
    at.unknown(body, ("path", "uuid", "bus", "unit", "controller", "mode", "sharing"), where)
    path, uuid = str(body.get("path", "")), normal_disk_uuid(body.get("uuid", ""))
    if not _PATH.match(path):
        at.add(f"{where}.path", f"must look like '[datastore] folder/file.vmdk', not {path!r}")
    if len(uuid) != 32:
        at.add(f"{where}.uuid", "must be the VMDK's UUID, 32 hex digits (dashes allowed)")
    bus, unit = body.get("bus"), body.get("unit")
    if not is_whole(bus, 0, 3):
        at.add(f"{where}.bus", f"must be a SCSI bus number from 0 to 3, not {bus!r}")
    controller = str(body.get("controller", "pvscsi"))
    if controller not in CONTROLLERS:
        at.add(f"{where}.controller", f"must be one of {', '.join(CONTROLLERS)}, not {controller!r}")
    highest = 64 if controller == "pvscsi" else 15
    if not is_whole(unit, 0, highest) or unit == 7:
        at.add(
            f"{where}.unit",
            f"must be a unit number from 0 to {highest} without 7 (the controller's own), not {unit!r}",
        )
    sharing = str(body.get("sharing", "sharingNone"))
    if sharing != "sharingNone":
        at.add(f"{where}.sharing", "a multi-writer disk cannot be protected; take the sharing off the disk")
    mode = str(body.get("mode", "persistent"))
    if mode not in KEEPING_MODES:
        words = (
            f"must be {' or '.join(KEEPING_MODES)}, not {mode!r}: what was written must outlive a power-off"
        )
        at.add(f"{where}.mode", words)
    if len(at.found) > before or not isinstance(bus, int) or not isinstance(unit, int):
        return None
    return Disk(path, uuid, bus, unit, controller, mode, sharing)


def read_mount(raw: Any, where: str, at: Faults) -> Mount | None:
    body = read_mapping(raw, where, at)
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


def read_vg(raw: Any, where: str, at: Faults) -> VolumeGroup | None:
    body = read_mapping(raw, where, at)
    before = len(at.found)
    at.unknown(body, ("vg", "uuid"), where)
    name, uuid = str(body.get("vg", "")), str(body.get("uuid") or "")
    if not _VG.match(name) or name in (".", ".."):
        at.add(f"{where}.vg", f"must be the name of a volume group, as 'vgs' shows it, not {name!r}")
    if uuid and not _VG_UUID.match(uuid):
        at.add(f"{where}.uuid", "must be the volume group's UUID, as 'vgs -o vg_uuid' shows it")
    return VolumeGroup(name, uuid) if len(at.found) == before else None


def read_vgs(raw: Mapping[str, Any], at: Faults) -> tuple[VolumeGroup, ...]:
    found = tuple(read_each(raw, "lvm", read_vg, at)) if raw.get("lvm") else ()
    names = [one.name for one in found]
    for name in sorted({name for name in names if names.count(name) > 1}):
        at.add("lvm", f"{name} is there twice")
    return found


def is_whole(value: Any, lowest: int, highest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest


def read_names(raw: Any, key: str, at: Faults) -> tuple[str, ...]:
    if not isinstance(raw, (list, tuple)) or not all(isinstance(item, str) and item for item in raw):
        at.add(key, "must be a list of texts")
        return ()
    if len(set(raw)) < len(raw):
        at.add(key, "names one thing twice")
    return tuple(raw)


def read_options(raw: Mapping[str, Any], at: Faults) -> dict[str, Any]:
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
    _read_functions(raw, at, found)
    for key in SWITCHES:
        value = raw.get(key)
        if value is not None and not isinstance(value, bool):
            at.add(key, f"must be true or false, not {value!r}")
        elif value is not None:
            found[key] = value
    return found


def _read_functions(raw: Mapping[str, Any], at: Faults, found: dict[str, Any]) -> None:
    for key in FUNCTIONS:
        value = raw.get(key)
        if value is None:
            continue
        if not (isinstance(value, str) and (not value or _FUNCTION.match(value))):
            at.add(
                key, f"must name a Salt runner function of your own, for example 'ipmi.off', not {value!r}"
            )
        found[key] = value


def read_timeouts(raw: Any, at: Faults) -> Timeouts | None:
    body = read_mapping(raw, "timeouts", at)
    names = [f.name for f in dataclasses.fields(Timeouts)]
    at.unknown(body, names, "timeouts")
    for key, value in body.items():
        if key in names and (
            not isinstance(value, (int, float)) or isinstance(value, bool) or not 0.1 <= value <= 86400
        ):
            at.add(f"timeouts.{key}", f"must be seconds from 0.1 to 86400, not {value!r}")
    return None if at.found else Timeouts(**{str(k): float(v) for k, v in body.items()})


def check_twice(disks: tuple[Disk, ...], mounts: tuple[Mount, ...], at: Faults) -> None:
    for key, values in (
        ("disks", [d.uuid for d in disks]),
        ("disks", [d.path for d in disks]),
        ("disks", [f"SCSI {d.bus}:{d.unit}" for d in disks]),
        ("mounts", [m.mountpoint for m in mounts]),
        ("mounts", [m.fs_uuid for m in mounts]),
    ):
        for value in sorted({v for v in values if values.count(v) > 1}):
            at.add(key, f"{value} is there twice")
