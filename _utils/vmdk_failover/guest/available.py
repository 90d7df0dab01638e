"""
Services of a resource that this node's service manager does not know: without them the node is no target.

The service manager may take its time, and a master that asks must not wait for it: see ``found_out.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from vmdk_failover.guest import children
from vmdk_failover.guest.found_out import Leave, Notes
from vmdk_failover.model import Resource

#: Seconds for one question to the service manager.
ASK_S = 2.0


def ask(salt: Mapping[str, Any], function: str, name: str) -> Any:
    """What Salt says; ``None`` if it has no such function for this service manager, or no answer came."""
    return children.call(lambda: bool(salt[function](name)), ASK_S).value


def lacking(resource: Resource, state_dir: Path, boot_id: str, now: float) -> tuple[str, ...]:
    """
    Which services are not known here, one phrase each, by what was found out in the last minutes.

    :param now: seconds since boot.
    """
    unknown = _notes(state_dir, boot_id).told(resource.name, now) if resource.services else ()
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

    def find(one: Resource) -> list[str]:
        return [name for name in one.services if ask(salt, "service.available", name) is False]

    _notes(state_dir, boot_id).renew(resources, find, clock, leave)


def _notes(state_dir: Path, boot_id: str) -> Notes:
    return Notes(state_dir, "services", boot_id)
