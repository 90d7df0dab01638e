"""
What keeps other nodes from activating the volume groups of a resource that is mounted here: a system ID or a lock type that a
group got after it was protected.

It stands in the metadata on the disks, which only LVM's tools read: a child that nobody waits for asks them
(``found_out.py``), and only while the prober sees that the disk answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from vmdk_failover.guest import children, devices, latest, lvm
from vmdk_failover.guest.found_out import Leave, Notes
from vmdk_failover.guest.places import HERE, Places
from vmdk_failover.model import Resource

#: Seconds for LVM's tool.
LVM_S = 2.0
#: Seconds after which a bond is looked for again: a person may just be taking it away.
SOON_S = 10.0


def told(resource: Resource, state_dir: Path, boot_id: str, now: float) -> tuple[str, ...]:
    """
    Each group of the resource that other nodes may not activate, with what mends it, by what was found out in the last minutes.

    :param now: seconds since boot.
    """
    return _notes(state_dir, boot_id).told(resource.name, now) if resource.vgs else ()


def renew(
    resources: Iterable[Resource],
    state_dir: Path,
    boot_id: str,
    clock: Callable[[], float],
    leave: Leave = children.leave,
    places: Places = HERE,
) -> None:
    """Have it found out again where that is due. :param resources: those that are mounted here."""
    idle = [one for one in resources if one.vgs and latest.answers(state_dir, one.name, boot_id)]
    _notes(state_dir, boot_id).renew(idle, lambda one: find(one, places), clock, leave)


def find(resource: Resource, places: Places = HERE) -> list[str] | None:
    """Ask LVM, which reads the disks: what :func:`told` tells; ``None`` if it gave no answer, or shows one of the groups not."""
    silent: list[bool] = []

    def run(argv: Sequence[str]) -> children.Ended:
        ended = children.command(argv, LVM_S)
        silent.append(bool(ended.error) or any(group.name not in ended.output for group in resource.vgs))
        return ended

    found = lvm.bound(resource.vgs, devices.holding(resource, places), run)
    return None if any(silent) else [f"{what}: {do}" for what, do in found]


def _notes(state_dir: Path, boot_id: str) -> Notes:
    return Notes(state_dir, "volumes", boot_id, SOON_S)
