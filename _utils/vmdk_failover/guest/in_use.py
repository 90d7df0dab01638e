"""Who keeps a resource's file system busy: processes, foreign mount namespaces, the kernel itself. Touches no disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vmdk_failover.guest import children, devices, latest, memory, mounts, users
from vmdk_failover.guest.check import still_stuck
from vmdk_failover.guest.devices import Holding
from vmdk_failover.guest.places import HERE, Places, read
from vmdk_failover.model import Resource


def in_use(
    resource: Resource, state_dir: Path, *, deadline_s: float = 5.0, places: Places = HERE
) -> dict[str, Any]:
    """
    List the users of ``resource``.

    :param deadline_s: seconds for looking at mapped files, which alone might get stuck; without them, all others are told.
    :return: ``processes`` (pid, command, state letter, what they hold), ``namespaces``, ``kernel``, ``devices`` (who has a
        device node open), ``waiting`` (who else sleeps in the kernel, maybe in opening a file there), and a ``note`` if
        something could not be looked at.
    """
    boot_id = read(places.boot_id) or ""
    remembered = memory.load(state_dir, resource.name, boot_id).blocks
    holding = devices.holding(resource, places, remembered)
    ended = children.call(lambda: _processes(holding, True, places), deadline_s)
    processes = _processes(holding, False, places) if ended.error else ended.value
    notes = [f"mapped files could not be looked at: the search {ended.error}"] if ended.error else []
    stuck = {pid for pid, _ in still_stuck(state_dir, resource)}
    if stuck:
        notes.append(f"a check of before is stuck on the disk (pid {', '.join(map(str, sorted(stuck)))})")
    ours = stuck | {(latest.whole(state_dir, boot_id) or {}).get("pid")}  # they keep nobody from anything
    known = ours | {one["pid"] for one in processes}
    paths = frozenset(f"{places.dev}/{name}" for name in holding.blocks)
    points = frozenset(line.mountpoint for line in mounts.of_process(places=places) if holding.is_ours(line))
    return {
        "resource": resource.name,
        "processes": processes,
        "namespaces": _namespaces(holding, places),
        "kernel": list(users.in_kernel(points, places)),
        "devices": [str(one) for one in users.openers(paths, places) if one.pid not in ours] if paths else [],
        "waiting": [f"{name} (pid {pid})" for pid, name in users.waiting(places) if pid not in known],
        **({"note": "; ".join(notes)} if notes else {}),
    }


def _processes(holding: Holding, maps: bool, places: Places) -> list[dict[str, Any]]:
    return [
        {
            "pid": user.pid,
            "command": user.command,
            "state": children.state(user.pid),
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
