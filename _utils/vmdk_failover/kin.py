"""
Other resources of one hierarchy, as one look finds them: what a resource depends on, and what depends on it. Frozen values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vmdk_failover.around import Flaws
from vmdk_failover.model import Move, Resource


@dataclass(frozen=True)
class Neighbour:
    """
    What the master remembers of another resource of the hierarchy.

    :param below: this resource depends on it; else it depends on this one.
    :param resource: as its open move has it, else as configured; ``None`` if it cannot be read.
    :param move: its open move.
    :param flaws: of its nodes, as in ``Around``.
    """

    name: str
    below: bool
    resource: Resource | None = None
    move: Move | None = None
    paused: bool = False
    flaws: Mapping[str, Flaws] = field(default_factory=dict)


@dataclass(frozen=True)
class Kin:
    """
    The same with what is seen of it.

    :param active: node on which it is in service, ``""`` if that is nowhere or not known.
    :param on: nodes that list its disk, are not off, and have not said that it is unmounted there.
    :param failed: its disk cannot be used where it is.
    :param unfit: by minion id, why that node could not take it now.
    """

    name: str
    below: bool
    active: str = ""
    on: tuple[str, ...] = ()
    failed: bool = False
    paused: bool = False
    move: Move | None = None
    unfit: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
