"""
What of a node's mounts, LVM and watchdog stands in the way of a failover, for ``doctor.py``: (severity, what, what to do).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vmdk_failover.guest import children, devices, latest, lvm, mapped, mounts, trees, users
from vmdk_failover.guest.places import Places, read
from vmdk_failover.model import Resource

#: Seconds for each of LVM's tools.
LVM_S = 2.0

Said = tuple[str, str, str]


def mounted_trees(resource: Resource, places: Places) -> Iterator[Said]:
    """Which part of its file systems is mounted here, and whether another node would mount the same."""
    holding, lines = devices.holding(resource, places), mounts.of_process(places=places)
    for mount in resource.mounts:
        line = mounts.visible(lines, mount.mountpoint)
        if line is None or not holding.is_ours(line):
            continue
        if other := trees.strange(mount, line):
            yield (
                "error",
                f"{resource.name}: on {mount.mountpoint} {other}; another node would mount what is recorded.",
                "Mount what is recorded, or record what is mounted ('Another file system is mounted there' in docs/runbooks.md).",
            )
        elif trees.unnamed(mount):
            yield (
                "hint" if line.root == "/" else "error",
                f"{resource.name}: the subvolume {line.root} is mounted on {mount.mountpoint}, and the record names none: "
                "another node would mount the default of the file system.",
                f"Add subvol={line.root} to the options of that mount in the file of the resource on the master.",
            )


def volume_groups(
    resource: Resource, state_dir: Path, places: Places, tools: lvm.Tools = lvm.TOOLS
) -> Iterator[Said]:
    """A resource's volume groups on this node. Not while the prober calls the disk hung: LVM's tools read it."""
    for words in mapped.namesakes(resource.vgs, places):
        yield "error", f"{resource.name}: {words.partition(';')[0]}.", "Rename that group with vgrename."
    holding = devices.holding(resource, places)
    hung = latest.is_hung(state_dir, resource.name, read(places.boot_id) or "")
    if not resource.vgs or not holding.found or hung:
        return

    def run(argv: Sequence[str]) -> children.Ended:
        return children.command(argv, LVM_S)

    for what, do in lvm.bound(resource.vgs, holding, run, tools):
        yield "error", f"{resource.name}: {what}.", f"{do[0].upper()}{do[1:]}."
    for name in lvm.self_activated(resource.vgs, holding, run, tools):
        yield (
            "warning",
            f"{resource.name}: this node activates the volume group {name} by itself when it boots.",
            f"Run 'vgchange --setautoactivation n {name}' here, or leave it out of auto_activation_volume_list in lvm.conf.",
        )


def watchdog(opts: Mapping[str, Any], places: Places) -> Iterator[Said]:
    """The watchdog that a halt arms. It is not opened: that would start it."""
    path = str((opts.get("vmdk") or {}).get("watchdog") or "")
    if not path:
        return
    try:
        there = stat.S_ISCHR(os.stat(path).st_mode)
    except OSError:
        there = False
    if not there:
        yield (
            "error",
            f"The watchdog {path} is not there: a halt of this machine has no backstop.",
            "Load its module (wdat_wdt with a virtual watchdog in the VM, else softdog), or take watchdog out of the settings.",
        )
    for opener in users.openers(frozenset({path}), places):
        yield (
            "warning",
            f"{opener} and feeds it: a halt of this machine has no backstop.",
            "Unset RuntimeWatchdogSec in systemd's configuration, or take watchdog out of the settings.",
        )
