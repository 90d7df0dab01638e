"""What a lab is to be made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from lab.cluster import Lab
    from lab.disk import Disk
    from lab.node import Identity, Node


@dataclass(frozen=True)
class DiskWish:
    """A disk that the lab is to have. bus, unit: where node number `holder` has it at the start; None: nobody has it."""

    name: str = "pgdata"
    fstype: str = "ext4"
    size_mb: int = 512
    bus: int = 1
    unit: int = 0
    holder: int | None = 0


class Guests(Protocol):
    """Another kind of node than namespaces, with the disks that go with it (lab/qemu). patience: how many times longer than
    for namespaces one waits for something."""

    patience: float

    def build(self, say: Callable[[str], None]) -> None:
        """Make what all nodes need and what other machines have to be asked for. Raises LabError."""

    def prepare(self, say: Callable[[str], None]) -> None:
        """Make what else all nodes need, in the lab's network. Raises LabError."""

    def master_options(self) -> Mapping[str, Any]:
        """What a master of such nodes is told on top of everything else."""
        ...

    def policy(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a resource, with the times that such nodes need."""
        ...

    def make_disk(self, directory: Path, path: str, fstype: str, size_mb: int) -> Disk:
        """A disk with a file system. Raises LabError."""
        ...

    def make_node(self, lab: Lab, identity: Identity, overrides: Mapping[str, Any]) -> Node:
        """A node that is off. overrides: of its minion's configuration. Raises LabError."""
        ...

    def settle(self, lab: Lab) -> None:
        """Called when all is up and before anything breaks. Raises LabError."""

    def begin(self, lab: Lab) -> AbstractContextManager[object]:
        """What goes on beside the lab, from the moment when its vCenter runs."""
        ...


@dataclass(frozen=True)
class Wishes:
    """What a lab is made of.

    hang_limit: seconds after which a hung disk fails by itself. delays: milliseconds by operation of the vCenter.
    minion_overrides, master_overrides: merged into the daemons' configuration; functions are given the lab, once its
    vCenter runs. salt: without it there are nodes and a vCenter only. filler: number of further VMs. guests: the kind of
    the nodes; without it they are namespaces. synced: the daemons have the product's files at their first start; else
    they only could have them, from the master's file server.
    """

    nodes: tuple[str, ...] = ("labdb1", "labdb2")
    disks: tuple[DiskWish, ...] = (DiskWish(),)
    hang_limit: float = 60.0
    delays: Mapping[str, int] = field(default_factory=dict)
    minion_overrides: Mapping[str, Any] | Callable[[Lab], Mapping[str, Any]] = field(default_factory=dict)
    master_overrides: Mapping[str, Any] | Callable[[Lab], Mapping[str, Any]] = field(default_factory=dict)
    salt: bool = True
    filler: int = 0
    guests: Guests | None = None
    synced: bool = True

    @property
    def all_disks(self) -> tuple[DiskWish, ...]:
        """`disks`, and one small disk of its own for each node, as every real VM has its system on one."""
        own = (DiskWish(f"system{n}", size_mb=16, bus=0, holder=n) for n in range(len(self.nodes)))
        return (*self.disks, *own)
