"""The prober's latest word, from the file that it keeps beside its socket: for readers that come and go."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vmdk_failover.guest.places import boot_clock

FILE = "prober.json"
FRESH_S = 3.0


def latest(
    state_dir: Path,
    resource: str,
    boot_id: str,
    *,
    clock: Callable[[], float] = boot_clock,
    fresh_s: float = FRESH_S,
) -> dict[str, Any] | None:
    """
    The prober's report on a resource; ``None`` if there is none, or none of this boot and the last ``fresh_s`` seconds.
    """
    try:
        said = json.loads((state_dir / FILE).read_text())
        if said["boot_id"] != boot_id or not 0 <= clock() - float(said["at"]) <= fresh_s:
            return None
        report = said["reports"].get(resource)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return report if isinstance(report, dict) else None


def is_hung(state_dir: Path, resource: str, boot_id: str) -> bool:
    """Whether the prober calls a resource's disk hung now."""
    report = latest(state_dir, resource, boot_id)
    return report is not None and report.get("condition") == "hung"
