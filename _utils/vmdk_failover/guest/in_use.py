"""Who keeps a resource's file system busy: processes, foreign mount namespaces, the kernel itself. Touches no disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vmdk_failover.guest import children, devices, memory, mounts, users
from vmdk_failover.guest.devices import Holding
from vmdk_failover.guest.places import HERE, Places, read
from vmdk_failover.model import Resource


def in_use(
    resource: Resource, state_dir: Path, *, deadline_s: float = 5.0, places: Places = HERE
) -> dict[str, Any]:
    """
    List the users of ``resource``.

    :param deadline_s: seconds for looking at mapped files, which alone might get stuck; without them, all others are told.
    :return: ``processes`` (pid, command, what they hold), ``namespaces``, ``kernel``, ``devices`` (who has a device node
        open), and a ``note`` if something could not be looked at.
    """
    boot_id = read(places.boot_id) or ""
    remembered = memory.load(state_dir, resource.name, boot_id).blocks
    holding = devices.holding(resource, places, remembered)
    ended = children.call(lambda: _processes(holding, True, places), deadline_s)
    note = f"mapped files could not be looked at: the search {ended.error}" if ended.error else ""
    paths = frozenset(f"{places.dev}/{name}" for name in holding.blocks)
    points = frozenset(line.mountpoint for line in mounts.of_process(places=places) if holding.is_ours(line))
    return {
        "resource": resource.name,
        "processes": _processes(holding, False, places) if ended.error else ended.value,
        "namespaces": _namespaces(holding, places),
        "kernel": list(users.in_kernel(points, places)),
        "devices": [str(one) for one in users.openers(paths, places)] if paths else [],
        **({"note": note} if note else {}),
    }


def _processes(holding: Holding, maps: bool, places: Places) -> list[dict[str, Any]]:
    return [
        {
            "pid": user.pid,
            "command": user.command,
            "has": user.what,
            "holds": list(users.held(holding.is_ours, user.pid, places=places)),
        }
        for user in users.users(holding.is_ours, maps=maps, places=places)
    ]


def _namespaces(holding: Holding, places: Places) -> list[dict[str, Any]]:
    return [
        {
            "namespace": one.ident,
            "pid": one.pid,
            "command": users.command(one.pid, places),
            "mountpoints": list(one.mountpoints),
        }
        for one in users.namespaces(holding.is_ours, places)
    ]
