"""The resources that a node knows: from its pillar, or from the copy in ``state_dir`` when there is no master to ask."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vmdk_failover.errors import CannotObserve
from vmdk_failover.guest import channel
from vmdk_failover.model import Resource, resource_from_plain


def resources(pillar: Mapping[str, Any], state_dir: Path) -> dict[str, Resource]:
    """
    Resources by name. The beacon keeps the copy, without the node's key (``salt-call --local`` has no pillar).

    :raises CannotObserve: if one cannot be read.
    """
    told = pillar.get("vmdk")
    plain = dict(told.get("resources") or {}) if isinstance(told, Mapping) else _copy(state_dir)
    try:
        return {name: resource_from_plain(plain[name]) for name in sorted(plain)}
    except (KeyError, TypeError, ValueError) as err:
        raise CannotObserve(
            f"the resources of this node cannot be read ({err!r}); 'salt-call saltutil.refresh_pillar' fetches them anew"
        ) from err


def _copy(state_dir: Path) -> dict[str, Any]:
    try:
        return dict(channel.read_config(state_dir)["resources"])
    except FileNotFoundError:
        return {}
    except (OSError, KeyError, TypeError, ValueError) as err:
        raise CannotObserve(
            f"{state_dir / channel.CONFIG} cannot be read ({err}); restart the minion, its beacon writes it anew"
        ) from err


def one(found: Mapping[str, Resource], name: str) -> Resource:
    """
    The resource ``name``.

    :raises CannotObserve: if this node does not know it.
    """
    if name not in found:
        known = ", ".join(sorted(found)) or "none; 'salt-call saltutil.refresh_pillar' fetches them"
        raise CannotObserve(f"this node knows no resource {name!r}; known are: {known}")
    return found[name]
