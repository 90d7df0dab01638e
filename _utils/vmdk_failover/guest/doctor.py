"""
What on this node stands in the way of a failover, or makes it slower than it could be: each with what to do about it.

Looks at the kernel's tables and at files of the node itself, never at a watched disk.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vmdk_failover.guest import (
    channel,
    devices,
    doctor_services,
    doctor_storage,
    duty,
    facts,
    latest,
    mounts,
    namespace,
)
from vmdk_failover.guest.places import HERE, Places, names, read
from vmdk_failover.model import Resource

ERROR, WARNING, HINT = "error", "warning", "hint"
_SHORT_S = 60
_MEMORY = frozenset({"tmpfs", "ramfs"})
_WHY_SOURCE = {
    "block_rq_error": (
        "failed requests are seen by the kernel's log alone, which is rate-limited",
        "run Linux 5.18 or newer",
    ),
    "kmsg": (
        "errors that only the log tells of are seen late",
        "let the minion run as root with CAP_SYSLOG, outside of a container",
    ),
    "fanotify": (
        "an error of ext4 is seen up to 0.2 s later",
        "run Linux 5.16 or newer with CONFIG_FANOTIFY",
    ),
    "aio": (
        "each read of the watcher costs a thread",
        "let the minion run outside of a sandbox, on x86-64 or arm64, and raise fs.aio-max-nr if it is used up",
    ),
    "uevents": (
        "a disk that comes or goes is seen up to 1 s later",
        "let the minion run as root outside of a container",
    ),
}
_LVM_DEVICES = "/etc/lvm/devices/system.devices"
_ENGINE = "engines: [{vmdk: {}}]"


@dataclass(frozen=True)
class Finding:
    """``severity`` is ``error`` (does not work), ``warning`` (works, but) or ``hint``; ``what`` and ``do`` are sentences."""

    severity: str
    what: str
    do: str


@dataclass(frozen=True)
class Node:
    """
    What is known of the node that is looked at.

    :param opts: the minion's options.
    :param pillar: its pillar; without ``vmdk`` when there was no master to ask.
    :param version: of this extension.
    :param salt: Salt's execution functions by name, for questions about services.
    """

    opts: Mapping[str, Any]
    pillar: Mapping[str, Any]
    resources: Mapping[str, Resource]
    state_dir: Path
    sysrq: str
    version: str
    places: Places = HERE
    salt: Mapping[str, Any] = field(default_factory=dict)


def findings(node: Node) -> tuple[Finding, ...]:
    """Look at everything; the worst comes first."""
    checks = (
        _configuration,
        _reporters,
        _prober,
        _python,
        _grains,
        _own_files,
        _namespace,
        _disks,
        _readiness,
        _farewell,
    )
    found = [finding for check in checks for finding in check(node)]
    return tuple(sorted(found, key=lambda one: (ERROR, WARNING, HINT).index(one.severity)))


def _farewell(node: Node) -> Iterator[Finding]:
    leaving = [name for name, one in node.resources.items() if one.on_shutdown == "switchover"]
    services = [service for one in node.resources.values() for service in one.services]
    for severity, what, do in doctor_services.farewell(sorted(leaving), services, node.salt):
        yield Finding(severity, f"{what[0].upper()}{what[1:]}.", do)


def _configuration(node: Node) -> Iterator[Finding]:
    told = node.pillar.get("vmdk")
    if not node.resources:
        yield Finding(
            HINT,
            "This node knows no resource.",
            "Run 'salt-call saltutil.refresh_pillar' if it should; 'salt-run vmdk.protect' makes one.",
        )
    if isinstance(told, Mapping) and not told.get("key"):
        yield Finding(
            ERROR,
            "This node has no signing key and so follows no order.",
            "Set ext_pillar to 'vmdk' on the master, then run 'salt-call saltutil.refresh_pillar'.",
        )
    for where in (node.opts.get("beacons"), node.pillar.get("beacons")):
        if _is_disabled(where):
            yield Finding(
                ERROR,
                "disable_during_state_run is set for the beacon: every state run makes this node blind.",
                "Take disable_during_state_run out of the settings of the beacon vmdk.",
            )


def _is_disabled(beacons: Any) -> bool:
    mine = beacons.get("vmdk") if isinstance(beacons, Mapping) else None
    parts = mine if isinstance(mine, (list, tuple)) else [mine]
    return any(isinstance(part, Mapping) and part.get("disable_during_state_run") for part in parts)


def _reporters(node: Node) -> Iterator[Finding]:
    """Who tells the master what the prober says."""
    if not node.resources:
        return
    engine, beacon = _has_engine(node.opts.get("engines")), duty.beacon_lives(node.state_dir)
    if not beacon:
        yield Finding(
            WARNING if engine else ERROR,
            "The beacon vmdk does not run"
            + (
                ", the engine does its work."
                if engine
                else ": the master hears of no failure from this node."
            ),
            "See 'salt-call beacons.list' and the minion's log; 'salt-call saltutil.refresh_pillar' brings its settings, "
            "'salt-call beacons.enable' switches it on.",
        )
    if not engine:
        yield Finding(
            HINT,
            "The engine vmdk is not configured: failures are told up to 1 s later, and not while the minion is busy.",
            f"Add '{_ENGINE}' to the minion's configuration and restart it.",
        )


def _has_engine(engines: Any) -> bool:
    parts = engines if isinstance(engines, (list, tuple)) else [engines]
    return any("vmdk" in part for part in parts if isinstance(part, (Mapping, str)))


def _prober(node: Node) -> Iterator[Finding]:
    if not node.resources:
        return
    said = latest.whole(node.state_dir, read(node.places.boot_id) or "")
    if said is None:
        silent = (node.state_dir / latest.FILE).exists()
        state = "is silent" if silent else "has never run here"
        yield Finding(
            ERROR,
            f"The prober {state}: no failure of a disk is noticed on this node.",
            f"See {node.state_dir}/prober.log and 'salt-call beacons.list'; restart the minion.",
        )
        return
    if said.get("version") != node.version:
        yield Finding(
            WARNING,
            f"The running prober is of version {said.get('version')}, this extension of {node.version}.",
            "Restart the minion.",
        )
    for name, state in dict(said.get("sources") or {}).items():
        if str(state).startswith("off") and name in _WHY_SOURCE:
            why, remedy = _WHY_SOURCE[name]
            yield Finding(HINT, f"{name} is {state}; {why}.", f"{remedy[0].upper()}{remedy[1:]}.")


def _python(node: Node) -> Iterator[Finding]:
    later = "that a lazily unmounted file system has ended is seen up to 1 s later"
    if importlib.util.find_spec("pyinotify") is None:
        yield Finding(HINT, f"pyinotify is not installed; {later}.", "Run 'salt-pip install pyinotify'.")
    elif sys.version_info >= (3, 12) and importlib.util.find_spec("asyncore") is None:
        yield Finding(
            HINT,
            f"pyinotify needs asyncore, which Python {sys.version_info[0]}.{sys.version_info[1]} no longer has; {later}.",
            "Run 'salt-pip install pyasyncore'.",
        )


def _grains(node: Node) -> Iterator[Finding]:
    """Salt gathers its grains at every start of the minion and of salt-call, and with them LVM's volume groups."""
    if not node.resources or "lvm" in (node.opts.get("disable_grains") or ()):
        return
    if shutil.which("lvm") and not os.path.exists(_LVM_DEVICES):
        yield Finding(
            WARNING,
            "Salt's grain lvm runs 'vgs', which reads every disk: with a hung one no minion and no salt-call starts.",
            "Set 'disable_grains: [lvm]' in the minion's configuration and restart it, or let LVM have a devices file.",
        )


