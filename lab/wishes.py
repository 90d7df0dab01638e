"""What a lab is to be made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab.cluster import Lab


@dataclass(frozen=True)
class DiskWish:
    """A disk that the lab is to have. bus, unit: where node number `holder` has it at the start; None: nobody has it."""

    name: str = "pgdata"
    fstype: str = "ext4"
    size_mb: int = 512
    bus: int = 1
    unit: int = 0
    holder: int | None = 0


@dataclass(frozen=True)
class Wishes:
    """What a lab is made of.

    hang_limit: seconds after which a hung disk fails by itself. delays: milliseconds by operation of the vCenter.
    minion_overrides, master_overrides: merged into the daemons' configuration; functions are given the lab, once its
    vCenter runs. salt: without it there are nodes and a vCenter only. filler: number of further VMs.
    """

    nodes: tuple[str, ...] = ("labdb1", "labdb2")
    disks: tuple[DiskWish, ...] = (DiskWish(),)
    hang_limit: float = 60.0
    delays: Mapping[str, int] = field(default_factory=dict)
    minion_overrides: Mapping[str, Any] | Callable[[Lab], Mapping[str, Any]] = field(default_factory=dict)
    master_overrides: Mapping[str, Any] | Callable[[Lab], Mapping[str, Any]] = field(default_factory=dict)
    salt: bool = True
    filler: int = 0

    @property
    def all_disks(self) -> tuple[DiskWish, ...]:
        """`disks`, and one small disk of its own for each node, as every real VM has its system on one."""
        own = (DiskWish(f"system{n}", size_mb=16, bus=0, holder=n) for n in range(len(self.nodes)))
        return (*self.disks, *own)
