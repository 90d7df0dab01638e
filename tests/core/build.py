"""Values for tests of the judgement: a resource of two or three nodes, and what witnesses may say of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vmdk_failover.around import NOTHING_AROUND, Around
from vmdk_failover.judgement import assess
from vmdk_failover.judgement.assess import Snapshot
from vmdk_failover.model import (
    Condition,
    Disk,
    DiskFacts,
    HypervisorFacts,
    Mount,
    MountState,
    Move,
    MoveKind,
    Node,
    NodeFacts,
    Outcome,
    Power,
    Resource,
    Result,
    Signs,
    Step,
    StepKind,
    VmFacts,
)

DATA = Disk("[ds1] shared/pgdata.vmdk", "6000c29" + "0" * 24 + "1", 1, 0)
WAL = Disk("[ds1] shared/pgwal.vmdk", "6000c29" + "0" * 24 + "2", 1, 1)
EPOCH = 7

#: Where a disk may be in a VM's device list.
NOWHERE, THERE, PARTLY, MISPLACED, UNCLEAR, UNREAD, VOLATILE = (
    "nowhere",
    "there",
    "partly",
    "misplaced",
    "unclear",
    "unread",
    "in a mode that discards",
)


def resource(nodes: int = 2, disks: tuple[Disk, ...] = (DATA,), **options: Any) -> Resource:
    """A resource on ``db1``, ``db2``, …"""
    named = tuple(Node(f"db{i}", f"00000000-0000-0000-0000-00000000000{i}") for i in range(1, nodes + 1))
    mounts = (Mount("/srv/pgdata", "c0ffee00-0000-4000-8000-000000000001", "xfs"),)
    return Resource("pgdata", named, disks, mounts, **options)


def vm(minion: str, where: str = NOWHERE, disks: tuple[Disk, ...] = (DATA,), **facts: Any) -> VmFacts:
    """A running, connected VM without a task that lists the disks ``where`` it is said, changed by ``facts``."""
    listed = _listed(where, disks)
    basis: dict[str, Any] = {
        "ref": f"vm-{minion}",
        "name": minion,
        "present": True,
        "power": Power.ON,
        "connected": True,
        "change_version": "1",
        "disks": listed,
        "slots": frozenset((d.bus, d.unit) for d in listed or ()),
        "controllers": ((0, "pvscsi"), (1, "pvscsi")),
        "snapshot": False,
        "task": "",
        "heartbeat": "green",
        "host": "esx1",
        "beside": (),
        "hosts": (1, 2),
    }
    return VmFacts(minion=minion, **{**basis, **facts})


def _listed(where: str, disks: tuple[Disk, ...]) -> tuple[DiskFacts, ...] | None:
    if where == UNREAD:
        return None
    if where == UNCLEAR:
        return (DiskFacts(disks[0].path, "f" * 32, disks[0].bus, disks[0].unit, 2000),)
    if where == MISPLACED:
        return tuple(DiskFacts(d.path, d.uuid, 0, d.unit + 8, 2008) for d in disks)
    if where == VOLATILE:
        lost = "independent_nonpersistent"
        return tuple(DiskFacts(d.path, d.uuid, d.bus, d.unit, 2000 + d.unit, lost) for d in disks)
    count = {NOWHERE: 0, PARTLY: 1, THERE: len(disks)}[where]
    return tuple(DiskFacts(d.path, d.uuid, d.bus, d.unit, 2000 + d.unit) for d in disks[:count])


def gone(minion: str) -> VmFacts:
    """A VM that vCenter does not have any more."""
    return VmFacts(minion=minion, present=False, disks=())


def says(minion: str, **facts: Any) -> NodeFacts:
    """The word of a node that is well and has nothing mounted, changed by ``facts``."""
    basis: dict[str, Any] = {
        "boot_id": f"boot-of-{minion}",
        "uptime": 1000.0,
        "mounted": MountState.UNMOUNTED,
        "superblock": False,
        "condition": Condition.UNMOUNTED,
    }
    return NodeFacts(minion=minion, **{**basis, **facts})


def active(minion: str, **facts: Any) -> NodeFacts:
    """The word of a node that has the resource mounted and in good health, changed by ``facts``."""
    return says(
        minion, **{"mounted": MountState.MOUNTED, "superblock": True, "condition": Condition.OK, **facts}
    )


def look(
    of: Resource,
    vms: Iterable[VmFacts],
    words: Iterable[NodeFacts | None] = (),
    readable: bool = True,
    around: Around = NOTHING_AROUND,
    signs: Mapping[str, Signs] | None = None,
) -> Snapshot:
    """One look at these VMs, with the words of nodes that gave one, and what is noticed of the others."""
    answers = {word.minion: word for word in words if word is not None}
    facts = HypervisorFacts(readable, "" if readable else "no route", tuple(vms))
    return assess.look(of, facts, answers, signs, around=around)


def move(of: Resource, kind: MoveKind = MoveKind.FAILOVER, source: str = "db1", target: str = "db2") -> Move:
    """An open move of epoch 7."""
    return Move(of, kind, source, target, EPOCH, "a test")


def came_to(
    kind: StepKind, node: str, result: Result = Result.FAILED, times: int = 1, code: str = ""
) -> tuple[Outcome, ...]:
    """Outcomes of the same step, tried ``times``."""
    return (Outcome(Step(kind, node), result, f"{kind.value} {result.value}", code),) * times
