"""What a fault of the random campaign is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lab.ordeals.scene import Cure, Scene


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    strike: does it, returns at once with what ends it; raises TooLate when there is nothing to strike. group: disk, mount,
    machine, agent, master, vcenter or people. lasts: seconds, from and to. may_stay: whether it may be there still when the
    verdict is given. weight: how often it is chosen.
    steps: of the move that it leads to, in whose midst a second fault may strike. alone: whether there is something to strike
    while nothing moves; else it is the second of a story only. fstypes: of the disks that it can strike. nodes: the kinds
    of nodes that it can strike.
    """

    name: str
    group: str
    strike: Callable[[Scene], Cure]
    lasts: tuple[float, float] = (1.0, 6.0)
    may_stay: bool = False
    weight: int = 2
    steps: tuple[str, ...] = ()
    alone: bool = True
    fstypes: tuple[str, ...] = ("ext4", "xfs")
    nodes: tuple[str, ...] = ("namespaces", "qemu")


NAMESPACES, GUESTS = ("namespaces",), ("qemu",)
PLANNED = ("decided", "release", "detach", "attach", "mount")
FENCED = ("decided", "fence", "detach", "attach", "mount")
DEAD = ("decided", "detach", "attach", "mount")
