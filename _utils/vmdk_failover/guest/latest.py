"""The prober's latest word, from the file that it keeps beside its socket: for readers that come and go."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vmdk_failover.guest.places import boot_clock
from vmdk_failover.model import FAILED_CONDITIONS

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
    said = whole(state_dir, boot_id, clock=clock, fresh_s=fresh_s)
    report = said["reports"].get(resource) if said else None
    return report if isinstance(report, dict) else None


def whole(
    state_dir: Path,
    boot_id: str,
    *,
    clock: Callable[[], float] = boot_clock,
    fresh_s: float = FRESH_S,
) -> dict[str, Any] | None:
    """
    All that the prober says, of itself too (``pid``, ``version``, ``sources``), under the same terms as :func:`latest`.

    ``sources`` tells what it listens to: ``live``, or why not.
    """
    try:
        with open(state_dir / FILE, encoding="utf-8") as file:
            said = json.load(file)
            stamp = os.fstat(file.fileno()).st_mtime
        now = (
            clock()
        )  # what still holds is only stamped anew: the time of the file is then one of the boot clock
        if said["boot_id"] != boot_id or not any(
            0 <= now - at <= fresh_s for at in (float(said["at"]), stamp)
        ):
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return said if isinstance(said, dict) and isinstance(said.get("reports"), dict) else None


def is_hung(state_dir: Path, resource: str, boot_id: str) -> bool:
    """Whether the prober calls a resource's disk hung now."""
    report = latest(state_dir, resource, boot_id)
    return report is not None and report.get("condition") == "hung"


def answers(state_dir: Path, resource: str, boot_id: str) -> bool:
    """Whether the prober sees now that a resource's disk answers; not if nobody watches it."""
    report = latest(state_dir, resource, boot_id)
    return report is not None and report.get("condition") not in {one.value for one in FAILED_CONDITIONS}
