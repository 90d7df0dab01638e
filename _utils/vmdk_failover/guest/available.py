"""
Services of a resource that this node's service manager does not know: without them the node is no target.

The service manager may take its time, and a master that asks must not wait for it: it is asked by a child that nobody waits for,
and what it said last is told from a small file. A question without an answer says nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vmdk_failover.guest import children, memory
from vmdk_failover.model import Resource

#: Seconds for one question to the service manager.
ASK_S = 2.0
#: It is asked again when its last word is so many seconds old; that counts for a few times as long.
AGAIN_S = 60.0
COUNTS_S = 300.0

Leave = Callable[[Callable[[], Any]], Any]


def ask(salt: Mapping[str, Any], function: str, name: str) -> Any:
    """What Salt says; ``None`` if it has no such function for this service manager, or no answer came."""
    return children.call(lambda: bool(salt[function](name)), ASK_S).value


def lacking(resource: Resource, state_dir: Path, boot_id: str, now: float) -> tuple[str, ...]:
    """
    Which services are not known here, one phrase each, by what was found out in the last minutes.

    :param now: seconds since boot.
    """
    found = _read(state_dir, resource.name, boot_id) if resource.services else {}
    at, unknown = found.get("at"), found.get("unknown")
    if not isinstance(at, float) or not 0 <= now - at <= COUNTS_S or not isinstance(unknown, list):
        return ()
    return tuple(
        f"the service {name} is not known there: install it, or mend its name"
        for name in resource.services
        if name in unknown
    )


def renew(
    resources: Iterable[Resource],
    state_dir: Path,
    boot_id: str,
    salt: Mapping[str, Any],
    clock: Callable[[], float],
    leave: Leave = children.leave,
) -> None:
    """Have it asked again where that is due, by a child that nobody waits for."""
    due = [one for one in resources if _is_due(state_dir, one.name, boot_id, clock())]
    try:
        for one in due:
            kept = _read(state_dir, one.name, boot_id)
            memory.write(_path(state_dir, one.name), {**kept, "boot_id": boot_id, "asked": clock()})
        if due:
            leave(lambda: _find_out(due, state_dir, boot_id, salt, clock))
    except OSError:  # no place, or no process: it stays unknown
        return


def _find_out(
    resources: Sequence[Resource],
    state_dir: Path,
    boot_id: str,
    salt: Mapping[str, Any],
    clock: Callable[[], float],
) -> None:
    for one in resources:
        at = clock()
        unknown = [name for name in one.services if ask(salt, "service.available", name) is False]
        memory.write(
            _path(state_dir, one.name), {"boot_id": boot_id, "asked": at, "at": at, "unknown": unknown}
        )


def _is_due(state_dir: Path, name: str, boot_id: str, now: float) -> bool:
    asked = _read(state_dir, name, boot_id).get("asked")
    return not isinstance(asked, float) or not 0 <= now - asked < AGAIN_S


def _read(state_dir: Path, name: str, boot_id: str) -> dict[str, Any]:
    """What was written in this boot; empty if nothing was, or it is damaged."""
    try:
        found = json.loads(_path(state_dir, name).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and found.get("boot_id") == boot_id else {}


def _path(state_dir: Path, name: str) -> Path:
    return state_dir / f"{quote(name, safe='')}.services"