def _own_files(node: Node) -> Iterator[Finding]:
    line = mounts.covering(mounts.of_process(places=node.places), os.path.realpath(node.state_dir))
    if line is not None and line.fstype not in _MEMORY:
        yield Finding(
            ERROR,
            f"state_dir {node.state_dir} is on {line.fstype} and so outlives a reboot.",
            "Set vmdk:state_dir to a directory on a tmpfs, such as /run/vmdk.",
        )
    if not os.access(node.sysrq, os.W_OK):
        yield Finding(
            ERROR,
            f"{node.sysrq} cannot be written: this machine cannot halt itself.",
            "Set vmdk:sysrq_path, or let the minion run as root with a kernel that has CONFIG_MAGIC_SYSRQ.",
        )
    for said in doctor_storage.watchdog(node.opts, node.places):
        yield Finding(*said)
    with_key = node.state_dir / channel.CONFIG
    if with_key.exists() and with_key.stat().st_mode & 0o077:
        yield Finding(
            WARNING,
            f"{with_key} can be read by others.",
            f"Run 'chmod 0600 {with_key}'; the beacon made it so.",
        )


def _namespace(node: Node) -> Iterator[Finding]:
    if apart := namespace.fault(node.places):
        do = f"{namespace.REMEDY[0].upper()}{namespace.REMEDY[1:]}; a container is no place for it."
        yield Finding(ERROR, f"{apart[0].upper()}{apart[1:]}.", do)


def _disks(node: Node) -> Iterator[Finding]:
    if node.resources and not devices.all_disks_identified(node.places):
        yield Finding(
            ERROR,
            "A SCSI disk of this node shows no UUID, so a resource's disk cannot be told from it.",
            "Set disk.EnableUUID = TRUE in the VM's configuration and power it off and on.",
        )
    seen = {d.name for one in node.resources.values() for d in devices.holding(one, node.places).found}
    for name in sorted(seen):
        yield from _disk(name, node.places)


def _disk(name: str, places: Places) -> Iterator[Finding]:
    timeout = read(places.block(name) / "device/timeout") or ""
    if timeout.isdigit() and int(timeout) < _SHORT_S:
        yield Finding(
            WARNING,
            f"{name} gives up a request after {timeout} s; a failover of a storage path may take longer.",
            "Install open-vm-tools, whose udev rule sets 180 s; hang_timeout still decides when to move.",
        )
    below = places.block(name) / "device/scsi_disk"
    for address in names(below):
        if "write back" in (read(below / address / "cache_type") or ""):
            yield Finding(
                WARNING,
                f"{name} has a volatile write cache; a halt of this machine is a reset, not a power-off.",
                "Nothing, if that is meant; VMware's own disks have none.",
            )


def _readiness(node: Node) -> Iterator[Finding]:
    states = doctor_services.states_of(*node.resources.values())
    there = doctor_services.listed_states(states, node.opts, node.salt)
    for name, resource in node.resources.items():
        for tool in facts.missing_tools(resource.mounts, resource.vgs):
            yield Finding(
                ERROR,
                f"{name}: {tool}.",
                "Install the package that has it (e2fsprogs, xfsprogs, btrfs-progs, lvm2, dmsetup).",
            )
        for row in facts.fstab_lines(resource.mounts, node.places, resource.vgs):
            yield Finding(
                ERROR, f"{name}: {row.partition(',')[0]}.", "Remove it: a boot must never mount the disk."
            )
        yield from _mountpoints(resource, node.places)
        for severity, what, do in doctor_services.of_resource(resource, there, node.salt):
            yield Finding(severity, f"{name}: {what}.", do)
        yield from (Finding(*said) for said in doctor_storage.mounted_trees(resource, node.places))
        for said in doctor_storage.volume_groups(resource, node.state_dir, node.places):
            yield Finding(*said)


def _mountpoints(resource: Resource, places: Places) -> Iterator[Finding]:
    lines = mounts.of_process(places=places)
    for mount in resource.mounts:
        if mounts.visible(lines, mount.mountpoint) is not None:
            continue
        inside = any(mount.mountpoint.startswith(one.mountpoint + "/") for one in resource.mounts)
        for fault in [] if inside else facts.mountpoint_faults(mount.mountpoint):
            yield Finding(
                ERROR, f"{resource.name}: {fault}.", "Make it an empty directory on this node's own disk."
            )
